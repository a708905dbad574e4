"""The accumulator against a model of a broker that loses, refuses and repeats.

Each record is written once, in order, or its sender is told. The model follows Kafka's rules for
idempotent producers: it takes the next sequence number only, knows the last five batches again, and
begins a new epoch at 0.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.backoff import Backoff
from streamlog.client.config import ProducerConfig
from streamlog.client.errors import (
    DeliveryError,
    DeliveryTimeoutError,
    ErrorCode,
    RecordTooLargeError,
)
from streamlog.client.producer.accumulator import Accumulator
from streamlog.client.producer.batch import Batch, sequence_after
from streamlog.client.producer.partition_queue import EPOCH_MAX, ProducerIdentity
from streamlog.client.values import TopicPartition
from streamlog.records.batch import HEADER_SIZE, Codec
from streamlog.records.codec import decode_batches, encode_batch
from streamlog.records.columns import Columns
from streamlog.records.errors import BatchTooLargeError
from streamlog.records.sizes import column_sizes, columns_size, record_size

if TYPE_CHECKING:
    from streamlog.client.producer.fate import Fate

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)
POISON = b"poison"


@dataclass
class PartitionModel:
    """One partition of the broker."""

    log: list[bytes] = field(default_factory=list)
    epoch: int = -1
    recent: deque[tuple[int, int, int]] = field(default_factory=lambda: deque(maxlen=5))
    """(first sequence, last sequence, base offset)."""

    def append(self, sent: Sent, count_max: int) -> tuple[ErrorCode, int]:
        if len(sent.values) > count_max:
            return ErrorCode.MESSAGE_TOO_LARGE, -1
        if POISON in sent.values:
            return ErrorCode.INVALID_RECORD, -1
        first = sent.sequence
        last = sequence_after(first, len(sent.values) - 1)
        if sent.epoch < self.epoch:
            return ErrorCode.INVALID_PRODUCER_EPOCH, -1
        if sent.epoch > self.epoch:
            # Nothing known of the producer: any number will do.
            if self.epoch >= 0 and first != 0:
                return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
            self.recent.clear()
        for known_first, known_last, offset in self.recent:
            if (known_first, known_last) == (first, last):
                return ErrorCode.NONE, offset
        if self.recent and first != sequence_after(self.recent[-1][1], 1):
            return ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER, -1
        self.epoch = sent.epoch
        offset = len(self.log)
        self.log += sent.values
        self.recent.append((first, last, offset))
        return ErrorCode.NONE, offset


@dataclass(frozen=True)
class Sent:
    """What a batch was when it was sent; afterwards the accumulator may change it."""

    batch: Batch
    values: list[bytes]
    sequence: int
    epoch: int


class World:
    """An accumulator, a broker, and the requests between them, in order."""

    def __init__(self, seed: int, *, count_max: int = 1_000, linger_ms: int = 5) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        config = ProducerConfig(
            linger_ms=linger_ms, batch_bytes=200, buffer_bytes=100_000, delivery_timeout_ms=10_000
        )
        self.accumulator = Accumulator(config, lambda: Backoff(10, 100, self.rng))
        self.accumulator.identity = ProducerIdentity(7, 0)
        self.partitions = {T0: PartitionModel(), T1: PartitionModel()}
        self.requests: deque[list[Sent]] = deque()
        self.replies: deque[list[tuple[Batch, ErrorCode, int]]] = deque()
        self.sent: dict[TopicPartition, list[tuple[bytes, Fate, int]]] = {T0: [], T1: []}
        self.count_max = count_max
        self.serial = 0

    def send(self, partition: TopicPartition, value: bytes | None = None) -> None:
        self.serial += 1
        value = value or b"%d" % self.serial
        size = record_size(None, value, ())
        fate, index, _ = self.accumulator.append(partition, None, value, 0, (), size, self.now)
        self.sent[partition].append((value, fate, index))

    def send_columns(self, partition: TopicPartition, count: int) -> None:
        values = [b"%d" % (self.serial + 1 + i) for i in range(count)]
        self.serial += count
        fates = self.accumulator.append_columns(
            partition, [None] * count, values, [0] * count, None, self.now, atomic=False
        )
        (fate,) = fates
        self.sent[partition] += [(value, fate, i) for i, value in enumerate(values)]

    def drain(self) -> None:
        under_way = len(self.requests) + len(self.replies)
        self.accumulator.expire(self.now)
        drained = self.accumulator.drain(lambda _: 1, {1: 5 - under_way}, self.now)
        for batches in drained.requests.values():
            self.requests.append([snapshot(batch) for batch in batches])

    def serve(self) -> None:
        """The broker acts on the oldest request; now and then it fails in its own ways."""
        answer = []
        for sent in self.requests.popleft():
            chance = self.rng.random()
            if chance < 0.05:
                answer.append((sent.batch, ErrorCode.NOT_LEADER_OR_FOLLOWER, -1))
                continue
            code, offset = self.partitions[sent.batch.partition].append(sent, self.count_max)
            if chance < 0.1 and code is ErrorCode.NONE:
                code = ErrorCode.REQUEST_TIMED_OUT
            answer.append((sent.batch, code, offset))
        self.replies.append(answer)

    def answer(self) -> None:
        for batch, code, offset in self.replies.popleft():
            if code is ErrorCode.NONE:
                self.accumulator.on_success(batch, offset, -1)
            else:
                self.accumulator.on_error(batch, code, None, self.now)

    def lose_connection(self) -> None:
        """Requests on the way may still arrive; no answer does."""
        lost = [[each[0] for each in answer] for answer in self.replies]
        lost += [[sent.batch for sent in request] for request in self.requests]
        arriving = self.rng.randrange(len(self.requests) + 1)
        for _ in range(arriving):
            self.serve()
        self.requests.clear()
        self.replies.clear()
        for batches in lost:
            self.accumulator.on_lost(batches, self.now)

    def step(self) -> None:
        match self.rng.choice(("send",) * 6 + ("drain", "serve", "answer") * 4 + ("rare", "time")):
            case "send":
                self.send(self.rng.choice((T0, T1)))
            case "drain":
                self.drain()
            case "serve" if self.requests:
                self.serve()
            case "answer" if self.replies:
                self.answer()
            case "time":
                self.now += self.rng.choice((1, 5, 20))
            case "rare":
                self.rare_step()

    def rare_step(self) -> None:
        match self.rng.choice(("lose", "poison", "columns", "flush", "pause")):
            case "lose":
                self.lose_connection()
            case "poison":
                self.send(self.rng.choice((T0, T1)), POISON)
            case "columns":
                self.send_columns(self.rng.choice((T0, T1)), self.rng.randrange(1, 40))
            case "flush":
                self.accumulator.hurry_count ^= 1
            case "pause":
                self.now += self.rng.choice((0, 0, 0, 11_000))

    def finish(self) -> None:
        self.accumulator.hurry_count = 1
        for _ in range(2_000):
            if not self.accumulator.unfinished():
                return
            self.now += 20
            self.drain()
            while self.requests:
                self.serve()
            while self.replies:
                self.answer()
        raise AssertionError("does not end")

    def check(self) -> None:
        for partition, model in self.partitions.items():
            acked = []
            for value, first_fate, first_index in self.sent[partition]:
                fate, index = first_fate.locate(first_index)
                assert fate.is_done
                if fate.error is None:
                    acked.append(value)
                    assert model.log[fate.base_offset + index] == value
                elif isinstance(fate.error, DeliveryError):
                    assert value == POISON or value not in model.log
            assert len(model.log) == len(set(model.log)), "written twice"
            assert [value for value in model.log if value in set(acked)] == acked
        assert self.accumulator.used_bytes == 0


def snapshot(batch: Batch) -> Sent:
    values = [value for value in batch.values if value is not None]
    return Sent(batch, values, batch.base_sequence, batch.producer_epoch)


@pytest.mark.parametrize("seed", range(100))
def test_whatever_happens_each_record_is_written_once_and_in_order(seed: int) -> None:
    world = World(seed, count_max=1_000 if seed % 2 else 3)
    for _ in range(500):
        world.step()
    world.finish()
    world.check()


def drained(world: World) -> list[Batch]:
    world.drain()
    return [sent.batch for request in world.requests for sent in request]


def test_a_batch_waits_for_the_linger_and_not_longer() -> None:
    world = World(0, linger_ms=5)
    world.send(T0)
    assert drained(world) == []
    assert world.accumulator.next_deadline(world.now) == 5
    world.now = 5
    assert len(drained(world)) == 1


def test_a_full_batch_does_not_wait() -> None:
    world = World(0, linger_ms=1_000)
    for _ in range(20):
        world.send(T0)
    assert len(drained(world)) == 1


def test_at_most_five_requests_are_under_way() -> None:
    world = World(0)
    for _ in range(100):
        world.send(T0)
    for _ in range(10):
        world.drain()
    assert len(world.requests) == 1, "the first batch of an epoch goes alone"
    world.serve()
    world.answer()
    for _ in range(10):
        world.drain()
    assert len(world.requests) == 5


def test_a_gap_left_by_a_refused_batch_is_closed_without_a_new_epoch() -> None:
    world = World(0)
    world.rng = random.Random(3)
    world.send(T0, POISON)
    world.now += 5
    world.drain()
    for _ in range(3):
        world.send(T0)
        world.now += 5
        world.drain()
    # The model takes any number of an unknown producer, as Kafka does; this one is known.
    world.partitions[T0].epoch = 0
    world.partitions[T0].recent.append((2**31 - 1, 2**31 - 1, -1))
    world.finish()
    assert world.partitions[T0].log == [b"2", b"3", b"4"]
    assert world.partitions[T0].epoch == 0


def send_and_lose(world: World) -> None:
    """One batch is acknowledged; the next one never arrives and expires; one more waits."""
    world.send(T0)
    world.finish()
    world.accumulator.hurry_count = 0
    world.send(T0)
    world.now += 5
    world.drain()
    (lost,) = world.requests.popleft()
    world.accumulator.on_lost([lost.batch], world.now)
    world.now += 20_000
    world.drain()
    fate = world.sent[T0][1][1]
    assert isinstance(fate.error, DeliveryTimeoutError)
    assert "may be in the log or not" in str(fate.error)
    world.send(T0)


def test_after_a_batch_that_is_not_in_the_log_a_new_epoch_begins() -> None:
    world = World(0)
    send_and_lose(world)
    world.finish()
    assert world.partitions[T0].log == [b"1", b"3"]
    assert world.partitions[T0].epoch == 1


def test_sequence_numbers_wrap_to_zero() -> None:
    world = World(0)
    world.send(T0)
    world.finish()
    queue = world.accumulator._queues[T0]
    queue._next_sequence = 2**31 - 2
    world.partitions[T0].recent.append((0, 2**31 - 3, 0))
    for _ in range(3):
        world.send_columns(T0, 4)
        world.finish()
    world.check()
    assert queue._next_sequence == 10


def test_when_the_epochs_are_used_up_another_producer_id_is_asked_for() -> None:
    world = World(0)
    world.accumulator.identity = ProducerIdentity(7, EPOCH_MAX)
    send_and_lose(world)
    world.now += 5
    world.drain()
    world.requests.clear()
    (refused,) = world.accumulator._queues[T0].in_flight
    code = ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    world.accumulator.on_error(refused, code, None, world.now)
    world.now += 200
    assert world.accumulator.drain(lambda _: 1, {}, world.now).needs_identity
    world.accumulator.identity = ProducerIdentity(8, 0)
    (batch,) = drained(world)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (8, 0, 0)


rows = st.lists(
    st.tuples(
        st.none() | st.binary(max_size=5),
        st.none() | st.binary(max_size=5),
        st.lists(st.tuples(st.text(max_size=3), st.none() | st.binary(max_size=3)), max_size=2),
    ),
    min_size=1,
)


@given(rows)
def test_the_size_of_columns_is_the_sum_of_the_rows_and_no_underestimate(
    rows: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]],
) -> None:
    keys, values = [row[0] for row in rows], [row[1] for row in rows]
    headers = [tuple(row[2]) for row in rows]
    size = columns_size(keys, values, headers)
    assert size == sum(column_sizes(keys, values, headers))
    assert columns_size(keys, values, None) == sum(column_sizes(keys, values, None))
    encoded = encode_batch(keys, values, [2**40 * (n % 2) for n in range(len(rows))], headers)
    assert len(encoded) <= size + HEADER_SIZE


def test_columns_are_cut_at_the_limit_and_an_atomic_one_is_not() -> None:
    config = ProducerConfig(request_bytes_max=1_000, linger_ms=0)
    accumulator = Accumulator(config, lambda: Backoff(1, 1, random.Random(0)))
    rows = 100
    columns: tuple[list[bytes | None], list[bytes | None], list[int]] = (
        [None] * rows,
        [b"x" * 26] * rows,
        [0] * rows,
    )
    fates = accumulator.append_columns(T0, *columns, None, 0, atomic=False)
    assert [fate.count for fate in fates] == [18, 18, 18, 18, 18, 10]
    (fate,) = accumulator.append_columns(T0, *columns, None, 0, atomic=True)
    assert fate.count == rows


def test_an_atomic_batch_that_is_too_large_fails_whole() -> None:
    world = World(0, count_max=3)
    (fate,) = world.accumulator.append_columns(
        T0, [None] * 4, [b"1", b"2", b"3", b"4"], [0] * 4, None, 0, atomic=True
    )
    world.finish()
    assert isinstance(fate.error, BatchTooLargeError)
    assert world.partitions[T0].log == []


def test_a_record_that_the_broker_finds_too_large_fails_alone() -> None:
    world = World(0, count_max=0)
    world.send(T0)
    world.finish()
    assert isinstance(world.sent[T0][0][1].error, RecordTooLargeError)


def test_a_record_above_the_limit_is_refused_at_once() -> None:
    world = World(0)
    with pytest.raises(RecordTooLargeError, match=r"2,000,000 bytes for t\[0\]"):
        world.accumulator.check_size(T0, 2_000_000)


def test_without_idempotence_one_batch_of_a_partition_is_under_way() -> None:
    config = ProducerConfig(idempotent=False, acks=1, linger_ms=0)
    accumulator = Accumulator(config, lambda: Backoff(1, 1, random.Random(0)))
    for value in (b"1", b"2"):
        accumulator.append_columns(T0, [None], [value], [0], None, 0, atomic=False)
    (first,) = accumulator.drain(lambda _: 1, {}, 0).requests[1]
    assert not accumulator.drain(lambda _: 1, {}, 0).requests
    accumulator.on_success(first, 0, -1)
    assert accumulator.drain(lambda _: 1, {}, 0).requests


def test_the_buffer_is_bounded_but_takes_anything_when_empty() -> None:
    config = ProducerConfig(buffer_bytes=1_000)
    accumulator = Accumulator(config, lambda: Backoff(1, 1, random.Random(0)))
    assert accumulator.has_room(5_000)
    accumulator.append(T0, None, b"x" * 900, 0, (), 924, 0)
    assert not accumulator.has_room(100)


def test_a_batch_encodes_what_was_put_in() -> None:
    batch = Batch(T0, (1, 0), 0)
    batch.add(b"k", b"v", 5, (), 26)
    batch.add(None, None, 6, (("h", b"1"),), 30)
    columns, _ = decode_batches(batch.encode(Codec.LZ4))
    assert columns == Columns([0, 1], [5, 6], [b"k", None], [b"v", None], [(), (("h", b"1"),)])
