"""Our client against a real Apache Kafka; skipped without a JDK and Maven.

The same things work against our own broker in `tests/client/test_client_with_broker.py`; here it
shows that they are Kafka's protocol and not a private understanding. Java's consumer shares a group
with our member, so the two must agree on what assignors decide and what bytes say.
"""

from __future__ import annotations

import apache_kafka
import pytest
import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import (
    ClientConfig,
    Compression,
    ConsumerConfig,
    GroupConfig,
    Isolation,
    ProducerConfig,
)
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.errors import CommitRefusedError, KafkaError
from streamlog.client.membership.member import GroupMember, open_group_member
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, OffsetAndMetadata, TopicPartition
from streamlog.records.errors import BatchTooLargeError

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]


def config(address: str) -> ClientConfig:
    return ClientConfig(brokers=(address,))


@pytest.mark.parametrize("compression", Compression)
async def test_records_go_there_and_come_back(
    kafka: str, topic: str, compression: Compression
) -> None:
    partitions = [TopicPartition(topic, number) for number in range(3)]
    sent: dict[TopicPartition, list[bytes | None]] = {each: [] for each in partitions}
    async with open_client(config(kafka)) as client:
        await Admin(client).create_topics([NewTopic(topic, 3)])
        async with open_producer(client, ProducerConfig(compression=compression)) as producer:
            for number in range(3_000):
                value = b"%d" % number
                await producer.send(topic, value, partition=number % 3, headers=(("h", b"x"),))
                sent[partitions[number % 3]].append(value)
            columns: list[bytes | None] = [b"c" * 900] * 3_000
            delivery = await producer.send_columns(topic, 0, [b"k"] * 3_000, columns, [5] * 3_000)
            told = await delivery.wait()
            assert (told.base_offset, told.last_offset) == (1_000, 3_999)
            sent[partitions[0]] += columns
        isolation = ConsumerConfig(isolation=Isolation.READ_COMMITTED)
        async with open_consumer(client, isolation) as consumer:
            assert await consumer.end_offsets(partitions) == {
                each: len(values) for each, values in sent.items()
            }
            await consumer.assign(dict.fromkeys(partitions, EARLIEST))
            read: dict[TopicPartition, list[bytes | None]] = {each: [] for each in partitions}
            with trio.fail_after(60):
                while sum(map(len, read.values())) < 6_000:
                    for chunk in await consumer.poll():
                        read[chunk.topic_partition] += chunk.columns.values
            assert read == sent


async def test_batches_too_large_for_the_topic_are_split(kafka: str, topic: str) -> None:
    async with open_client(config(kafka)) as client:
        small = NewTopic(topic, 1, configs={"max.message.bytes": "3000"})
        await Admin(client).create_topics([small])
        async with open_producer(client) as producer:
            rows = 40
            columns: tuple[list[bytes | None], list[bytes | None], list[int]] = (
                [None] * rows,
                [b"x" * 500] * rows,
                [0] * rows,
            )
            split = await producer.send_columns(topic, 0, *columns)
            assert (await split.wait()).last_offset == rows - 1
            whole = await producer.send_columns(topic, 0, *columns, atomic=True)
            with pytest.raises(BatchTooLargeError):
                await whole.wait()
            after = await producer.send(topic, b"after")
            assert (await after.wait()).offset == rows


