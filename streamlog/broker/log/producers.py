"""What a partition remembers of idempotent producers, and what follows for the next batch.

Per producer id: its epoch and its last five batches (first and last sequence, last offset). From
that alone it is decided whether a batch is new, a repetition (answered with the offsets it has
already), out of order, or from a producer that has been replaced. A producer that is not known may
begin at any sequence: what was known of it may have expired.

Time is the broker's, not the records': a producer that loads last year's events is not forgotten
the moment it falls silent. An open transaction (its first offset) is tracked too, so that the last
stable offset of a log that Kafka wrote is known, and its snapshots stay whole.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.broker.log.errors import AppendError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from streamlog.records.batch import BatchHeader

BATCHES_KEPT = 5
"""Kafka's clients have at most this many requests in flight per connection with idempotence."""
SEQUENCES = 1 << 31
NO_SEQUENCE = -1
NO_TXN = -1


@dataclass(frozen=True, slots=True)
class ProducedBatch:
    """One of the last batches of a producer."""

    first_sequence: int
    last_sequence: int
    last_offset: int
    offset_delta: int
    timestamp_ms: int

    @property
    def base_offset(self) -> int:
        """The offset of the batch's first record."""
        return self.last_offset - self.offset_delta


@dataclass(slots=True)
class ProducerEntry:
    """What is known of one producer id."""

    epoch: int
    last_ms: int
    """When it last wrote, by the broker's clock."""
    coordinator_epoch: int = -1
    txn_first_offset: int = NO_TXN
    batches: deque[ProducedBatch] = field(default_factory=lambda: deque(maxlen=BATCHES_KEPT))


class ProducerStates:
    """The producers of one partition; O(1) per batch."""

    __slots__ = ("_producers",)

    def __init__(self) -> None:
        self._producers: dict[int, ProducerEntry] = {}

    def __len__(self) -> int:
        return len(self._producers)

    @property
    def entries(self) -> dict[int, ProducerEntry]:
        """By producer id; to read."""
        return self._producers

    def find_duplicate(self, header: BatchHeader) -> ProducedBatch | None:
        """Returns the batch that this one repeats, if it is one of the last five."""
        entry = self._producers.get(header.producer_id)
        if entry is None or entry.epoch != header.producer_epoch:
            return None
        first, last = header.base_sequence, header.last_sequence
        for batch in entry.batches:
            if batch.first_sequence == first and batch.last_sequence == last:
                return batch
        return None

    def check(self, header: BatchHeader) -> None:
        """Refuses a batch that does not follow on what is known of its producer.

        Raises:
            AppendError: An old epoch, or a sequence that is not the next.
        """
        entry = self._producers.get(header.producer_id)
        if entry is None:
            return
        if header.producer_epoch < entry.epoch:
            raise AppendError(
                ErrorCode.INVALID_PRODUCER_EPOCH,
                f"producer {header.producer_id} wrote with epoch {header.producer_epoch}, "
                f"and epoch {entry.epoch} has taken over",
            )
        if not entry.batches:
            return
        if header.producer_epoch > entry.epoch:
            expected = 0
        else:
            expected = (entry.batches[-1].last_sequence + 1) % SEQUENCES
        if header.base_sequence != expected:
            raise AppendError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"producer {header.producer_id} sent sequence {header.base_sequence} "
                f"where {expected} is next",
            )

    def update(self, header: BatchHeader, now_ms: int) -> None:
        """Takes note of a batch that is in the log, at the offsets that its header bears."""
        entry = self._producers.get(header.producer_id)
        if entry is None or header.producer_epoch > entry.epoch:
            txn_first = entry.txn_first_offset if entry is not None else NO_TXN
            entry = ProducerEntry(header.producer_epoch, now_ms, txn_first_offset=txn_first)
            self._producers[header.producer_id] = entry
        entry.last_ms = now_ms
        entry.batches.append(
            ProducedBatch(
                header.base_sequence,
                header.last_sequence,
                header.last_offset,
                header.last_offset_delta,
                header.max_timestamp,
            )
        )
        if header.is_transactional and entry.txn_first_offset == NO_TXN:
            entry.txn_first_offset = header.base_offset

    def end_transaction(self, header: BatchHeader, coordinator_epoch: int, now_ms: int) -> None:
        """Takes note of a commit or abort marker in the log."""
        entry = self._producers.get(header.producer_id)
        if entry is None or header.producer_epoch > entry.epoch:
            entry = ProducerEntry(header.producer_epoch, now_ms)
            self._producers[header.producer_id] = entry
        entry.last_ms = now_ms
        entry.coordinator_epoch = coordinator_epoch
        entry.txn_first_offset = NO_TXN

    @property
    def first_unstable_offset(self) -> int | None:
        """The first offset of the oldest open transaction."""
        opened = [
            entry.txn_first_offset
            for entry in self._producers.values()
            if entry.txn_first_offset != NO_TXN
        ]
        return min(opened, default=None)

    def expire(self, now_ms: int, expiration_ms: int) -> int:
        """Forgets producers that were silent for so long, except in a transaction."""
        gone = [
            producer_id
            for producer_id, entry in self._producers.items()
            if entry.txn_first_offset == NO_TXN and now_ms - entry.last_ms >= expiration_ms
        ]
        for producer_id in gone:
            del self._producers[producer_id]
        return len(gone)

    def restore(self, producer_id: int, entry: ProducerEntry) -> None:
        """Puts back what a snapshot holds of a producer."""
        self._producers[producer_id] = entry

    def refill(self, header: BatchHeader) -> None:
        """Puts a batch from the log before a snapshot back among a producer's last five.

        A snapshot holds one batch per producer; the log holds the others. Called for the batches
        below the snapshot, newest first; one that does not lead up to what is known is passed over.
        """
        entry = self._producers.get(header.producer_id)
        if entry is None or not entry.batches or len(entry.batches) == BATCHES_KEPT:
            return
        oldest = entry.batches[0]
        if (
            header.producer_epoch == entry.epoch
            and (header.last_sequence + 1) % SEQUENCES == oldest.first_sequence
            and header.last_offset < oldest.base_offset
        ):
            entry.batches.appendleft(
                ProducedBatch(
                    header.base_sequence,
                    header.last_sequence,
                    header.last_offset,
                    header.last_offset_delta,
                    header.max_timestamp,
                )
            )
