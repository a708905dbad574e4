"""Standbys: warm copies of the state of tasks that others run.

A standby follows a task's changelog into a store of its own, checkpoint by checkpoint, with the
same rules as a restore, and never writes anything to a topic. When the task comes to this worker,
the store is handed over and next to nothing is left to restore.

One task owns the stores and the consumer (`Standbys.run`); others ask it, in turns, to follow
something else or to let go of a store. Nothing that goes wrong here may touch the tasks that run:
a copy that cannot be kept is dropped and said, and tried again at the next rebalance.

Copies that are far behind are built up at half of one thread's speed at most, because the tasks
that run share the interpreter with them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.client.config import ConsumerConfig, OffsetReset
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import TopicPartition
from streamlog.errors import StreamlogError
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.changelog import ChangelogReplay
from streamlog.processing.worker.copies import Copy, write_copy
from streamlog.processing.worker.placement import LAG_ACCEPTABLE
from streamlog.processing.worker.status import RestoreFigures
from streamlog.processing.worker.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.client.consumer.consumer import Consumer
    from streamlog.client.values import FetchedChunk
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.status import PipelineStatus

logger = logging.getLogger(__name__)

POLL_WAIT_MS = 500
SETTLE_INTERVAL_S = 1.0
"""Between two transactions of a copy: what it has read since is read again after a crash."""
CHUNK_RECORDS = 2_000
"""Fed at once; the event loop and the interpreter are others' in between."""


@dataclass(slots=True)
class _Standby:
    """One copy."""

    store: TaskStore
    replay: ChangelogReplay
    identity: str
    figures: RestoreFigures
    settle_at: float
    is_live: bool = False
    """Whether it has once been at the changelog's end; from there on it has a history."""


