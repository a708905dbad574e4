"""One pipeline in one worker: the loop that owns the tasks which the group gave to it.

The loop polls chunks, has the task process them, sends what comes out, and takes checkpoints by
interval. Beside it run the group member (heartbeats, rebalances), the global tables, one restore
for each task that is being taken over, and, with an end in sight, the watch for it (`run`). These
never touch a task: they ask for a turn of the loop (`turns`).

A failure ends the loop's reading, not its serving: the member still gets to write the last
checkpoint of the healthy tasks and to leave the group, then the failure is raised.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from streamlog.client.errors import CommitRefusedError
from streamlog.client.values import EARLIEST, OffsetAndMetadata, TopicPartition
from streamlog.errors import StreamlogError
from streamlog.processing.worker.checkpoint import (
    FencedError,
    RunningTask,
    send_outputs,
    write_checkpoint,
)
from streamlog.processing.worker.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from streamlog.client.consumer.consumer import Consumer
    from streamlog.client.membership.member import GroupMember
    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import FetchedChunk
    from streamlog.processing.worker.config import PipelineStatus
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.task import Task

logger = logging.getLogger(__name__)

POLL_WAIT_MS = 200
"""How long a poll waits when there is nothing; the checkpoint clock is looked at this often."""
IDLE_CHECKPOINT_S = 0.02
"""With an end in sight, a task that has nothing more to read does not wait for its interval."""


class PipelineWorker:
    """Runs the tasks of one pipeline that the group gives to this worker."""

    def __init__(
        self,
        setting: Setting,
        producer: Producer,
        consumer: Consumer,
        status: PipelineStatus,
    ) -> None:
        self._setting = setting
        self._producer = producer
        self._consumer = consumer
        self._status = status
        self._turns = Turns()
        self._tasks: dict[TaskName, RunningTask] = {}
        self._by_input: dict[TopicPartition, RunningTask] = {}
        self._lag: dict[TopicPartition, int] = {}
        self._checkpoint_at = 0.0
        self._failure: Exception | None = None
        self.member: GroupMember | None = None
        """Set before the first task is given."""
        self.retake: Callable[[TaskName], Awaitable[None]] | None = None
        """Takes a task over anew after another worker was seen on it."""
        self.finished = trio.Event()
        """Set when the worker has nothing more to do: stopped, failed, or at the end of input."""

    # The loop.

    async def serve(self) -> None:
        """Reads and processes until cancelled; after a failure only serves what others ask."""
        self._checkpoint_at = trio.current_time() + self._setting.config.checkpoint_interval_s
        while True:
            await self._turns.take()
            try:
                await self._read()
            except Exception as error:  # noqa: BLE001 (reported by `run`, after leaving the group)
                self.fail(error)

    async def _read(self) -> None:
        chunks: list[FetchedChunk] = []
        with self._turns.interruptible():
            if self.finished.is_set():
                await trio.sleep_forever()
            chunks = await self._consumer.poll(POLL_WAIT_MS)
        for chunk in chunks:
            running = self._by_input.get(chunk.topic_partition)
            if running is not None and not running.ended:
                await self._process(running, chunk)
        now = trio.current_time()
        if now >= self._checkpoint_at or (self._setting.config.until_end and not chunks):
            await self._checkpoint(self._tasks.values())
            interval = self._setting.config.checkpoint_interval_s
            self._checkpoint_at = trio.current_time() + interval
        self._report()

    async def _process(self, running: RunningTask, chunk: FetchedChunk) -> None:
        try:
            running.task.process(chunk.topic, chunk.partition, chunk.columns, chunk.next_offset)
        except StreamlogError:
            # The chunk is half done: the state in memory must not reach a checkpoint.
            running.ended = True
            raise
        self._lag[chunk.topic_partition] = max(chunk.high_watermark - chunk.next_offset, 0)
        self._status.records_in += len(chunk.columns)
        await send_outputs(running, self._producer)

    def fail(self, error: Exception) -> None:
        """Notes the first failure; reading ends, the group is left in order."""
        if self._failure is None:
            self._failure = error
            self._status.phase = "failed"
        else:
            logger.warning("pipeline %s: after its failure: %s", self._status.name, error)
        self.finished.set()

    def raise_failure(self) -> None:
        """Raises what ended the worker, if anything did."""
        if self._failure is not None:
            raise self._failure

    # Checkpoints.

    async def _checkpoint(self, tasks: Iterable[RunningTask]) -> None:
        """Takes a checkpoint of each of the tasks that has something new; one commit for all."""
        began = trio.current_time()
        offsets: dict[TopicPartition, OffsetAndMetadata] = {}
        failures: list[Exception] = []

        async def one(running: RunningTask) -> None:
            try:
                offsets.update(await self._checkpoint_task(running))
            except Exception as error:  # noqa: BLE001 (raised below, once the others are done)
                running.ended = True
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for running in list(tasks):
                if not running.ended:
                    nursery.start_soon(one, running)
        if offsets:
            await self._commit(offsets)
            self._status.checkpoints += 1
            self._status.last_checkpoint_ms = self._setting.clock.wall_ms()
            self._status.last_checkpoint_took_s = trio.current_time() - began
        for failure in failures:
            raise failure

    async def _checkpoint_task(
        self, running: RunningTask
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        try:
            checkpoint = await write_checkpoint(
                running, self._producer, self._setting.threads, self._setting.clock.wall_ms()
            )
        except FencedError as error:
            # Whoever owns it goes on from the last good checkpoint. That may be us: then the group
            # confirms it, and a late write of a former owner did no harm.
            logger.warning("%s", error)
            await self._close(running.task.id, running)
            assert self.retake is not None
            await self.retake(running.task.id)
            return {}
        if checkpoint is None:
            return {}
        return {
            TopicPartition(*key): OffsetAndMetadata(offset, checkpoint.metadata)
            for key, offset in checkpoint.positions.items()
        }

    async def _commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        assert self.member is not None
        try:
            await self.member.commit(offsets)
        except CommitRefusedError as error:
            # The store is one ahead of the group, and wins: the next checkpoint commits again.
            logger.info("pipeline %s: commit put off: %s", self._status.name, error)

    # What the others ask for, in turns of the loop.

    async def attach(self, name: TaskName, running: RunningTask) -> None:
        """Begins to run a task whose state is complete."""

        async def begin() -> None:
            self._tasks[name] = running
            offsets: dict[TopicPartition, int | None] = {}
            for key, offset in running.task.positions().items():
                self._by_input[TopicPartition(*key)] = running
                offsets[TopicPartition(*key)] = EARLIEST if offset is None else offset
            await self._consumer.assign(offsets)

        await self._turns.ask(begin)

    async def detach(self, names: Iterable[TaskName], *, checkpoint: bool) -> None:
        """Ends tasks, after a last checkpoint if they are still ours."""
        wanted = list(names)

        async def end() -> None:
            ending = {name: self._tasks[name] for name in wanted if name in self._tasks}
            try:
                if checkpoint:
                    await self._checkpoint(ending.values())
            except Exception as error:  # noqa: BLE001 (the group must be able to go on)
                self.fail(error)
            for name, running in ending.items():
                await self._close(name, running)

        await self._turns.ask(end)

    async def _close(self, name: TaskName, running: RunningTask) -> None:
        running.ended = True
        del self._tasks[name]
        inputs = [key for key, owner in self._by_input.items() if owner is running]
        for key in inputs:
            del self._by_input[key]
            self._lag.pop(key, None)
        await self._consumer.unassign(inputs)
        await self._setting.threads.run(running.task.close)

    def runs(self, running: RunningTask) -> bool:
        """Says whether this very task is being run."""
        return self._tasks.get(running.task.id) is running

    async def drain_where_read(self, goal: Callable[[Task], bool]) -> None:
        """Moves time to the end in those tasks that have read all their sources."""

        async def drain() -> None:
            for running in self._tasks.values():
                if not running.ended and not running.task.drained and goal(running.task):
                    running.task.drain()
                    await send_outputs(running, self._producer)

        await self._turns.ask(drain)

    # Figures.

    def _report(self) -> None:
        status = self._status
        figures = [running.task.statistics() for running in self._tasks.values()]
        status.tasks = len(figures)
        status.late_records = sum(each.late_records for each in figures)
        status.open_windows = sum(each.open_windows for each in figures)
        status.lag = sum(self._lag.values())
        times = [each.stream_time_ms for each in figures if each.stream_time_ms is not None]
        status.stream_time_ms = max(times, default=None)
