"""A batch of records on its way to one partition, as columns until it is encoded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.producer.fate import Fate
from streamlog.records.batch import HEADER_SIZE
from streamlog.records.codec import encode_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.client.values import TopicPartition
    from streamlog.records.batch import Codec
    from streamlog.records.columns import Headers

NO_SEQUENCE = -1
SEQUENCE_COUNT = 2**31
"""Sequence numbers go from 0 to 2**31 - 1 and begin again."""


class Batch:
    """Records for one partition; grows until it is closed.

    Args:
        partition: Where it goes.
        order: Batches of a partition are sent in this order.
        created_ms: Monotonic time of the first record.
        atomic: Must not be split.
    """

    __slots__ = (
        "atomic", "attempts", "base_sequence", "closed", "created_ms", "fate", "headers", "keys",
        "order", "partition", "producer_epoch", "producer_id", "size_bytes", "timestamps", "values",
    )  # fmt: skip

    def __init__(
        self,
        partition: TopicPartition,
        order: tuple[int, int],
        created_ms: float,
        *,
        atomic: bool = False,
    ) -> None:
        self.partition = partition
        self.order = order
        self.created_ms = created_ms
        self.atomic = atomic
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.timestamps: list[int] = []
        self.headers: list[Headers] | None = None
        self.size_bytes = HEADER_SIZE
        self.closed = False
        self.attempts = 0
        self.producer_id = -1
        self.producer_epoch = -1
        self.base_sequence = NO_SEQUENCE
        self.fate = Fate()

    @property
    def count(self) -> int:
        """How many records."""
        return len(self.values)

    @property
    def is_sequenced(self) -> bool:
        """Whether it has its place among the sequence numbers of the producer."""
        return self.base_sequence != NO_SEQUENCE

    def add(
        self, key: bytes | None, value: bytes | None, timestamp_ms: int, headers: Headers, size: int
    ) -> int:
        """Appends a record of that `record_size`; returns its index."""
        index = len(self.values)
        self.keys.append(key)
        self.values.append(value)
        self.timestamps.append(timestamp_ms)
        if headers and self.headers is None:
            self.headers = [()] * index
        if self.headers is not None:
            self.headers.append(headers)
        self.size_bytes += size
        self.fate.count = index + 1
        return index

    def fill(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None,
        size: int,
    ) -> None:
        """Takes all of its records at once (of that size together), and is closed."""
        self.keys = list(keys)
        self.values = list(values)
        self.timestamps = list(timestamps)
        self.headers = None if headers is None else list(headers)
        self.size_bytes = HEADER_SIZE + size
        self.fate.count = len(self.values)
        self.closed = True

    def sequence(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """Gives the batch its place among the sequence numbers."""
        self.producer_id = producer_id
        self.producer_epoch = producer_epoch
        self.base_sequence = base_sequence

    def unsequence(self) -> None:
        """Takes the place away; the batch gets another one when it is sent again."""
        self.sequence(-1, -1, NO_SEQUENCE)

    def encode(self, codec: Codec) -> bytearray:
        """Returns the record batch, with the sequence numbers that it has now."""
        return encode_batch(
            self.keys,
            self.values,
            self.timestamps,
            self.headers,
            codec=codec,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            base_sequence=self.base_sequence,
        )

    def split(self) -> tuple[Batch, Batch]:
        """Returns two batches with a half of the records each.

        They keep the sequence numbers, so a broker that has refused the whole takes the halves in
        its place, and what is behind it in flight stays right.
        """
        assert not self.atomic
        middle = self.count // 2
        assert middle > 0
        halves = []
        for fate, start, stop in zip(
            self.fate.split(middle), (0, middle), (middle, self.count), strict=True
        ):
            half = Batch(self.partition, (self.order[0], self.order[1] + start), self.created_ms)
            half.fill(
                self.keys[start:stop],
                self.values[start:stop],
                self.timestamps[start:stop],
                None if self.headers is None else self.headers[start:stop],
                0,
            )
            half.fate = fate
            half.attempts = self.attempts
            if self.is_sequenced:
                half.sequence(
                    self.producer_id,
                    self.producer_epoch,
                    sequence_after(self.base_sequence, start),
                )
            halves.append(half)
        first, second = halves
        # The sizes are only for the account of the buffer, and their sum must not change.
        first.size_bytes = self.size_bytes * middle // self.count
        second.size_bytes = self.size_bytes - first.size_bytes
        return first, second


def sequence_after(sequence: int, count: int) -> int:
    """Returns the sequence number `count` after another one.

    >>> sequence_after(2**31 - 1, 1)
    0
    """
    return (sequence + count) % SEQUENCE_COUNT
