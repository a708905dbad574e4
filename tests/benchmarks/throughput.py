"""Produce and consume 200-byte messages through confluent-kafka: streamlog against Apache Kafka.

The client's settings are its own defaults but for a linger of 5 ms and the rest of a consumer whose
queue is full, the same for both; acks=all.
Apache Kafka acknowledges from the page cache; streamlog flushes to disk before it acknowledges,
and is measured a second time with `write.caching=true`, which is Apache Kafka's promise.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from pathlib import Path

import apache_kafka
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from report import Row, compare
from servers import streamlog_server

MESSAGE_BYTES = 200
MESSAGES = 1_000_000
PARTITIONS = 4
MIB = 1 << 20


def create_topic(address: str, config: dict[str, str]) -> str:
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(name, PARTITIONS, 1, config=config)]).values():
        future.result(30)
    return name


def produce(address: str, topic: str, count: int) -> float:
    """Produces `count` messages; returns messages per second until the last is acknowledged."""
    failures: list[object] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failures.append(error)

    producer = Producer(
        {
            "bootstrap.servers": address,
            "linger.ms": 5,
            "queue.buffering.max.messages": 500_000,
            "queue.buffering.max.kbytes": 512 * 1024,
        }
    )
    payload = bytes(range(MESSAGE_BYTES))
    begin = time.perf_counter()
    for number in range(count):
        while True:
            try:
                producer.produce(topic, payload, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.01)
        if number % 5_000 == 0:
            producer.poll(0)
    producer.flush()
    seconds = time.perf_counter() - begin
    if failures:
        raise RuntimeError(f"{len(failures)} messages were not delivered: {failures[0]}")
    return count / seconds


def consume(address: str, topic: str, count: int) -> float:
    """Consumes `count` messages from the beginning; returns messages per second."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            # By default librdkafka rests a second when a broker is quicker than its reader.
            "fetch.queue.backoff.ms": 1,
        }
    )
    consumer.subscribe([topic])
    seen, begin = 0, 0.0
    deadline = time.monotonic() + 120
    while seen < count:
        # A call waits for its full number until its time is over: a long one would be measured.
        messages = consumer.consume(10_000, 0.02)
        if messages and not begin:
            # The group's first rebalance has a delay that is a setting, not a speed.
            begin = time.perf_counter()
            counted_from = len(messages)
        seen += sum(1 for m in messages if m.error() is None)
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {seen} of {count} messages within the deadline")
    seconds = time.perf_counter() - begin
    consumer.close()
    return (count - counted_from) / seconds


def run(messages: int | None, rounds: int) -> list[Row]:
    """Measures both brokers in turn, after a warm-up that lets the JVM compile."""
    messages = messages or MESSAGES
    variants: dict[str, dict[str, str]] = {
        "flushed": {},
        "write.caching": {"write.caching": "true"},
    }
    produced: dict[str, list[float]] = {name: [] for name in (*variants, "kafka")}
    consumed: dict[str, list[float]] = {name: [] for name in (*variants, "kafka")}
    with tempfile.TemporaryDirectory() as folder:
        ours_data, kafka_data = Path(folder, "ours"), Path(folder, "kafka")
        kafka_data.mkdir()
        with (
            streamlog_server(ours_data) as (ours, _process, _seconds),
            apache_kafka.running(kafka_data) as kafka,
        ):
            for address in (ours, kafka):
                topic = create_topic(address, {})
                for _ in range(2):
                    produce(address, topic, messages // 4)
                consume(address, topic, messages // 2)
            for _ in range(rounds):
                for name, config in variants.items():
                    topic = create_topic(ours, config)
                    produced[name].append(produce(ours, topic, messages))
                    consumed[name].append(consume(ours, topic, messages))
                topic = create_topic(kafka, {})
                produced["kafka"].append(produce(kafka, topic, messages))
                consumed["kafka"].append(consume(kafka, topic, messages))
    peer = f"Apache Kafka {apache_kafka.VERSION}"
    rows = []
    for name in variants:
        rows.append(
            compare(f"produce 200 B, {name}", "messages/s", produced[name], peer, produced["kafka"])
        )
        rows.append(
            compare(f"consume 200 B, {name}", "messages/s", consumed[name], peer, consumed["kafka"])
        )
    return rows
