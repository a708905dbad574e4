"""Foreign group members on our coordinator: sharing, moving, committing, two kinds in one."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from interop_clients import TIMEOUT_S, Record, create_topic, produce_confluent, record_of
from kafka import KafkaConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.interop

PARTITIONS = 4


class Member:
    """A consumer in a thread of its own; it notes what it owns and reads until told to stop."""

    def __init__(self, poll: Callable[[], None], owned: Callable[[], set[int]]) -> None:
        self._poll = poll
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._owned = owned
        self.owned: set[int] = set()
        self.error: Exception | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._poll()
                self.owned = self._owned()
        except Exception as error:  # noqa: BLE001 - told by the test that owns this member
            self.error = error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()
        assert self.error is None


@contextmanager
def confluent_member(
    broker: str, group: str, topic: str, seen: list[Record], strategy: str = "range,roundrobin"
) -> Iterator[Member]:
    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": strategy,
            "session.timeout.ms": 6000,
            "heartbeat.interval.ms": 200,
        }
    )
    consumer.subscribe([topic])

    def poll() -> None:
        seen.extend(record_of(message) for message in consumer.consume(100, 0.1))

    member = Member(poll, lambda: {item.partition for item in consumer.assignment()})
    try:
        yield member
    finally:
        member.stop()
        consumer.close()


@contextmanager
def kafka_python_member(
    broker: str, group: str, topic: str, seen: list[Record]
) -> Iterator[Member]:
    consumer = KafkaConsumer(
        topic,
        bootstrap_servers=broker,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        heartbeat_interval_ms=200,
    )

    def poll() -> None:
        for messages in consumer.poll(timeout_ms=100).values():
            seen.extend(Record(m.partition, m.offset, m.key, m.value, 0) for m in messages)

    member = Member(poll, lambda: {item.partition for item in consumer.assignment()})
    try:
        yield member
    finally:
        member.stop()
        consumer.close()


MEMBERS = {"confluent-kafka": confluent_member, "kafka-python": kafka_python_member}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def fill(broker: str, topic: str, first: int = 0, count: int = 200) -> set[bytes]:
    values = [b"%d" % index for index in range(first, first + count)]
    records = [
        Record(index % PARTITIONS, 0, None, value, 1_700_000_000_000)
        for index, value in enumerate(values)
    ]
    produce_confluent(broker, topic, "none", records)
    return set(values)


def values_of(*seen: list[Record]) -> list[bytes]:
    return [record.value or b"" for records in seen for record in records]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("confluent-kafka", "confluent-kafka"),
        ("kafka-python", "kafka-python"),
        ("confluent-kafka", "kafka-python"),
    ],
)
def test_two_members_share_the_partitions_and_one_takes_over_from_the_other(
    broker: str, topic: str, group: str, first: str, second: str
) -> None:
    create_topic(broker, topic, PARTITIONS)
    sent = fill(broker, topic)
    one: list[Record] = []
    two: list[Record] = []
    with MEMBERS[first](broker, group, topic, one) as a:
        wait_until(lambda: a.owned == set(range(PARTITIONS)), "the first member owns everything")
        wait_until(lambda: set(values_of(one)) == sent, "the first member reads everything")
        with MEMBERS[second](broker, group, topic, two) as b:
            wait_until(
                lambda: len(a.owned) == len(b.owned) == 2 and not a.owned & b.owned,
                "two members own two partitions each",
            )
            more = fill(broker, topic, first=1000)
            wait_until(lambda: more <= set(values_of(one, two)), "both read what is new")
        wait_until(lambda: a.owned == set(range(PARTITIONS)), "the first member has it all again")
    assert set(values_of(two)) <= more


def test_cooperative_members_keep_what_they_need_not_give(
    broker: str, topic: str, group: str
) -> None:
    create_topic(broker, topic, PARTITIONS)
    sent = fill(broker, topic)
    one: list[Record] = []
    two: list[Record] = []
    with ExitStack() as stack:
        strategy = "cooperative-sticky"
        a = stack.enter_context(confluent_member(broker, group, topic, one, strategy))
        wait_until(lambda: set(values_of(one)) == sent, "the first member reads everything")
        b = stack.enter_context(confluent_member(broker, group, topic, two, strategy))
        wait_until(
            lambda: len(a.owned) == len(b.owned) == 2 and not a.owned & b.owned,
            "two members own two partitions each",
        )
    assert len(one) == len(sent), "what stayed was not read again"


def test_committed_offsets_are_where_the_next_consumer_goes_on(
    broker: str, topic: str, group: str
) -> None:
    create_topic(broker, topic)
    records = [Record(0, 0, None, b"%d" % index, 1_700_000_000_000) for index in range(20)]
    produce_confluent(broker, topic, "none", records)
    config = {
        "bootstrap.servers": broker,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    }
    consumer = Consumer(config)
    consumer.subscribe([topic])
    seen = 0
    deadline = time.monotonic() + TIMEOUT_S
    while seen < 8 and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        seen += message is not None
    position = TopicPartition(topic, 0, 8, metadata="half way")
    consumer.commit(offsets=[position], asynchronous=False)
    consumer.close()

    python = KafkaConsumer(
        topic, bootstrap_servers=broker, group_id=group, auto_offset_reset="earliest"
    )
    first = next(iter(python))
    assert (first.offset, first.value) == (8, b"8")
    python.close()

    admin = AdminClient({"bootstrap.servers": broker})
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    offsets = admin.list_consumer_group_offsets([asked])[group].result(TIMEOUT_S)
    assert offsets.topic_partitions is not None
    assert offsets.topic_partitions[0].offset >= 8


def test_a_static_member_keeps_its_partitions_over_a_restart(
    broker: str, topic: str, group: str
) -> None:
    create_topic(broker, topic, PARTITIONS)
    config = {
        "bootstrap.servers": broker,
        "group.id": group,
        "group.instance.id": "seat-1",
        "auto.offset.reset": "earliest",
        "session.timeout.ms": 10_000,
    }
    admin = AdminClient({"bootstrap.servers": broker})
    ids = []
    for _ in range(2):
        consumer = Consumer(config)
        consumer.subscribe([topic])
        wait_until(
            lambda consumer=consumer: (
                consumer.poll(0.05) is None  # type: ignore[misc]
                and len(consumer.assignment()) == PARTITIONS
            ),
            "the seat has all partitions",
        )
        described = admin.describe_consumer_groups([group])[group].result(TIMEOUT_S)
        assert [member.group_instance_id for member in described.members] == ["seat-1"]
        ids.append(described.members[0].member_id)
        consumer.close()
    assert ids[0] != ids[1]
