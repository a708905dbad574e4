"""Foreign clients behind two verbs: produce these records, consume so many."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka import KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaTopicPartition
from kafka import codec as kafka_codecs

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
TIMEOUT_S = 30


@dataclass(frozen=True, order=True)
class Record:
    """What every client can say of a record."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int
    headers: tuple[tuple[str, bytes], ...] = ()


def create_topic(broker: str, topic: str, partitions: int = 1) -> None:
    """Creates a topic."""
    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(TIMEOUT_S)


def supports(client: str, codec: str) -> bool:
    """Tells whether a client, as installed here, can do a codec: kafka-python needs libraries."""
    if client != "kafka-python" or codec == "none":
        return True
    return bool(getattr(kafka_codecs, f"has_{codec}")())


def _none(codec: str) -> str | None:
    return None if codec == "none" else codec


def produce_confluent(broker: str, topic: str, codec: str, records: list[Record]) -> None:
    """By librdkafka."""
    failures: list[object] = []
    producer = Producer(
        {"bootstrap.servers": broker, "compression.type": codec, "enable.idempotence": True}
    )
    for record in records:
        producer.produce(
            topic,
            key=record.key,
            value=record.value,
            partition=record.partition,
            timestamp=record.timestamp_ms,
            headers=list(record.headers),
            on_delivery=lambda error, _: failures.append(error) if error else None,
        )
    assert producer.flush(TIMEOUT_S) == 0
    assert not failures


def record_of(message: Message) -> Record:
    """Returns a message of librdkafka's as what all clients can say."""
    assert message.error() is None
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    headers = cast("list[tuple[str, bytes]]", message.headers() or [])
    timestamp = message.timestamp()[1]
    return Record(partition, offset, message.key(), message.value(), timestamp, tuple(headers))


def consume_confluent(broker: str, topic: str, partitions: int, count: int) -> list[Record]:
    """By librdkafka."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "none", "check.crcs": True})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(partitions)])
    found: list[Record] = []
    deadline = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < deadline:
        found += [record_of(message) for message in consumer.consume(count - len(found), 0.2)]
    consumer.close()
    return found


def produce_kafka_python(broker: str, topic: str, codec: str, records: list[Record]) -> None:
    """By kafka-python."""
    producer = KafkaProducer(bootstrap_servers=broker, compression_type=_none(codec), acks="all")
    futures = [
        producer.send(
            topic,
            key=record.key,
            value=record.value,
            partition=record.partition,
            timestamp_ms=record.timestamp_ms,
            headers=list(record.headers),
        )
        for record in records
    ]
    for future in futures:
        future.get(TIMEOUT_S)
    producer.close()


def consume_kafka_python(broker: str, topic: str, partitions: int, count: int) -> list[Record]:
    """By kafka-python, in incremental fetch sessions."""
    consumer = KafkaConsumer(
        bootstrap_servers=broker, auto_offset_reset="earliest", enable_auto_commit=False
    )
    consumer.assign([KafkaTopicPartition(topic, index) for index in range(partitions)])
    found: list[Record] = []
    deadline = time.monotonic() + TIMEOUT_S
    while len(found) < count and time.monotonic() < deadline:
        for messages in consumer.poll(timeout_ms=200).values():
            found += [
                Record(m.partition, m.offset, m.key, m.value, m.timestamp, tuple(m.headers))
                for m in messages
            ]
    consumer.close()
    return found


def produce_aiokafka(broker: str, topic: str, codec: str, records: list[Record]) -> None:
    """By aiokafka, idempotent."""

    async def run() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=broker, compression_type=_none(codec), enable_idempotence=True
        )
        await producer.start()
        try:
            futures = [
                await producer.send(
                    topic,
                    key=record.key,
                    value=record.value,
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                    headers=list(record.headers),
                )
                for record in records
            ]
            await asyncio.wait_for(asyncio.gather(*futures), TIMEOUT_S)
        finally:
            await producer.stop()

    asyncio.run(run())


def consume_aiokafka(broker: str, topic: str, partitions: int, count: int) -> list[Record]:
    """By aiokafka."""

    async def run() -> list[Record]:
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=broker, auto_offset_reset="earliest", check_crcs=True
        )
        await consumer.start()
        try:
            found: list[Record] = []
            while len(found) < count:
                m = await asyncio.wait_for(consumer.getone(), TIMEOUT_S)
                found.append(
                    Record(m.partition, m.offset, m.key, m.value, m.timestamp, tuple(m.headers))
                )
            return found
        finally:
            await consumer.stop()

    return asyncio.run(run())


def need_kcat() -> str:
    """Returns the path of kcat, or skips the test and says so."""
    path = shutil.which("kcat") or shutil.which("kafkacat")
    if path is None:
        pytest.skip("kcat is not on the PATH (Debian: apt-get install kcat)")
    return path


def produce_kcat(broker: str, topic: str, codec: str, records: list[Record]) -> None:
    """By kcat; it says nothing of timestamps and takes the same headers for all."""
    for partition in sorted({record.partition for record in records}):
        chosen = [record for record in records if record.partition == partition]
        headers = [f"-H{name}={value.decode()}" for name, value in chosen[0].headers]
        lines = b"".join(b"%s:%s\n" % (r.key or b"", r.value or b"") for r in chosen)
        command = [need_kcat(), "-P", "-b", broker, "-t", topic, "-p", str(partition), "-K:"]
        command += ["-z", codec, *headers]
        subprocess.run(command, input=lines, check=True, timeout=TIMEOUT_S)


def consume_kcat(broker: str, topic: str, partitions: int, count: int) -> list[Record]:
    """By kcat."""
    command = [need_kcat(), "-C", "-q", "-e", "-b", broker, "-t", topic, "-o", "beginning"]
    command += ["-f", "%p\x1f%o\x1f%K\x1f%k\x1f%S\x1f%s\x1f%T\x1f%h\x1e"]
    output = subprocess.run(command, check=True, timeout=TIMEOUT_S, capture_output=True).stdout
    found = []
    for line in output.split(b"\x1e")[:-1]:
        partition, offset, key_size, key, size, value, timestamp, headers = line.split(b"\x1f")
        pairs = [pair.partition(b"=") for pair in headers.split(b",") if pair]
        found.append(
            Record(
                int(partition),
                int(offset),
                None if int(key_size) < 0 else key,
                None if int(size) < 0 else value,
                int(timestamp),
                tuple((name.decode(), content) for name, _, content in pairs),
            )
        )
    return found


Produce = Callable[[str, str, str, list[Record]], None]
Consume = Callable[[str, str, int, int], list[Record]]
PRODUCERS: dict[str, Produce] = {
    "confluent-kafka": produce_confluent,
    "kafka-python": produce_kafka_python,
    "aiokafka": produce_aiokafka,
    "kcat": produce_kcat,
}
CONSUMERS: dict[str, Consume] = {
    "confluent-kafka": consume_confluent,
    "kafka-python": consume_kafka_python,
    "aiokafka": consume_aiokafka,
    "kcat": consume_kcat,
}
