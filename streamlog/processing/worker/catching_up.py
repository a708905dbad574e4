"""Fencing a task's changelog, and bringing local state up to the fence.

The fence is a record with our epoch at the end of the changelog. From then on whatever an earlier
owner still writes there is void, for us and for everybody who ever restores. Then the local state
is brought up to the fence, from where it last was, or from nothing. The epoch must be larger than
any that was seen; where the changelog turns out to know a larger one, as when the group was deleted
and its generations began anew, a second fence is written.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from streamlog.client.config import ConsumerConfig, OffsetReset
from streamlog.client.consumer.consumer import open_consumer
from streamlog.errors import StorageError
from streamlog.processing.worker.changelog import ChangelogReplay, fence_record

if TYPE_CHECKING:
    from streamlog.client.client import Client
    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import TopicPartition
    from streamlog.doors import Clock, Threads
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.status import RestoreFigures

FENCES_MAX = 8
"""Each one more needs another worker that fenced in between; so many in a row is a fault."""
POLL_WAIT_MS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CatchingUp:
    """What it needs of the world."""

    client: Client
    producer: Producer
    clock: Clock
    threads: Threads
    way_out: str
    """What to do when the changelog's records were deleted."""

    async def fence(
        self, store: TaskStore, changelog: TopicPartition, generation: int, figures: RestoreFigures
    ) -> tuple[int, int]:
        """Fences the changelog and applies it; returns our epoch and where our next write begins.

        Args:
            store: The local state.
            changelog: The task's.
            generation: The group's; our epoch is at least that.
            figures: Are told how far it is.

        Raises:
            StorageError: If the changelog has lost what the state needs, or others fence as well.
        """
        replay = ChangelogReplay(store)
        epoch = max(generation, store.epoch + 1)
        begin = store.changelog_position
        for _ in range(FENCES_MAX):
            key, value = fence_record(epoch)
            now_ms = self.clock.wall_ms()
            delivery = await self.producer.send_columns(
                changelog.topic, changelog.partition, [key], [value], [now_ms], atomic=True
            )
            end = (await delivery.wait()).last_offset + 1
            if store.changelog_position > end:
                raise StorageError(
                    f"the local state of {changelog} is at offset {store.changelog_position}, but "
                    f"the changelog ends at {end}: it has lost records",
                    hint=f"If the topic is the right one, delete {store.folder} to restore",
                )
            figures.aim(begin, end - 1)
            await self._replay(replay, changelog, begin, end - 1, figures)
            if replay.highest_epoch < epoch:
                await self.threads.run(partial(replay.finish, end, epoch))
                return epoch, end
            epoch, begin = replay.highest_epoch + 1, end
        raise StorageError(f"{changelog} is fenced again and again by other workers")

    async def _replay(
        self,
        replay: ChangelogReplay,
        changelog: TopicPartition,
        begin: int,
        end: int,
        figures: RestoreFigures,
    ) -> None:
        """Feeds the changelog from `begin` up to `end`, which leaves out our own fence there."""
        config = ConsumerConfig(auto_offset_reset=OffsetReset.NONE)
        async with open_consumer(self.client, config) as consumer:
            first = (await consumer.beginning_offsets([changelog]))[changelog]
            if begin < first:
                raise StorageError(
                    f"the changelog {changelog} begins at offset {first}, but the local state "
                    f"needs it from {begin} on: its records were deleted, so the state cannot be "
                    "restored",
                    hint=self.way_out,
                )
            await consumer.assign({changelog: begin})
            while (consumer.position(changelog) or 0) < end:
                for chunk in await consumer.poll(POLL_WAIT_MS):
                    columns = chunk.columns
                    if columns.offsets and columns.offsets[-1] >= end:
                        columns = columns.slice(0, bisect_left(columns.offsets, end))
                    await self.threads.run(partial(replay.feed, columns))
                    figures.advance(min(chunk.next_offset, end), len(columns))
