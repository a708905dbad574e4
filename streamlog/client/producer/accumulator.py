"""The accumulator: every unacknowledged record of a producer, and what is to be sent next.

A synchronous machine. Senders put records in; the sender task asks `drain` what to send to whom
now, and reports what the brokers said of each batch; `next_deadline` says when time alone changes
the answer. A batch is ready when it is full, when it has lingered, when somebody flushes, when the
buffer is full, or when it was sent before. The order within a partition is `PartitionQueue`'s
business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING

from streamlog.client.errors import (
    DeliveryError,
    DeliveryTimeoutError,
    ErrorCode,
    RecordTooLargeError,
)
from streamlog.client.producer.partition_queue import PartitionQueue, ProducerIdentity
from streamlog.records.batch import HEADER_SIZE
from streamlog.records.errors import BatchTooLargeError
from streamlog.records.sizes import column_sizes, columns_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streamlog.client.backoff import Backoff
    from streamlog.client.config import ProducerConfig
    from streamlog.client.producer.batch import Batch
    from streamlog.client.producer.fate import Fate
    from streamlog.client.values import TopicPartition
    from streamlog.errors import StreamlogError
    from streamlog.records.columns import Headers

REQUEST_BYTES_MAX = 8 * 1024 * 1024
"""Of one produce request, before compression; Kafka takes up to 100 MiB."""

EPOCH_TROUBLE = frozenset({ErrorCode.UNKNOWN_PRODUCER_ID, ErrorCode.INVALID_PRODUCER_EPOCH})
TOO_LARGE = frozenset({ErrorCode.MESSAGE_TOO_LARGE, ErrorCode.RECORD_LIST_TOO_LARGE})


@dataclass(slots=True)
class Drained:
    """What to send now."""

    requests: dict[int, list[Batch]] = field(default_factory=dict)
    """Batches for each broker, at most one of each partition."""
    leaderless: set[str] = field(default_factory=set)
    """Topics with something to send to nobody: ask for metadata."""
    needs_identity: bool = False
    """Something waits for a producer id."""


class Accumulator:
    """See the module.

    Args:
        config: The producer's.
        new_backoff: Makes the back-off of a partition.
    """

    def __init__(self, config: ProducerConfig, new_backoff: Callable[[], Backoff]) -> None:
        self._config = config
        self._new_backoff = new_backoff
        self._backoffs: dict[TopicPartition, Backoff] = {}
        self._queues: dict[TopicPartition, PartitionQueue] = {}
        self._turn = 0
        self.identity: ProducerIdentity | None = None
        self.used_bytes = 0
        self.hurry_count = 0
        """How many wait for everything to be sent at once (flush, full buffer)."""
        self.first_failure: StreamlogError | None = None
        """Since `take_failure` was called last."""

    # Records come in.

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be put in; anything goes into an empty buffer."""
        return self.used_bytes == 0 or self.used_bytes + size <= self._config.buffer_bytes

    def check_size(self, partition: TopicPartition, size: int) -> None:
        """Raises `RecordTooLargeError` if a record of this size can never be sent."""
        if size > self._config.request_bytes_max - HEADER_SIZE:
            limit = self._config.request_bytes_max
            raise RecordTooLargeError(
                f"a record of {size:,} bytes for {partition} is above the limit of {limit:,}",
                hint="Raise request_bytes_max, and the topic's max.message.bytes with it",
            )

    def append(
        self,
        partition: TopicPartition,
        key: bytes | None,
        value: bytes | None,
        timestamp_ms: int,
        headers: Headers,
        size: int,
        now_ms: float,
    ) -> tuple[Fate, int, bool]:
        """Puts in a record of that `record_size`.

        Returns:
            Its batch's fate, its index there, and whether there is news for the sender task: a
            batch has begun to linger, or is full.
        """
        queue = self._queue(partition)
        limit = min(self._config.batch_bytes, self._config.request_bytes_max)
        batch, is_new = queue.open_batch(size, limit, now_ms)
        index = batch.add(key, value, timestamp_ms, headers, size)
        self.used_bytes += size + (HEADER_SIZE if is_new else 0)
        return batch.fate, index, is_new

    def append_columns(
        self,
        partition: TopicPartition,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None,
        now_ms: float,
        *,
        atomic: bool,
        size: int | None = None,
    ) -> list[Fate]:
        """Puts in columns, as batches of their own; returns the batches' fates in order.

        `size` is their `columns_size`, if the caller knows it.
        """
        if size is None:
            size = columns_size(keys, values, headers)
        queue = self._queue(partition)
        fates = []
        cuts = [(0, len(values), size)]
        if not atomic and size > self._config.request_bytes_max - HEADER_SIZE:
            cuts = list(self._cut(column_sizes(keys, values, headers)))
        for start, stop, part in cuts:
            batch = queue.new_batch(now_ms, atomic=atomic)
            batch.fill(
                keys[start:stop],
                values[start:stop],
                timestamps[start:stop],
                None if headers is None else headers[start:stop],
                part,
            )
            self.used_bytes += batch.size_bytes
            fates.append(batch.fate)
        return fates

    def _cut(self, sizes: list[int]) -> Iterable[tuple[int, int, int]]:
        """Yields (start, stop, size) of batches that are within the limit, as few as can be."""
        limit = self._config.request_bytes_max - HEADER_SIZE
        start, base = 0, 0
        ends = list(accumulate(sizes))
        for stop, end in enumerate(ends):
            if end - base > limit and stop > start:
                yield start, stop, ends[stop - 1] - base
                start, base = stop, ends[stop - 1]
        yield start, len(sizes), ends[-1] - base

    def _queue(self, partition: TopicPartition) -> PartitionQueue:
        queue = self._queues.get(partition)
        if queue is None:
            queue = PartitionQueue(partition, idempotent=self._config.idempotent)
            self._queues[partition] = queue
        return queue

    # Batches go out.

    def drain(
        self,
        leader_of: Callable[[TopicPartition], int | None],
        free_slots: Mapping[int, int],
        now_ms: float,
    ) -> Drained:
        """Takes out what is to be sent now, and counts it as in flight.

        Args:
            leader_of: The node to send a partition's batches to; None if there is none now.
            free_slots: For nodes that have requests in flight: how many more they may have.
            now_ms: Monotonic time.
        """
        drained = Drained()
        room = dict.fromkeys((node for node, slots in free_slots.items() if slots <= 0), 0)
        for queue in self._in_turn():
            batch = queue.sendable(self.identity, now_ms)
            if batch is None:
                drained.needs_identity |= queue.needs(self.identity)
                continue
            if not self._is_ready(queue, batch, now_ms):
                continue
            node = leader_of(queue.partition)
            if node is None:
                drained.leaderless.add(queue.partition.topic)
            elif room.setdefault(node, REQUEST_BYTES_MAX) > 0:
                room[node] -= batch.size_bytes
                queue.send(batch)
                drained.requests.setdefault(node, []).append(batch)
        return drained

    def _in_turn(self) -> list[PartitionQueue]:
        """Returns the queues with something to send, another one first each time."""
        queues = [queue for queue in self._queues.values() if queue.waiting]
        if len(queues) > 1:
            self._turn = (self._turn + 1) % len(queues)
            queues = queues[self._turn :] + queues[: self._turn]
        return queues

    def _is_ready(self, queue: PartitionQueue, batch: Batch, now_ms: float) -> bool:
        return (
            batch.closed
            or self.hurry_count > 0
            or len(queue.waiting) > 1
            or batch.size_bytes >= self._config.batch_bytes
            or now_ms >= batch.created_ms + self._config.linger_ms
        )

    def next_deadline(self, now_ms: float) -> float | None:
        """Returns when next a batch will have lingered, may be sent again, or expires.

        What could be sent now but for a leader, a slot or an answer waits for that, not for time.
        """
        later = []
        for queue in self._queues.values():
            if queue.waiting:
                batch = queue.waiting[0]
                lingers_until = batch.created_ms + self._config.linger_ms
                later += [
                    each
                    for each in (
                        queue.retry_at_ms,
                        now_ms if batch.closed else lingers_until,
                        batch.created_ms + self._config.delivery_timeout_ms,
                    )
                    if each > now_ms
                ]
        return min(later, default=None)

    # What became of them.

    def on_success(self, batch: Batch, base_offset: int, append_time_ms: int) -> None:
        """The broker has acknowledged a batch (also one that it had already)."""
        self._queues[batch.partition].succeeded(batch)
        self._backoff(batch.partition).reset()
        self._settle(batch, None, base_offset, append_time_ms)

    def on_error(self, batch: Batch, code: ErrorCode, message: str | None, now_ms: float) -> None:
        """The broker has refused a batch."""
        queue = self._queues[batch.partition]
        if code is ErrorCode.DUPLICATE_SEQUENCE_NUMBER:
            self.on_success(batch, -1, -1)
        elif code in TOO_LARGE:
            self.on_too_large(batch, code)
        elif self._config.idempotent and code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER:
            if queue.is_oldest(batch):
                queue.begin_epoch()
            self._retry(batch, now_ms)
        elif self._config.idempotent and code in EPOCH_TROUBLE:
            queue.begin_epoch()
            self._retry(batch, now_ms)
        elif code.retriable:
            self._retry(batch, now_ms)
        else:
            self._give_up(batch, refusal(batch, code, message))

    def on_lost(self, batches: Iterable[Batch], now_ms: float) -> None:
        """No answer came; the batches may be in the log or not."""
        for batch in batches:
            self._retry(batch, now_ms)

    def on_too_large(self, batch: Batch, code: ErrorCode = ErrorCode.MESSAGE_TOO_LARGE) -> None:
        """A batch in flight is larger than the broker, or we ourselves, take: halve it."""
        if batch.atomic:
            self._give_up(batch, too_large_as_one(batch.partition, batch.count, batch.size_bytes))
        elif batch.count > 1:
            self._queues[batch.partition].split(batch)
        else:
            self._give_up(batch, refusal(batch, code, None))

    def _retry(self, batch: Batch, now_ms: float) -> None:
        queue = self._queues[batch.partition]
        if queue.is_oldest(batch):
            # The ones behind it failed because it did.
            queue.retry_at_ms = now_ms + self._backoff(batch.partition).next_ms()
        queue.back(batch)

    def expire(self, now_ms: float) -> None:
        """Gives up the waiting batches that are too old."""
        for queue in list(self._queues.values()):
            while queue.waiting:
                batch = queue.waiting[0]
                if now_ms < batch.created_ms + self._config.delivery_timeout_ms:
                    break
                self._give_up(batch, expiry(batch, self._config.delivery_timeout_ms))

    def fail_all(self, error: StreamlogError) -> None:
        """Gives up everything that waits (what is in flight has to come back first)."""
        for queue in self._queues.values():
            for batch in list(queue.waiting):
                self._give_up(batch, error)

    def on_failed(self, batches: Iterable[Batch], error: StreamlogError) -> None:
        """Batches in flight could not be sent, for a reason that will not go away."""
        for batch in batches:
            self._give_up(batch, error)

    def _give_up(self, batch: Batch, error: StreamlogError) -> None:
        self._queues[batch.partition].give_up(batch)
        self._settle(batch, error, -1, -1)

    def _settle(
        self, batch: Batch, error: StreamlogError | None, base_offset: int, append_time_ms: int
    ) -> None:
        self.used_bytes -= batch.size_bytes
        if error is None:
            batch.fate.succeed(base_offset, append_time_ms)
        else:
            self.first_failure = self.first_failure or error
            batch.fate.fail(error)

    def _backoff(self, partition: TopicPartition) -> Backoff:
        if partition not in self._backoffs:
            self._backoffs[partition] = self._new_backoff()
        return self._backoffs[partition]

    def unfinished(self) -> list[Fate]:
        """Returns the fates of everything that is not acknowledged."""
        return [
            batch.fate
            for queue in self._queues.values()
            for batch in (*queue.in_flight, *queue.waiting)
        ]

    def take_failure(self) -> StreamlogError | None:
        """Returns the first failure since the last call."""
        failure, self.first_failure = self.first_failure, None
        return failure


