"""One pipeline in one worker: the loop that owns the tasks which the group gave to it.

The loop polls chunks, has the task process them, sends what comes out, and takes checkpoints by
interval. Beside it run the group member (heartbeats, rebalances), the global tables, one restore
for each task that is being taken over, and, with an end in sight, the watch for it (`run`). These
never touch a task: they ask for a turn of the loop (`turns`).

A record that failed may have a partition rest until it is tried again, or have a task dropped and
taken over again; the others go on.

A failure ends the loop's reading, not its serving: the member still gets to write the last
checkpoint of the healthy tasks and to leave the group, then the failure is raised.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from streamlog.client.errors import CommitRefusedError, OffsetOutOfRangeError
from streamlog.client.values import EARLIEST, OffsetAndMetadata, TopicPartition
from streamlog.errors import DataError
from streamlog.processing.failures.ledger import Ledger, SpoiledTaskError
from streamlog.processing.worker.calling import process_offered
from streamlog.processing.worker.checkpoint import (
    FencedError,
    RunningTask,
    ended_by_failure,
    send_outputs,
    write_checkpoint,
)
from streamlog.processing.worker.note import stamped
from streamlog.processing.worker.restore import start_over_hint
from streamlog.processing.worker.status import InputFigures, TaskFigures
from streamlog.processing.worker.turns import Turns
from streamlog.processing.worker.waits import Waits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from streamlog.client.consumer.consumer import Consumer
    from streamlog.client.membership.member import GroupMember
    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import FetchedChunk
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.status import PipelineStatus
    from streamlog.processing.worker.task import Task

logger = logging.getLogger(__name__)

POLL_WAIT_MS = 200
"""How long a poll waits when there is nothing; the checkpoint clock is looked at this often."""
DOUBT_PAUSE_S = 0.1
"""Between two looks whether the group still knows this worker, when that is in doubt."""
IDLE_CHECKPOINT_S = 0.05
"""With an end in sight, after so long without a record, a checkpoint does not wait for its time."""


REPORT_INTERVAL_S = 0.1
"""Between two looks at all tasks' figures; a worker may have hundreds."""


class RecordsMissingError(DataError):
    """Records of an input went before the pipeline had read them; none is skipped in silence."""


