"""The batches of one partition: in which order they are sent, sent again, and given up.

The machine behind "idempotent, five in flight, never reordered" (KIP-98, KIP-185, KIP-360):

* `waiting` holds the batches to send, oldest first; `in_flight` those whose answer is awaited.
* A batch gets its sequence numbers when it is first sent, and keeps them. The broker takes only
  the next number, so a batch that arrives before its predecessor is refused
  (OUT_OF_ORDER_SEQUENCE_NUMBER), and one that arrives twice is recognised.
* A batch that failed goes back to its old place. While it waits or is sent again, the ones behind
  it that were sent come back too; they are sent again one at a time, oldest first.
* A batch given up leaves a gap in the numbers. If it is certain that it is not in the log (its only
  attempt was refused), the numbers are dealt anew from its own; if not, a new epoch begins at 0.
  Either happens when nothing is in flight any more (`_restart`). An epoch is of one partition here:
  brokers check epochs partition by partition, as long as there are no transactions.

Without idempotence only one batch of a partition is in flight, which keeps the order too.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.producer.batch import Batch, sequence_after

if TYPE_CHECKING:
    from streamlog.client.values import TopicPartition

EPOCH_MAX = 2**15 - 2


@dataclass(frozen=True, slots=True)
class ProducerIdentity:
    """What a broker gave this producer so that it can recognise its batches."""

    producer_id: int
    epoch: int


class PartitionQueue:
    """One partition's batches; see the module."""

    def __init__(self, partition: TopicPartition, *, idempotent: bool) -> None:
        self.partition = partition
        self.waiting: list[Batch] = []
        self.in_flight: list[Batch] = []
        self.retry_at_ms = 0.0
        """After a failure, nothing is sent before this time."""
        self.failures = 0
        """Consecutive ones; for the back-off."""
        self.identity: ProducerIdentity | None = None
        self.spent_producer_id = -1
        """An id whose epochs are used up: another one is needed."""
        self._idempotent = idempotent
        self._next_sequence = 0
        self._restart_at: Batch | None = None
        """The first batch given up whose numbers are free again."""
        self._restart_epoch = False
        self._batch_count = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits and nothing is in flight."""
        return not self.waiting and not self.in_flight

    def open_batch(self, size: int, batch_bytes: int, now_ms: float) -> tuple[Batch, bool]:
        """Returns the batch that a record of this size goes into, and whether it is a new one."""
        if self.waiting:
            last = self.waiting[-1]
            if not last.closed:
                if last.size_bytes + size <= batch_bytes:
                    return last, False
                last.closed = True
        return self.new_batch(now_ms), True

    def new_batch(self, now_ms: float, *, atomic: bool = False) -> Batch:
        """Appends an empty batch; the one before it is closed."""
        if self.waiting:
            self.waiting[-1].closed = True
        self._batch_count += 1
        batch = Batch(self.partition, (self._batch_count, 0), now_ms, atomic=atomic)
        self.waiting.append(batch)
        return batch

    def sendable(self, identity: ProducerIdentity | None, now_ms: float) -> Batch | None:
        """Returns the batch to send next if the order allows one now."""
        if not self.waiting or now_ms < self.retry_at_ms:
            return None
        if not self._idempotent:
            return None if self.in_flight else self.waiting[0]
        if not self._prepare(identity):
            return None
        head = self.waiting[0]
        if head.is_sequenced and self.in_flight and self.in_flight[0].order < head.order:
            return None
        return head

    def _prepare(self, identity: ProducerIdentity | None) -> bool:
        """Deals numbers anew if that is due; returns whether there is an identity to send under."""
        if self._restart_epoch or self._restart_at is not None:
            if self.in_flight:
                return False
            self._restart()
        if self.identity is None and not self.needs(identity):
            self.identity = identity
            self._next_sequence = 0
        return self.identity is not None

    def needs(self, identity: ProducerIdentity | None) -> bool:
        """Whether this partition can be sent to only under another identity than this one."""
        return (
            self._idempotent
            and self.identity is None
            and (identity is None or identity.producer_id == self.spent_producer_id)
        )

    def _restart(self) -> None:
        for batch in self.waiting:
            batch.unsequence()
        if self._restart_epoch:
            assert self.identity is not None
            producer_id, epoch = self.identity.producer_id, self.identity.epoch + 1
            if epoch <= EPOCH_MAX:
                self.identity = ProducerIdentity(producer_id, epoch)
            else:
                self.identity, self.spent_producer_id = None, producer_id
            self._next_sequence = 0
        elif self._restart_at is not None:
            self._next_sequence = self._restart_at.base_sequence
        self._restart_at = None
        self._restart_epoch = False

    def send(self, batch: Batch) -> None:
        """Moves the batch that `sendable` returned into flight."""
        assert batch is self.waiting[0]
        del self.waiting[0]
        batch.closed = True
        batch.attempts += 1
        if self._idempotent and not batch.is_sequenced:
            assert self.identity is not None
            batch.sequence(self.identity.producer_id, self.identity.epoch, self._next_sequence)
            self._next_sequence = sequence_after(self._next_sequence, batch.count)
        self._insert(self.in_flight, batch)

    def succeeded(self, batch: Batch) -> None:
        """The batch is in the log."""
        self.in_flight.remove(batch)
        self.failures = 0
        if self._restart_at is not None:
            # A broker that knew nothing of the producer took a later number: do not go back.
            self._restart_epoch = True

    def back(self, batch: Batch) -> None:
        """The batch goes back to its place, to be sent again."""
        self.in_flight.remove(batch)
        self._insert(self.waiting, batch)

    def is_oldest(self, batch: Batch) -> bool:
        """Whether nothing before this batch is still to come into the log."""
        others = (*self.in_flight[:1], *self.waiting[:1])
        return all(batch.order <= other.order for other in others)

    @property
    def is_restarting(self) -> bool:
        """Whether numbers are to be dealt anew once nothing is in flight."""
        return self._restart_epoch or self._restart_at is not None

    def begin_epoch(self) -> None:
        """Numbers begin at 0 of a new epoch: what the broker has is not what we believe."""
        self._restart_epoch = self._idempotent

    def split(self, batch: Batch) -> None:
        """Puts the two halves of a batch in flight back in its place."""
        self.in_flight.remove(batch)
        for half in batch.split():
            self._insert(self.waiting, half)

    def give_up(self, batch: Batch) -> None:
        """Takes a batch out for good; see the module about the gap it leaves."""
        was_refused = batch in self.in_flight and batch.attempts == 1
        (self.in_flight if batch in self.in_flight else self.waiting).remove(batch)
        if not batch.is_sequenced:
            return
        if not was_refused:
            self._restart_epoch = True
        elif self._restart_at is None or batch.order < self._restart_at.order:
            self._restart_at = batch

    @staticmethod
    def _insert(batches: list[Batch], batch: Batch) -> None:
        batches.insert(bisect_left(batches, batch.order, key=lambda each: each.order), batch)
