"""Topics in memory: lists of records, offsets from 0, and a group's committed offsets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.records.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.records.columns import Headers


@dataclass(slots=True)
class MemoryPartition:
    """One partition: its records as columns; a record's offset is its index."""

    columns: Columns = field(default_factory=Columns.empty)

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.columns)

    def append(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None = None,
    ) -> int:
        """Appends records; returns the offset after the last."""
        offsets = list(range(self.end, self.end + len(keys)))
        added = list(headers) if headers is not None else None
        self.columns.extend(Columns(offsets, list(timestamps), list(keys), list(values), added))
        return self.end

    def read(self, offset: int, count: int) -> Columns:
        """Returns up to `count` records from an offset on."""
        return self.columns.slice(offset, offset + count)


class MemoryLog:
    """All topics, and one group's offsets.

    Args:
        partition_counts: Of every topic that there is.
    """

    def __init__(self, partition_counts: Mapping[str, int]) -> None:
        self.topics: dict[str, list[MemoryPartition]] = {
            topic: [MemoryPartition() for _ in range(count)]
            for topic, count in partition_counts.items()
        }
        self.committed: dict[tuple[str, int], tuple[int, str]] = {}
        """Offset and metadata by topic and partition."""
        self.generation = 0
        self._rewinds = 0

    @property
    def partition_counts(self) -> dict[str, int]:
        """How many partitions each topic has."""
        return {topic: len(partitions) for topic, partitions in self.topics.items()}

    def next_rewind(self) -> int:
        """Numbers the rewinds of the pipeline."""
        self._rewinds += 1
        return self._rewinds

    def partition(self, topic: str, partition: int) -> MemoryPartition:
        """Returns one partition."""
        return self.topics[topic][partition]