class PipelineWorker:
    """Runs the tasks of one pipeline that the group gives to this worker."""

    def __init__(
        self,
        setting: Setting,
        producer: Producer,
        consumer: Consumer,
        status: PipelineStatus,
        finished: trio.Event,
    ) -> None:
        self._setting = setting
        self._producer = producer
        self._consumer = consumer
        self._status = status
        self._turns = Turns()
        self._tasks: dict[TaskName, RunningTask] = {}
        self._by_input: dict[TopicPartition, RunningTask] = {}
        self._report_at = 0.0
        self._generation = -1
        self._checkpoint_at = 0.0
        self._heard_at: float | None = None
        """When something came last that no checkpoint holds; nothing if there is none."""
        self._leaving: set[TaskName] = set()
        """Tasks that are being ended: not to be taken over anew, whatever becomes of them."""
        self._failure: Exception | None = None
        self._rests = Waits[TopicPartition]()
        """Partitions whose next record failed and is to be tried again."""
        self._retakes = Waits["TaskName"]()
        """Tasks that a failed record has spoilt."""
        self._ledgers: dict[TaskName, Ledger] = {}
        self.member: GroupMember | None = None
        """Set before the first task is given."""
        self.retake: Callable[[TaskName], Awaitable[None]] | None = None
        """Takes a task over anew, if it still is ours."""
        self.goal_of: Callable[[tuple[str, int]], int | None] = lambda _: None
        """Up to which offset an input is to be read, once that is known; for a run with an end."""
        self.finished = finished
        """Set when the worker has nothing more to do: stopped, failed, or at the end of input."""

    # The loop.

    async def serve(self) -> None:
        """Reads and processes until cancelled; after a failure only serves what others ask."""
        self._checkpoint_at = trio.current_time() + self._setting.checkpoint_interval_s
        try:
            while True:
                await self._turns.take()
                try:
                    await self._read()
                except Exception as error:  # noqa: BLE001 (for `run`, after leaving the group)
                    self.fail(error)
        finally:
            # Nothing is left but after a cancellation: then no checkpoint holds what is dropped.
            for running in self._tasks.values():
                running.task.close()

    async def _read(self) -> None:
        await self._end_waits()
        chunks: list[FetchedChunk] = []
        with self._turns.interruptible():
            if self.finished.is_set():
                await trio.sleep_forever()
            try:
                if self._is_in_doubt():
                    await trio.sleep(DOUBT_PAUSE_S)
                else:
                    chunks = await self._consumer.poll(self._poll_wait_ms())
            except OffsetOutOfRangeError as error:
                raise RecordsMissingError(
                    f'pipeline "{self._status.name}" cannot go on where it stopped: '
                    f"{error.message}; what is between was deleted before it was read",
                    hint=start_over_hint(self._setting.plan),
                ) from error
        for chunk in chunks:
            place = chunk.topic_partition
            running = self._by_input.get(place)
            # What rests was told to begin anew, in front of this chunk.
            if running is not None and not running.ended and place not in self._rests:
                wanted = self._setting.config.span.cut(chunk)
                is_done = await self._process(running, wanted)
                if is_done and wanted.next_offset < chunk.next_offset:
                    await self._consumer.unassign([place])
        if self._checkpoint_is_due() and not self._is_in_doubt():
            self._heard_at = None
            self._look()
            if not self._setting.config.until_end:
                # A run with an end in sight goes by what is in the log, however long it takes.
                await self._tick()
            await self._checkpoint(self._tasks.values())
            interval = self._setting.checkpoint_interval_s
            self._checkpoint_at = trio.current_time() + interval
            self._report()
        elif trio.current_time() >= self._report_at:
            self._report()

    def _look(self) -> None:
        """Has tasks look whether they can go on without a source; see `_tick`."""
        now_ms, until_end = self._setting.clock.wall_ms(), self._setting.config.until_end
        for running in self._tasks.values():
            if running.ended or len(running.task.inputs) == 1:
                continue
            if until_end:
                at_end = {key: self._is_at_goal(key, at) for key, at in running.task.ends().items()}
            else:
                at_end = {key: self._is_read(TopicPartition(*key)) for key in running.task.inputs}
            running.task.look(now_ms, at_end, patient=not until_end)

    def _is_at_goal(self, key: tuple[str, int], offset: int | None) -> bool:
        goal = self.goal_of(key)
        return goal is not None and (offset or 0) >= goal

    async def _tick(self) -> None:
        """Shows tasks the wall clock; what that decides is in the checkpoint that follows."""
        now_ms = self._setting.clock.wall_ms()
        for running in self._tasks.values():
            if not running.ended:
                with ended_by_failure(running):
                    running.task.tick(now_ms, caught_up=self._has_caught_up(running))
                await send_outputs(running, self._producer)

    def _has_caught_up(self, running: RunningTask) -> bool:
        return all(self._is_read(TopicPartition(*key)) for key in running.task.inputs)

    def _is_read(self, key: TopicPartition) -> bool:
        if key not in self._consumer.assignment:
            # Read to the end of its span: what comes behind that is not known to be nothing.
            return False
        position, end = self._consumer.position(key), self._consumer.high_watermark(key)
        return position is not None and end is not None and position >= end

    def _poll_wait_ms(self) -> float:
        soon = self._setting.config.until_end and self._heard_at is not None
        wait_ms = IDLE_CHECKPOINT_S * 1000 if soon else POLL_WAIT_MS
        for at in (self._rests.next_at(), self._retakes.next_at()):
            if at is not None:
                wait_ms = min(wait_ms, max(at - trio.current_time(), 0) * 1000)
        return wait_ms

    async def _end_waits(self) -> None:
        """Goes on with what has waited long enough after a failed record."""
        if self.finished.is_set():
            return
        now = trio.current_time()
        self._consumer.resume(self._rests.due(now))
        for name in self._retakes.due(now):
            assert self.retake is not None
            await self.retake(name)

    def _checkpoint_is_due(self) -> bool:
        now = trio.current_time()
        if self._setting.config.until_end and self._heard_at is not None:
            return now >= min(self._checkpoint_at, self._heard_at + IDLE_CHECKPOINT_S)
        return now >= self._checkpoint_at

    async def _process(self, running: RunningTask, chunk: FetchedChunk) -> bool:
        """Processes a chunk; returns whether all of it was, or waits for another input."""
        running.task.offer(chunk.topic, chunk.partition, chunk.columns, chunk.next_offset)
        self._figures(running).inputs[chunk.topic_partition].end = chunk.high_watermark
        self._status.records_in += len(chunk.columns)
        return await self._go_on(running)

    async def _go_on(self, running: RunningTask) -> bool:
        """Processes what was handed in, as far as can be; returns whether the task may go on."""
        began = trio.current_time()
        try:
            with ended_by_failure(running):
                # A chunk that fails is half done: the state in memory must not reach a checkpoint.
                await process_offered(running.task)
        except SpoiledTaskError as error:
            logger.info("%s", error.message)
            await self._close(running.task.id, running)
            self._retakes.add(running.task.id, trio.current_time() + error.wait_ms / 1000)
            return False
        self._heard_at = trio.current_time()
        self._status.process_s.observe(self._heard_at - began)
        rest_ms = running.task.take_rest()
        if rest_ms is not None:
            await self._rest(running, self._heard_at + rest_ms / 1000)
        else:
            self._hold_back(running)
        figures = self._figures(running)
        for key, position in running.task.positions().items():
            figures.inputs[key].position = position or 0
        if not self._is_in_doubt():
            await send_outputs(running, self._producer)
        if running.task.wants_checkpoint():
            self._checkpoint_at = self._heard_at
        return rest_ms is None

    async def _rest(self, running: RunningTask, until: float) -> None:
        """The task's next record is to be tried again: its inputs rest in front of it."""
        for key, position in running.task.positions().items():
            place = TopicPartition(*key)
            if place in self._consumer.assignment:
                self._consumer.seek(place, position or EARLIEST)
            else:
                # It was read to its end, but some of it has waited for the others.
                await self._consumer.assign({place: position or EARLIEST})
            self._consumer.pause([place])
            self._rests.add(place, until)

    def _hold_back(self, running: RunningTask) -> None:
        """Fetches no more of an input of which too much waits for others."""
        for place in map(TopicPartition._make, running.task.inputs):
            full = running.task.is_full(*place)
            if place in self._consumer.assignment and full != (place in running.held):
                if full:
                    running.held.add(place)
                    self._consumer.pause([place])
                else:
                    running.held.discard(place)
                    self._consumer.resume([place])

    def _is_in_doubt(self) -> bool:
        """Whether the tasks may be another worker's by now, as after a pause of this process.

        Nothing is written meanwhile: a result of ours would come behind a newer one of theirs, or
        behind the correction of a version that was swapped in. What was put out stays in the tasks.
        """
        return self.member is not None and self.member.is_in_doubt

    def fail(self, error: Exception) -> None:
        """Notes the first failure; reading ends, the group is left in order."""
        self._status.failures += 1
        if self._failure is None:
            self._failure = error
            self._status.phase = "failed"
        elif str(error) != str(self._failure):
            # Where a step is not right, every task of it says the same.
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
        failures: list[Exception] = []
        healthy = [running for running in tasks if not running.ended]

        async def one(running: RunningTask) -> None:
            try:
                await self._checkpoint_task(running)
            except Exception as error:  # noqa: BLE001 (raised below, once the others are done)
                running.ended = True
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for running in healthy:
                nursery.start_soon(one, running)
        # What leaves is somebody else's from here on; the decisions are in its checkpoint.
        await self._apply_decisions(each for each in healthy if each.task.id not in self._leaving)
        if await self._commit(healthy):
            self._status.checkpoints += 1
            self._status.last_checkpoint_ms = self._setting.clock.wall_ms()
            self._status.last_checkpoint_took_s = trio.current_time() - began
            self._status.checkpoint_s.observe(self._status.last_checkpoint_took_s)
        for failure in failures:
            raise failure

    async def _apply_decisions(self, tasks: Iterable[RunningTask]) -> None:
        """Has those decisions act which the checkpoint just made durable."""
        for running in tasks:
            if not running.ended:
                with ended_by_failure(running):
                    running.task.apply_decisions()
                if running.task.has_waiting:
                    await self._go_on(running)
                else:
                    await send_outputs(running, self._producer)

    async def _checkpoint_task(self, running: RunningTask) -> None:
        try:
            checkpoint = await write_checkpoint(
                running, self._producer, self._setting.threads, self._setting.clock.wall_ms()
            )
        except FencedError as error:
            # Whoever owns it goes on from the last good checkpoint. That may be us: then the group
            # confirms it, and a late write of a former owner did no harm.
            logger.warning("%s", error)
            name = running.task.id
            await self._close(name, running)
            if name not in self._leaving:
                assert self.retake is not None
                await self.retake(name)
            return
        if checkpoint is not None:
            metadata = stamped(
                checkpoint.metadata,
                self._setting.clock.wall_ms(),
                running.task.statistics().stream_time_ms,
                running.task.id.sub_topology,
            )
            running.uncommitted = {
                TopicPartition(*key): OffsetAndMetadata(offset, metadata)
                for key, offset in checkpoint.positions.items()
            }

    async def _commit(self, tasks: Iterable[RunningTask]) -> bool:
        """Tells the group how far the tasks are, where it does not know yet."""
        behind = [running for running in tasks if running.uncommitted and not running.ended]
        offsets = {key: at for running in behind for key, at in running.uncommitted.items()}
        if not offsets:
            return False
        assert self.member is not None
        try:
            await self.member.commit(offsets)
        except CommitRefusedError as error:
            # The store is ahead of the group, and wins: the next round commits again.
            logger.info("pipeline %s: commit put off: %s", self._status.name, error)
            return False
        for running in behind:
            running.uncommitted = {}
            figures = self._figures(running)
            figures.checkpoints += 1
            figures.last_checkpoint_ms = self._setting.clock.wall_ms()
        return True

    # What the others ask for, in turns of the loop.

    async def attach(self, name: TaskName, running: RunningTask) -> None:
        """Begins to run a task whose state is complete."""

        async def begin() -> None:
            self._tasks[name] = running
            ledger = self._ledgers.setdefault(name, Ledger(self._setting.clock.wall_ms))
            running.task.ledger = ledger
            offsets: dict[TopicPartition, int | None] = {}
            span = self._setting.config.span
            figures = self._status.by_task[name] = TaskFigures()
            for key, offset in running.task.positions().items():
                figures.inputs[key] = InputFigures(offset or 0, offset or 0)
                self._by_input[TopicPartition(*key)] = running
                first = span.first(key, offset)
                if not span.is_over(key, first):
                    offsets[TopicPartition(*key)] = first
            await self._consumer.assign(offsets)
            self._heard_at = self._heard_at or trio.current_time()

        await self._turns.ask(begin)

    async def detach(self, names: Iterable[TaskName], *, checkpoint: bool) -> None:
        """Ends tasks, after a last checkpoint if they are still ours."""
        wanted = list(names)

        async def end() -> None:
            ending = {name: self._tasks[name] for name in wanted if name in self._tasks}
            self._leaving.update(ending)
            try:
                if checkpoint:
                    for running in ending.values():
                        running.task.end()
                    await self._checkpoint(ending.values())
            except Exception as error:  # noqa: BLE001 (the group must be able to go on)
                self.fail(error)
            self._leaving.clear()
            for name in wanted:
                self._retakes.forget(name)
                self._ledgers.pop(name, None)
            for name, running in ending.items():
                if self.runs(running):
                    await self._close(name, running)

        await self._turns.ask(end)

    async def _close(self, name: TaskName, running: RunningTask) -> None:
        running.ended = True
        inputs = [key for key, owner in self._by_input.items() if owner is running]
        for key in inputs:
            del self._by_input[key]
            self._rests.forget(key)
        await self._consumer.unassign(inputs)
        await self._setting.threads.run(running.task.close)
        # Last: if this is cancelled, whoever ends the loop closes what is still here.
        del self._tasks[name]
        self._status.by_task.pop(name, None)

    def runs(self, running: RunningTask) -> bool:
        """Says whether this very task is being run."""
        return self._tasks.get(running.task.id) is running

    async def drain_where_read(self, goal: Callable[[Task], bool]) -> None:
        """Moves time to the end in those tasks that have read all their sources."""

        async def drain() -> None:
            for running in self._tasks.values():
                if not running.ended and not running.task.drained and goal(running.task):
                    with ended_by_failure(running):
                        running.task.drain()
                    self._heard_at = trio.current_time()
                    await send_outputs(running, self._producer)

        await self._turns.ask(drain)

    # Figures.

    def _figures(self, running: RunningTask) -> TaskFigures:
        return self._status.by_task.setdefault(running.task.id, TaskFigures())

    def _report(self) -> None:
        """Gathers the figures of all tasks."""
        self._report_at = trio.current_time() + REPORT_INTERVAL_S
        read, span = self._consumer.assignment, self._setting.config.span
        for running in self._tasks.values():
            figures = self._figures(running)
            figures.take(running.task.statistics())
            if running.size is not None:
                figures.state_rows, figures.state_bytes = running.size
            for key, each in figures.inputs.items():
                if TopicPartition(*key) in read:
                    # A fetch that brings nothing tells the end all the same.
                    known = self._consumer.high_watermark(TopicPartition(*key))
                    each.end = each.end if known is None else span.narrow(key, 0, known)[1]
        self._status.add_up()
        if self.member is not None and self.member.generation > self._generation:
            # A member that was dropped has none for a while.
            self._status.rebalances += 1
            self._generation = self.member.generation
