"""The consumer: fetches assigned partitions ahead of the caller."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from streamlog.client.cluster.coordinators import commit_without_members, fetch_offsets
from streamlog.client.cluster.offsets import list_offsets
from streamlog.client.config import ConsumerConfig, OffsetReset
from streamlog.client.consumer.fetcher import Fetcher
from streamlog.client.consumer.finding_out import OFFSET_OF_POLICY
from streamlog.client.consumer.partition_state import PartitionState
from streamlog.client.errors import UnknownTopicError
from streamlog.client.nursery import background_nursery
from streamlog.client.values import EARLIEST, LATEST, FetchedChunk
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.values import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition

POLL_CHUNKS_FULL = 4
"""A poll decodes about so many full chunks, lest it keep other tasks waiting for long."""


class Consumer:
    """Fetches the partitions it is assigned; made by `open_consumer`."""

    def __init__(self, client: Client, config: ConsumerConfig) -> None:
        self._client = client
        self._config = config
        self._states: dict[TopicPartition, PartitionState] = {}
        self._news = trio.Event()
        self._fetcher = Fetcher(client, config, self._states, self._on_news)

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions being read."""
        return frozenset(self._states)

    async def assign(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Begins to read these partitions too, from these offsets; the others go on.

        A partition that is assigned already goes on from the new offset.

        Args:
            offsets: An offset may be `EARLIEST` or `LATEST`; None leaves it to `auto_offset_reset`.

        Raises:
            UsageError: an offset is left to a reset policy that is "none".
            UnknownTopicError: a topic or partition does not exist.
        """
        starts = {each: self._start(each, offset) for each, offset in offsets.items()}
        for partition in offsets:
            await self._check_exists(partition)
        for partition, start in starts.items():
            state = self._states.get(partition)
            if state is None:
                state = self._states[partition] = PartitionState(partition)
            state.seek(start)
        self._client.keeper.track(each.topic for each in offsets)
        self._fetcher.wake()

    async def _check_exists(self, partition: TopicPartition) -> None:
        info = await self._client.topic(partition.topic)
        if partition.partition not in info.partitions:
            # The topic may have grown since it was asked for.
            await self._client.keeper.refresh()
            info = await self._client.topic(partition.topic)
            if partition.partition not in info.partitions:
                raise UnknownTopicError(*partition)

    async def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stops reading these partitions; the others go on."""
        for partition in partitions:
            state = self._states.pop(partition, None)
            if state is not None:
                # What is under way for it must not be taken for news.
                state.incarnation += 1
        self._fetcher.wake()
        await trio.lowlevel.checkpoint()

    def seek(self, partition: TopicPartition, offset: int | None) -> None:
        """Goes on from another offset; what was fetched ahead is dropped."""
        self._state(partition).seek(self._start(partition, offset))
        self._fetcher.wake()

    async def seek_to_time(
        self, timestamp_ms: int, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, int]:
        """Goes on from the first records at or after a time; to the end where there is none.

        Args:
            timestamp_ms: Milliseconds since 1970.
            partitions: Assigned ones; by default all of them.

        Returns:
            Where each partition is read from now. To begin there, look the offsets up with
            `offsets_for_times` and `assign` them.
        """
        wanted = self._assigned(partitions)
        # The ends come first: a record that arrives between the two look-ups is not passed over.
        positions = await self.end_offsets(wanted)
        found = await self.offsets_for_times(dict.fromkeys(wanted, timestamp_ms))
        positions |= {each: at.offset for each, at in found.items() if at is not None}
        return self._seek_all(positions)

    async def seek_to_group(
        self, group: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, int]:
        """Goes on from where a group stands now, without becoming a member of it.

        Args:
            group: A consumer group or a pipeline.
            partitions: Assigned ones; by default all of them.

        Returns:
            Where each partition is read from now. Those that the group has not committed are
            missing, and go on as they were.
        """
        found = await self.committed(group, self._assigned(partitions))
        return self._seek_all({each: at.offset for each, at in found.items() if at is not None})

    def seek_to_positions(
        self, positions: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Goes on from kept positions: from `positions()`, or a file that `parse_positions` reads.

        Returns:
            Where each partition is read from now; those that are not assigned are left out.
        """
        return self._seek_all(positions)

    def positions(self) -> dict[TopicPartition, int]:
        """Where all assigned partitions are; those that are still being looked up are missing."""
        return {
            each: state.position
            for each, state in self._states.items()
            if state.position is not None
        }

    def _assigned(self, partitions: Iterable[TopicPartition] | None) -> list[TopicPartition]:
        wanted = list(self._states if partitions is None else partitions)
        for partition in wanted:
            self._state(partition)
        return wanted

    def _seek_all(self, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        """Seeks those that are assigned: a rebalance may have taken some meanwhile."""
        done = {each: at for each, at in positions.items() if each in self._states}
        for partition, offset in done.items():
            self.seek(partition, offset)
        return done

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Returns no more of these partitions until they are resumed."""
        for partition in partitions:
            self._state(partition).is_paused = True

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Ends a pause; what had been fetched ahead is kept."""
        for partition in partitions:
            self._state(partition).is_paused = False
        self._on_news()
        self._fetcher.wake()

    async def poll(self, max_wait_ms: float = 500) -> list[FetchedChunk]:
        """Returns what is there, at most one chunk of each partition; waits if there is nothing.

        Raises:
            OffsetOutOfRangeError: the position is not in the log, and the policy is not to guess.
            StreamlogError: a partition cannot be read. The others can: poll again after a seek or
                `unassign` of that one.
        """
        deadline = trio.current_time() + max_wait_ms / 1000
        await trio.lowlevel.checkpoint()
        while True:
            chunks = self._take()
            if chunks:
                self._fetcher.wake()
                return chunks
            self._raise_failure()
            if trio.current_time() >= deadline:
                return []
            with trio.move_on_at(deadline):
                await self._news.wait()

    def _take(self) -> list[FetchedChunk]:
        """Takes chunks from the partitions in turn, up to what one poll should decode."""
        chunks: list[FetchedChunk] = []
        count = 0
        waiting = [s for s in self._states.values() if s.buffered and not s.is_paused]
        for state in waiting:
            columns, epoch = state.take(self._config.chunk_records)
            assert state.position is not None
            topic, partition = state.partition
            chunks.append(
                FetchedChunk(topic, partition, columns, state.position, state.high_watermark, epoch)
            )
            # Who was served goes to the end, so that everybody is.
            self._states[state.partition] = self._states.pop(state.partition)
            count += len(columns)
            if count >= self._config.chunk_records * POLL_CHUNKS_FULL:
                break
        return chunks

    def _raise_failure(self) -> None:
        for state in self._states.values():
            if state.error is not None:
                raise state.error

    def _on_news(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that the next chunk will begin with; None while it is being looked up."""
        return self._state(partition).position

    def high_watermark(self, partition: TopicPartition) -> int | None:
        """Where the partition ended when it was last fetched; None if that has not been yet."""
        mark = self._state(partition).high_watermark
        return mark if mark >= 0 else None

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Looks up where the partitions end (read_committed: where open transactions begin)."""
        return await self._ends(partitions, LATEST)

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Looks up where the partitions begin."""
        return await self._ends(partitions, EARLIEST)

    async def _ends(
        self, partitions: Iterable[TopicPartition], which: int
    ) -> dict[TopicPartition, int]:
        found = await list_offsets(
            self._client, dict.fromkeys(partitions, which), self._config.isolation
        )
        return {each: answer.offset for each, answer in found.items() if answer is not None}

    async def offsets_for_times(
        self, timestamps_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Looks up the first record at or after a time; None if there is none."""
        negative = [each for each in timestamps_ms.values() if each < 0]
        if negative:
            raise UsageError(f"{negative[0]} is no time", hint="Give milliseconds since 1970")
        return await list_offsets(self._client, timestamps_ms, self._config.isolation)

    async def commit(self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commits offsets for a group without members; `GroupMember.commit` is for members."""
        await commit_without_members(self._client, group, offsets)

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Returns a group's committed offsets; None where there is none."""
        asked = list(partitions)
        found = await fetch_offsets(self._client, group, asked)
        return {each: found.get(each) for each in asked}

    async def run(self) -> None:
        """The fetcher's task."""
        await self._fetcher.run()

    def close(self) -> None:
        """Closes the connections."""
        self._fetcher.close()

    def _state(self, partition: TopicPartition) -> PartitionState:
        state = self._states.get(partition)
        if state is None:
            raise UsageError(f"{partition} is not assigned", hint="Call `assign` first")
        return state

    def _start(self, partition: TopicPartition, offset: int | None) -> int:
        if offset is None:
            policy = self._config.auto_offset_reset
            if policy is OffsetReset.NONE:
                raise UsageError(
                    f"no offset is given for {partition}, and auto_offset_reset is none",
                    hint="Give an offset, EARLIEST or LATEST, or choose a policy",
                )
            return OFFSET_OF_POLICY[policy]
        if offset < 0 and offset not in (EARLIEST, LATEST):
            raise UsageError(f"{offset} is no offset of {partition}")
        return offset


@asynccontextmanager
async def open_consumer(
    client: Client, config: ConsumerConfig | None = None
) -> AsyncIterator[Consumer]:
    """Opens a consumer; leaving drops what was fetched ahead."""
    consumer = Consumer(client, config or ConsumerConfig())
    try:
        async with background_nursery() as nursery:
            nursery.start_soon(consumer.run)
            yield consumer
    finally:
        consumer.close()
