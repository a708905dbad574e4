"""The client's vocabulary: partitions, offsets, and what is known of sent or fetched records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from streamlog.records.columns import Columns

LATEST = -1
"""As an offset: the end of the partition, where the next record will be."""

EARLIEST = -2
"""As an offset: the oldest record that is still there."""


class TopicPartition(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class OffsetAndMetadata:
    """A committed offset: the next one to read, a note beside it, the epoch it was read under."""

    offset: int
    metadata: str = ""
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class OffsetAndTimestamp:
    """What a look-up by time finds: a record's offset, and that record's timestamp."""

    offset: int
    timestamp_ms: int
    leader_epoch: int = -1


@dataclass(frozen=True, slots=True)
class RecordMetadata:
    """Where a record went. The offset is -1 if the broker was not asked to tell (acks=0)."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class RangeMetadata:
    """Where the records of one `send_columns` went; both ends are included.

    The offsets between them may belong to somebody else if the records needed several batches.
    """

    topic: str
    partition: int
    base_offset: int
    last_offset: int


@dataclass(frozen=True, slots=True)
class FetchedChunk:
    """Some consecutive records of one partition, as columns.

    `next_offset` is where the next chunk begins. It may lie beyond the last record (control
    records, compaction), and `columns` may be empty for that reason.
    """

    topic: str
    partition: int
    columns: Columns
    next_offset: int
    high_watermark: int
    leader_epoch: int = -1

    @property
    def topic_partition(self) -> TopicPartition:
        """The partition as a key of dictionaries."""
        return TopicPartition(self.topic, self.partition)