def too_large_as_one(partition: TopicPartition, count: int, size: int) -> BatchTooLargeError:
    """Says that records which must be one batch cannot be."""
    return BatchTooLargeError(
        f"{count:,} records of {size:,} bytes for {partition} do not fit into one batch",
        hint="Send fewer at a time, or raise request_bytes_max and the topic's max.message.bytes",
    )


def refusal(batch: Batch, code: ErrorCode, message: str | None) -> StreamlogError:
    """Says that the broker has refused a batch for good."""
    if code in TOO_LARGE:
        return RecordTooLargeError(
            f"the broker refused a record of {batch.size_bytes:,} bytes for {batch.partition}: "
            "it is too large",
            hint="Raise the topic's max.message.bytes, or send smaller records",
        )
    detail = f": {message}" if message else ""
    return DeliveryError(
        f"{batch.count:,} records for {batch.partition} were refused with {code.name}{detail}",
        code,
    )


def expiry(batch: Batch, timeout_ms: int) -> DeliveryTimeoutError:
    """Says that a batch was not acknowledged in time."""
    doubt = "; they may be in the log or not" if batch.attempts else ""
    return DeliveryTimeoutError(
        f"{batch.count:,} records for {batch.partition} were not acknowledged within "
        f"{timeout_ms:,} ms{doubt}",
        hint="Is the partition's leader up? `streamlog topic describe` shows it",
    )
