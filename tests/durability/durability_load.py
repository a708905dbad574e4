"""Idempotent producers of another make that go on sending through crashes, and the books of it.

`Ledger` keeps what was acknowledged and what was read, and knows the rules: nothing acknowledged
goes missing, an offset never changes its value, no value comes twice, and what one producer sent
to one partition stays in order.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from typing import TYPE_CHECKING

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from durability_server import wait_until
from durability_wire import Wire

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import Message

DELIVERY_TIMEOUT_MS = 120_000


def padding(number: int) -> str:
    """Text that no codec makes much smaller, so that segments fill up."""
    return hashlib.sha256(number.to_bytes(8, "big")).hexdigest() * 2


class Ledger:
    """What is known of one topic; filled by many threads."""

    def __init__(self, topic: str, partition_count: int) -> None:
        self.topic = topic
        self.partition_count = partition_count
        self._acknowledged: dict[tuple[int, str], int] = {}
        self.values_read: list[dict[int, str]] = [{} for _ in range(partition_count)]
        self._failures: list[str] = []
        self._changed = threading.Condition()

    def note(self, error: KafkaError | None, message: Message) -> None:
        """A delivery report."""
        partition, offset, value = message.partition(), message.offset(), message.value()
        with self._changed:
            if error is not None:
                self._failures.append(f"{value!r}: {error}")
            else:
                assert partition is not None
                assert offset is not None
                assert isinstance(value, bytes)
                self._acknowledged[partition, value.decode()] = offset
            self._changed.notify_all()

    @property
    def acknowledged_count(self) -> int:
        with self._changed:
            return len(self._acknowledged)

    def wait_acknowledged(self, count: int, timeout_s: float = 60) -> None:
        """Waits until so many records have been acknowledged in all."""
        with self._changed:
            reached = self._changed.wait_for(
                lambda: len(self._acknowledged) >= count or self._failures, timeout_s
            )
            assert not self._failures, self._failures[:5]
            assert reached, f"{len(self._acknowledged)} of {count} acknowledged"

    def check(self, port: int) -> None:
        """Reads everything and holds it against the books."""
        with self._changed:
            assert not self._failures, self._failures[:5]
            acknowledged = dict(self._acknowledged)
        with Wire(port) as wire:
            for partition in range(self.partition_count):
                values = wire.read(self.topic, partition)
                before = self.values_read[partition]
                for offset, value in before.items():
                    assert values.get(offset) == value, f"{partition}@{offset} is no more {value}"
                self.values_read[partition] = values
                self._check_order(partition, values)
        places = [{value: offset for offset, value in read.items()} for read in self.values_read]
        for (partition, value), offset in acknowledged.items():
            place = places[partition].get(value)
            assert place is not None, f"{value} was acknowledged, and is not in {partition}"
            # A batch that is so old that only "known already" can be said of it has no offset.
            assert offset in (-1, place), f"{value} was promised at {offset} and is at {place}"

    def _check_order(self, partition: int, values: dict[int, str]) -> None:
        assert list(values) == list(range(len(values))), f"partition {partition} has gaps"
        numbers: defaultdict[str, list[int]] = defaultdict(list)
        for value in values.values():
            producer, number, _ = value.split(" ")
            numbers[producer].append(int(number))
        for producer, found in numbers.items():
            # Not one twice, not one left out, none out of order.
            assert found == list(range(len(found))), f"{producer} in partition {partition}"


class LoadingProducer:
    """Sends numbered records to all partitions in turn until it is told to stop."""

    def __init__(self, address: str, ledger: Ledger, name: str, codec: str) -> None:
        self._ledger = ledger
        self._name = name
        self._producer = Producer(
            {
                "bootstrap.servers": address,
                "enable.idempotence": True,
                "acks": "all",
                "compression.type": codec,
                "linger.ms": 2,
                # What gathers while the server is down must still fit the tests' small segments.
                "batch.size": 1 << 16,
                "message.timeout.ms": DELIVERY_TIMEOUT_MS,
                "socket.connection.setup.timeout.ms": 1000,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "retry.backoff.ms": 20,
                "queue.buffering.max.messages": 2000,
                "log_level": 0,
            }
        )
        self._is_stopping = threading.Event()
        self._error: BaseException | None = None
        self.sent_count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._is_stopping.is_set():
                number, partition = divmod(self.sent_count, self._ledger.partition_count)
                try:
                    self._producer.produce(
                        self._ledger.topic,
                        f"{self._name} {number} {padding(number)}".encode(),
                        partition=partition,
                        on_delivery=self._ledger.note,
                    )
                except BufferError:
                    self._producer.poll(0.05)
                    continue
                self.sent_count += 1
                # A few at a time, so that a crash meets batches and not one queue.
                self._producer.poll(0.005 if self.sent_count % 100 == 0 else 0)
        except BaseException as error:  # noqa: BLE001 - raised again in `finish`
            self._error = error

    def stop(self) -> None:
        self._is_stopping.set()

    def finish(self) -> None:
        """Waits until everything sent was acknowledged."""
        self.stop()
        self._thread.join(60)
        if self._error is not None:
            raise self._error
        assert self._producer.flush(90) == 0, f"{self._name} has unacknowledged records"


class LiveReader:
    """A consumer that lives through all crashes: what it has seen once must stay true."""

    def __init__(self, address: str, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: list[list[str]] = [[] for _ in range(ledger.partition_count)]
        self._consumer = Consumer(
            {
                "bootstrap.servers": address,
                "group.id": "nobody commits",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 100,
                "fetch.wait.max.ms": 50,
                "check.crcs": True,
                "log_level": 0,
            }
        )
        partitions = range(ledger.partition_count)
        self._consumer.assign([TopicPartition(ledger.topic, number, 0) for number in partitions])
        self._has_ended = threading.Event()
        self._failures: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._has_ended.is_set():
            for message in self._consumer.consume(1000, 0.1):
                error = message.error()
                if error is not None:
                    # A broker that is down is no failure; an offset that went away is.
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        self._failures.append(str(error))
                    continue
                partition, offset, value = message.partition(), message.offset(), message.value()
                assert partition is not None
                assert isinstance(value, bytes)
                seen = self._seen[partition]
                if offset != len(seen):
                    self._failures.append(f"{partition}@{offset} after {len(seen)} records")
                seen.append(value.decode())

    @property
    def seen_count(self) -> int:
        return sum(map(len, self._seen))

    def finish(self, count: int) -> None:
        """Waits until so many records were seen, and holds them against what can be read."""
        try:
            wait_until(lambda: self.seen_count >= count or self._failures, "all records are seen")
        finally:
            self._has_ended.set()
            self._thread.join(30)
            self._consumer.close()
        assert not self._failures, self._failures[:5]
        assert self._seen == [list(values.values()) for values in self._ledger.values_read]


def stop_all(producers: Sequence[LoadingProducer]) -> None:
    for producer in producers:
        producer.stop()