class Listener:
    """Commits what is taken away."""

    def __init__(self) -> None:
        self.member: GroupMember | None = None
        self.lost = 0

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """Nothing to do."""

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        assert self.member is not None
        await self.member.commit({each: OffsetAndMetadata(7, "bye") for each in partitions})

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.lost += 1


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky", "cooperative-sticky"])
async def test_members_share_and_hand_over(
    kafka: str, topic: str, group: str, assignor: str
) -> None:
    group_config = GroupConfig(
        group=group,
        topics=(topic,),
        assignors=(assignor,),
        session_timeout_ms=6_000,
        heartbeat_interval_ms=100,
    )
    one, two = Listener(), Listener()
    async with open_client(config(kafka)) as client:
        admin = Admin(client)
        await admin.create_topics([NewTopic(topic, 4)])
        async with open_group_member(client, group_config, one) as first:
            one.member = first
            await first.wait_joined()
            async with open_group_member(client, group_config, two) as second:
                two.member = second
                await wait_owned(first, 2)
                await wait_owned(second, 2)
                await first.wait_joined()
                assert set((await second.committed(second.owned)).values()) == {
                    OffsetAndMetadata(7, "bye")
                }
                with pytest.raises(CommitRefusedError):
                    await second.commit(dict.fromkeys(first.owned, OffsetAndMetadata(1)))
                described = (await admin.describe_groups([group]))[group]
                assert sorted(len(each.assignment) for each in described.members) == [2, 2]
        assert one.lost == two.lost == 0
        await admin.alter_group_offsets(group, {TopicPartition(topic, 0): OffsetAndMetadata(3)})
        assert (await admin.group_offsets(group))[TopicPartition(topic, 0)].offset == 3
        await admin.delete_groups([group])


async def test_a_java_consumer_and_our_member_share_a_group(
    kafka: str, topic: str, group: str
) -> None:
    listener = Listener()
    async with open_client(config(kafka)) as client:
        await Admin(client).create_topics([NewTopic(topic, 4)])
        async with open_producer(client) as producer:
            for number in range(40):
                await producer.send(topic, b"%d" % number, partition=number % 4)
        ours = GroupConfig(
            group=group, topics=(topic,), assignors=("range",), heartbeat_interval_ms=100
        )
        async with open_group_member(client, ours, listener) as member:
            listener.member = member
            await member.wait_joined()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_by_java, kafka, topic, group)
                await wait_owned(member, 2)
            await wait_owned(member, 4)


async def wait_owned(member: GroupMember, count: int) -> None:
    """Waits until a member owns so many partitions."""
    with trio.fail_after(90):
        while len(member.owned) != count:  # noqa: ASYNC110 - members tell listeners, not events
            await trio.sleep(0.05)


async def read_by_java(address: str, topic: str, group: str) -> None:
    """Runs Java's console consumer in the group until it has read its half."""
    await trio.to_thread.run_sync(
        lambda: apache_kafka.tool(
            "console-consumer", "--bootstrap-server", address, "--topic", topic, "--group", group,
            "--timeout-ms", "4000",
            "--command-property",
            "partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor",
        )
    )  # fmt: skip


async def test_topics_are_administered(kafka: str, topic: str) -> None:
    async with open_client(config(kafka)) as client:
        admin = Admin(client)
        await admin.create_topics([NewTopic(topic, 2, configs={"retention.ms": "1000"})])
        with pytest.raises(KafkaError, match="TOPIC_ALREADY_EXISTS"):
            await admin.create_topics([NewTopic(topic, 2)])
        await admin.create_partitions({topic: 3})
        # Kafka answers when its controller knows; its brokers hear of it a moment later.
        with trio.fail_after(30):
            while len((await admin.describe_topics([topic]))[topic].partitions) < 3:  # noqa: ASYNC110
                await trio.sleep(0.05)
            await admin.alter_configs(topic, {"retention.ms": None, "max.message.bytes": "5000"})
            entries = {each.name: each for each in await admin.describe_configs(topic)}
            while entries["max.message.bytes"].value != "5000":
                await trio.sleep(0.05)
                entries = {each.name: each for each in await admin.describe_configs(topic)}
        assert entries["retention.ms"].is_default
        async with open_producer(client) as producer:
            for number in range(10):
                await producer.send(topic, b"%d" % number, partition=0)
        partition = TopicPartition(topic, 0)
        assert await admin.delete_records({partition: 4}) == {partition: 4}
        found = (await admin.list_offsets({partition: EARLIEST}))[partition]
        assert found is not None
        assert found.offset == 4
        await admin.delete_topics([topic])
