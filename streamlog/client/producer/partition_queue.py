"""The batches of one partition: in which order they are sent, sent again, and given up.

The machine behind "idempotent, five in flight, never reordered" (KIP-98, KIP-185, KIP-360):

* `waiting` holds the batches to send, oldest first; `in_flight` those whose answer is awaited.
* A batch gets its sequence numbers when it is first sent, and keeps them. The broker takes only
  the next number, so a batch that arrives before its predecessor is refused
  (OUT_OF_ORDER_SEQUENCE_NUMBER), and one that arrives twice is recognised.
* Until a partition's first batch of an epoch is acknowledged, it is alone in flight: a broker that
  knows nothing of a producer takes any number, so a second batch could get in before the first.
* A batch that failed goes back to its old place. While it waits or is sent again, the ones behind
  it that were sent come back too; they are sent again one at a time, oldest first, and nothing new
  follows meanwhile: a broker knows only the last five batches again.
* A batch that is given up leaves a gap. If it was *refused* (its only attempt), it is certain that
  neither it nor any batch behind it is in the log: these get new numbers, from its own on, as soon
  as nothing before it is left and nothing is in flight. If it may be in the log, the numbers go on;
  then either it was there, or the next batch is refused as out of order.
* The oldest batch being out of order means that it is not in the log, nor any behind it: they get
  numbers from 0 of a new epoch. An epoch is of one partition here: brokers check epochs partition
  by partition, as long as there are no transactions.

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
        self.identity: ProducerIdentity | None = None
        self.spent_producer_id = -1
        """An id whose epochs are used up: another one is needed."""
        self._idempotent = idempotent
        self._next_sequence = 0
        self._refused: Batch | None = None
        """The first batch given up whose numbers are free again."""
        self._wants_epoch = False
        self._is_established = False
        """Whether the broker has acknowledged a batch of this identity."""
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
        if self._must_renumber():
            if self.in_flight:
                return None
            self._renumber()
        if self.identity is None and not self.needs(identity):
            self.identity = identity
            self._next_sequence = 0
        head = self.waiting[0]
        if self.identity is None or (self.in_flight and not self._may_follow(head)):
            return None
        return head

    def _may_follow(self, head: Batch) -> bool:
        """Whether a batch may be sent while others are in flight."""
        if head.is_sequenced:
            return head.order < self.in_flight[0].order
        return self._is_established and self.in_flight[0].attempts == 1

    def _must_renumber(self) -> bool:
        if self._wants_epoch:
            return True
        return self._refused is not None and self.waiting[0].order > self._refused.order

    def needs(self, identity: ProducerIdentity | None) -> bool:
        """Whether this partition can be sent to only under another identity than this one."""
        return (
            self._idempotent
            and self.identity is None
            and (identity is None or identity.producer_id == self.spent_producer_id)
        )

    def _renumber(self) -> None:
        for batch in self.waiting:
            batch.unsequence()
        if self._wants_epoch:
            self._begin_epoch()
        else:
            assert self._refused is not None
            self._next_sequence = self._refused.base_sequence
        self._refused = None
        self._wants_epoch = False

    def _begin_epoch(self) -> None:
        assert self.identity is not None
        producer_id, epoch = self.identity.producer_id, self.identity.epoch + 1
        if epoch <= EPOCH_MAX:
            self.identity = ProducerIdentity(producer_id, epoch)
        else:
            self.identity, self.spent_producer_id = None, producer_id
        self._next_sequence = 0
        self._is_established = False

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
        self._is_established = True

    def back(self, batch: Batch) -> None:
        """The batch goes back to its place, to be sent again."""
        self.in_flight.remove(batch)
        self._insert(self.waiting, batch)

    def is_oldest(self, batch: Batch) -> bool:
        """Whether nothing before this batch is still to come into the log."""
        others = (*self.in_flight[:1], *self.waiting[:1])
        return all(batch.order <= other.order for other in others)

    def begin_epoch(self) -> None:
        """Has numbers begin at 0 of a new epoch: what the broker has is not what we believed."""
        self._wants_epoch = self._idempotent

    def split(self, batch: Batch) -> None:
        """Puts the two halves of a batch in flight back in its place."""
        self.in_flight.remove(batch)
        for half in batch.split():
            self._insert(self.waiting, half)

    def give_up(self, batch: Batch) -> None:
        """Takes a batch out for good; see the module about the gap it leaves."""
        was_refused = batch in self.in_flight and batch.attempts == 1
        (self.in_flight if batch in self.in_flight else self.waiting).remove(batch)
        if (
            batch.is_sequenced
            and was_refused
            and (self._refused is None or batch.order < self._refused.order)
        ):
            self._refused = batch

    @staticmethod
    def _insert(batches: list[Batch], batch: Batch) -> None:
        batches.insert(bisect_left(batches, batch.order, key=lambda each: each.order), batch)
