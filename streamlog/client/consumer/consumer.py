"""The consumer: fetches assigned partitions ahead of the caller."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamlog.client.config import ConsumerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.values import (
        FetchedChunk,
        OffsetAndMetadata,
        OffsetAndTimestamp,
        TopicPartition,
    )


class Consumer:
    """Fetches the partitions it is assigned; made by `open_consumer`."""

    @property
    def assignment(self) -> frozenset[TopicPartition]:
        """The partitions being read."""
        raise AssertionError

    async def assign(self, offsets: Mapping[TopicPartition, int | None]) -> None:
        """Begins to read these partitions too, from these offsets; the others go on.

        An offset may be `EARLIEST` or `LATEST`; None leaves it to `auto_offset_reset`.
        """
        raise AssertionError

    async def unassign(self, partitions: Iterable[TopicPartition]) -> None:
        """Stops reading these partitions; the others go on."""
        raise AssertionError

    def seek(self, partition: TopicPartition, offset: int | None) -> None:
        """Goes on from another offset; what was fetched ahead is dropped."""
        raise AssertionError

    def pause(self, partitions: Iterable[TopicPartition]) -> None:
        """Returns no more of these partitions until they are resumed."""
        raise AssertionError

    def resume(self, partitions: Iterable[TopicPartition]) -> None:
        """Ends a pause; what had been fetched ahead is kept."""
        raise AssertionError

    async def poll(self, max_wait_ms: int = 500) -> list[FetchedChunk]:
        """Returns what is there, at most one chunk of each partition; waits if there is nothing."""
        raise AssertionError

    def position(self, partition: TopicPartition) -> int | None:
        """The offset that the next chunk will begin with; None while it is being looked up."""
        raise AssertionError

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        """Looks up where the partitions end."""
        raise AssertionError

    async def beginning_offsets(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """Looks up where the partitions begin."""
        raise AssertionError

    async def offsets_for_times(
        self, timestamps_ms: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Looks up the first record at or after a time; None if there is none."""
        raise AssertionError

    async def commit(self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commits offsets for a group without members; `GroupMember.commit` is for members."""
        raise AssertionError

    async def committed(
        self, group: str, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Returns a group's committed offsets; None where there is none."""
        raise AssertionError


@asynccontextmanager
async def open_consumer(
    client: Client, config: ConsumerConfig | None = None
) -> AsyncIterator[Consumer]:
    """Opens a consumer."""
    yield Consumer()