class Standbys:
    """The copies that this worker keeps warm for one pipeline."""

    def __init__(self, setting: Setting, status: PipelineStatus) -> None:
        self._setting = setting
        self._status = status
        self._turns = Turns()
        self._wanted: set[TaskName] = set()
        self._taken: set[TaskName] = set()
        """Tasks that run here, or are about to: their stores are not ours to open."""
        self._copies: dict[TopicPartition, _Standby] = {}
        self._names: dict[TopicPartition, TaskName] = {}

    # What others ask for.

    async def follow(self, names: Iterable[TaskName]) -> None:
        """Keeps copies of these tasks, but of those that run here, and of no others."""
        wanted = set(names)

        async def change() -> None:
            self._wanted = wanted
            await self._close(key for key, name in self._names.items() if name not in wanted)

        await self._turns.ask(change)

    async def take(self, name: TaskName) -> None:
        """Lets go of a task's store, for good: the task is to run here."""
        self._taken.add(name)

        async def release() -> None:
            await self._close(key for key, each in self._names.items() if each == name)

        await self._turns.ask(release)

    def give_back(self, names: Iterable[TaskName]) -> None:
        """Says that tasks do not run here any more."""
        self._taken.difference_update(names)

    def is_warm(self, name: TaskName) -> bool:
        """Says whether the copy of a task is so good that the task may move here."""
        figures = self._status.standbys.get(name)
        return figures is not None and figures.end > 0 and figures.left <= LAG_ACCEPTABLE // 2

    # The task that owns the copies.

    async def run(self) -> None:
        """Keeps the copies until cancelled."""
        try:
            while True:
                await self._turns.take()
                if self._missing():
                    await self._run_with_consumer()
                else:
                    with self._turns.interruptible():
                        await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await self._close(list(self._copies))

    def _missing(self) -> list[TaskName]:
        """What is to be followed and is not yet."""
        return sorted(self._wanted - self._taken - set(self._names.values()))

    async def _run_with_consumer(self) -> None:
        """Follows until there is nothing to follow."""
        config = ConsumerConfig(auto_offset_reset=OffsetReset.NONE, chunk_records=CHUNK_RECORDS)
        async with open_consumer(self._setting.client, config) as consumer:
            while True:
                await self._turns.take()
                # The turns close stores, here is where their reading ends.
                await consumer.unassign(consumer.assignment - self._copies.keys())
                for name in self._missing():
                    await self._open(name, consumer)
                if not self._copies:
                    return
                try:
                    await self._read(consumer)
                except StreamlogError as error:
                    await self._give_up(list(self._copies), error)

    async def _read(self, consumer: Consumer) -> None:
        chunks: list[FetchedChunk] = []
        with self._turns.interruptible():
            chunks = await consumer.poll(POLL_WAIT_MS)
        began = trio.current_time()
        for chunk in chunks:
            standby = self._copies.get(chunk.topic_partition)
            if standby is not None:
                await self._feed(standby, chunk)
        for key, standby in list(self._copies.items()):
            # A fetch that brings nothing tells the end all the same.
            end = consumer.high_watermark(key)
            standby.figures.end = max(standby.figures.end, end or 0)
            if not standby.is_live and end is not None and standby.figures.position >= end:
                standby.is_live = True
                await self._setting.threads.run(standby.replay.begin_history)
            if trio.current_time() >= standby.settle_at:
                standby.settle_at = trio.current_time() + SETTLE_INTERVAL_S
                await self._setting.threads.run(lambda: _settle(standby))  # noqa: B023 (awaited)
        if chunks:
            with self._turns.interruptible():
                await trio.sleep(trio.current_time() - began)

    async def _feed(self, standby: _Standby, chunk: FetchedChunk) -> None:
        try:
            await self._setting.threads.run(lambda: standby.replay.feed(chunk.columns))
        except StreamlogError as error:
            await self._give_up([chunk.topic_partition], error)
            return
        standby.figures.end = max(standby.figures.end, chunk.high_watermark)
        standby.figures.advance(chunk.next_offset, len(chunk.columns))

    async def _open(self, name: TaskName, consumer: Consumer) -> None:
        sub = self._setting.sub_topology(name.sub_topology)
        key = TopicPartition(sub.changelog_topic, name.partition)
        identity = self._setting.topic_ids[sub.changelog_topic]
        folder = self._setting.state_folder
        try:
            store = await self._setting.threads.run(
                lambda: open_task_store(
                    folder, sub.name, name.partition, layout=sub.layout, identity=identity
                )
            )
        except StreamlogError as error:
            self._drop(name, error)
            return
        figures = RestoreFigures(began_at=trio.current_time())
        figures.aim(store.changelog_position, 0)
        standby = _Standby(
            store,
            ChangelogReplay(store),
            identity,
            figures,
            trio.current_time() + SETTLE_INTERVAL_S,
        )
        self._copies[key], self._names[key] = standby, name
        self._status.standbys[name] = figures
        write_copy(store.folder, Copy(identity, store.changelog_position, is_warm=True))
        try:
            await consumer.assign({key: store.changelog_position})
        except StreamlogError as error:
            await self._give_up([key], error)

    async def _give_up(self, keys: Iterable[TopicPartition], error: StreamlogError) -> None:
        names = [self._names[key] for key in keys]
        await self._close(list(keys))
        for name in names:
            self._drop(name, error)

    def _drop(self, name: TaskName, error: StreamlogError) -> None:
        self._wanted.discard(name)
        logger.warning("no warm copy of task %s is kept: %s", name, error.message)

    async def _close(self, keys: Iterable[TopicPartition]) -> None:
        for key in list(keys):
            standby = self._copies.pop(key)
            self._status.standbys.pop(self._names.pop(key), None)
            await self._setting.threads.run(lambda: _end(standby))  # noqa: B023 (awaited)


def _settle(standby: _Standby) -> None:
    if standby.replay.settle():
        store = standby.store
        write_copy(store.folder, Copy(standby.identity, store.changelog_position, is_warm=True))


def _end(standby: _Standby) -> None:
    """Makes durable what is whole, and lets go of the store."""
    store = standby.store
    try:
        standby.replay.settle()
        write_copy(store.folder, Copy(standby.identity, store.changelog_position))
    except StreamlogError as error:
        logger.warning("the copy in %s was left as it was: %s", store.folder, error.message)
    finally:
        store.close()
