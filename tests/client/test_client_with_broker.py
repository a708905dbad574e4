"""The client against our own broker, in one process: records, offsets, groups, administration."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from kafka.partitioner.default import murmur2 as reference_murmur2

from streamlog.broker.broker import Broker, open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.broker.groups.config import GroupConfig as BrokerGroupConfig
from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import Client, open_client
from streamlog.client.config import (
    ClientConfig,
    Compression,
    ConsumerConfig,
    GroupConfig,
    OffsetReset,
    ProducerConfig,
)
from streamlog.client.consumer.consumer import Consumer, open_consumer
from streamlog.client.errors import (
    CommitRefusedError,
    GroupMembershipError,
    KafkaError,
    OffsetOutOfRangeError,
    RecordTooLargeError,
    UnknownTopicError,
)
from streamlog.client.membership.member import GroupMember, open_group_member
from streamlog.client.positions import format_csv, parse_positions
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, LATEST, OffsetAndMetadata, TopicPartition
from streamlog.errors import UnreachableError, UsageError
from streamlog.records.errors import BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

T0 = TopicPartition("t", 0)


@asynccontextmanager
async def broker_at(data: Path, port: int = 0) -> AsyncIterator[Broker]:
    config = BrokerConfig(
        data=data,
        listen=(("127.0.0.1", port),),
        auto_create_topics=False,
        groups=BrokerGroupConfig(initial_rebalance_delay_ms=0),
    )
    async with open_broker(config) as broker:
        yield broker


@asynccontextmanager
async def client_of(data: Path, **topics: int) -> AsyncIterator[Client]:
    async with broker_at(data) as broker:
        address = f"127.0.0.1:{broker.port}"
        async with open_client(client_config(address)) as client:
            new = [NewTopic(name, partition_count=count) for name, count in topics.items()]
            await Admin(client).create_topics(new)
            yield client


def client_config(address: str) -> ClientConfig:
    return ClientConfig(brokers=(address,), unknown_topic_patience_ms=100)


async def read_all(consumer: Consumer, count: int) -> dict[TopicPartition, list[bytes | None]]:
    values: dict[TopicPartition, list[bytes | None]] = {each: [] for each in consumer.assignment}
    with trio.fail_after(20):
        while sum(map(len, values.values())) < count:
            for chunk in await consumer.poll():
                values[chunk.topic_partition] += chunk.columns.values
    return values


@pytest.mark.parametrize("compression", Compression)
async def test_what_is_sent_comes_back_in_order(tmp_path: Path, compression: Compression) -> None:
    async with client_of(tmp_path, t=3) as client:
        config = ProducerConfig(compression=compression, batch_bytes=2_000)
        async with open_producer(client, config) as producer:
            for number in range(1_000):
                await producer.send(
                    "t", b"%d" % number, key=b"k%d" % (number % 7), headers=(("n", b"1"),)
                )
        async with open_consumer(client) as consumer:
            partitions = [TopicPartition("t", number) for number in range(3)]
            await consumer.assign(dict.fromkeys(partitions, EARLIEST))
            read = await read_all(consumer, 1_000)
    expected: dict[TopicPartition, list[bytes]] = {each: [] for each in partitions}
    for number in range(1_000):
        key = b"k%d" % (number % 7)
        expected[TopicPartition("t", (reference_murmur2(key) & 0x7FFFFFFF) % 3)].append(
            b"%d" % number
        )
    assert read == expected


async def test_deliveries_tell_offsets_and_timestamps(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client, open_producer(client) as producer:
        first = await producer.send("t", b"a", timestamp_ms=1_000)
        second = await producer.send("t", None, key=b"k", timestamp_ms=2_000)
        assert (await second.wait()).offset == 1
        told = await first.wait()
        assert (told.topic, told.partition, told.offset, told.timestamp_ms) == ("t", 0, 0, 1_000)


async def test_columns_go_into_few_batches_and_an_atomic_one_into_one(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client, open_producer(client) as producer:
        many = [b"x" * 1_000] * 2_500
        stamps = list(range(2_500))
        delivery = await producer.send_columns("t", 0, [None] * 2_500, many, stamps)
        told = await delivery.wait()
        assert (told.base_offset, told.last_offset) == (0, 2_499)
        with pytest.raises(BatchTooLargeError, match="2,500 records of"):
            await producer.send_columns("t", 0, [None] * 2_500, many, stamps, atomic=True)
        whole = await producer.send_columns("t", 0, [b"k"] * 3, [b"v"] * 3, [7] * 3, atomic=True)
        assert (await whole.wait()).last_offset == 2_502
        with pytest.raises(UsageError, match="columns of 1 keys, 2 values"):
            await producer.send_columns("t", 0, [None], [b"1", b"2"], [0, 0])


async def test_what_the_topic_finds_too_large_is_split_or_refused(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        await Admin(client).alter_configs("t", {"max.message.bytes": "3000"})
        async with open_producer(client) as producer:
            values: list[bytes | None] = [b"%03d" % n + b"x" * 500 for n in range(40)]
            split = await producer.send_columns("t", 0, [None] * 40, values, [0] * 40)
            told = await split.wait()
            assert (told.base_offset, told.last_offset) == (0, 39)
            refused = await producer.send_columns(
                "t", 0, [None] * 40, values, [0] * 40, atomic=True
            )
            with pytest.raises(BatchTooLargeError):
                await refused.wait()
            large = await producer.send("t", b"x" * 4_000)
            small = await producer.send("t", b"small")
            with pytest.raises(RecordTooLargeError, match=r"max\.message\.bytes"):
                await large.wait()
            assert (await small.wait()).offset == 40
        async with open_consumer(client) as consumer:
            await consumer.assign({T0: EARLIEST})
            assert (await read_all(consumer, 41))[T0] == [*values, b"small"]


async def test_a_failure_that_nobody_waited_for_is_raised_at_the_end(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        await Admin(client).alter_configs("t", {"max.message.bytes": "1000"})
        with pytest.raises(RecordTooLargeError):
            async with open_producer(client) as producer:
                await producer.send("t", b"x" * 4_000)


async def test_topics_that_are_not_there_are_named(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        async with open_producer(client) as producer:
            with pytest.raises(UnknownTopicError, match="partition 5 of 't' does not exist"):
                await producer.send("t", b"", partition=5)
        async with open_consumer(client) as consumer:
            with pytest.raises(UnknownTopicError, match="partition 5 of 't' does not exist"):
                await consumer.assign({TopicPartition("t", 5): 0})
            await Admin(client).create_partitions({"t": 6})
            await consumer.assign({TopicPartition("t", 5): 0})
        with pytest.raises(UnknownTopicError, match="topic 'nope' does not exist"):
            await client.partition_count("nope")


async def test_a_consumer_seeks_pauses_and_changes_its_assignment(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=2) as client:
        async with open_producer(client) as producer:
            for number in range(20):
                stamp = 1_000 + number
                await producer.send("t", b"%d" % number, partition=number % 2, timestamp_ms=stamp)
        t1 = TopicPartition("t", 1)
        async with open_consumer(client) as consumer:
            await consumer.assign({T0: 5})
            assert await read_all(consumer, 5) == {T0: [b"10", b"12", b"14", b"16", b"18"]}
            assert consumer.position(T0) == 10
            await consumer.assign({t1: LATEST})
            consumer.seek(T0, 9)
            assert (await read_all(consumer, 1))[T0] == [b"18"]
            found = await consumer.offsets_for_times({T0: 1_011, t1: 1_011})
            assert [each and each.offset for each in found.values()] == [6, 5]
            assert await consumer.offsets_for_times({T0: 9_999}) == {T0: None}
            consumer.pause([T0])
            consumer.seek(T0, EARLIEST)
            consumer.seek(t1, 9)
            assert await read_all(consumer, 1) == {T0: [], t1: [b"19"]}
            consumer.resume([T0])
            assert len((await read_all(consumer, 10))[T0]) == 10
            await consumer.unassign([T0])
            assert consumer.assignment == {t1}
            assert await consumer.end_offsets([T0, t1]) == {T0: 10, t1: 10}
            assert await consumer.beginning_offsets([T0]) == {T0: 0}
            with pytest.raises(UsageError, match=r"t\[0\] is not assigned"):
                consumer.seek(T0, 1)


async def test_a_consumer_goes_to_a_time_to_a_group_and_to_kept_positions(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=3) as client:
        t1, t2 = TopicPartition("t", 1), TopicPartition("t", 2)
        async with open_producer(client) as producer:
            for number in range(20):
                stamp = 1_000 + number
                await producer.send("t", b"%d" % number, partition=number % 2, timestamp_ms=stamp)
        async with open_consumer(client) as consumer:
            await consumer.assign({T0: 5, t1: 5, t2: 0})
            assert await consumer.seek_to_time(1_018) == {T0: 9, t1: 9, t2: 0}
            assert await read_all(consumer, 2) == {T0: [b"18"], t1: [b"19"], t2: []}
            # There is nothing as late as that in partition 0: it goes on at its end.
            assert await consumer.seek_to_time(1_019, [T0]) == {T0: 10}
            await consumer.commit("shop", {T0: OffsetAndMetadata(3), t2: OffsetAndMetadata(0)})
            assert await consumer.seek_to_group("shop") == {T0: 3, t2: 0}
            assert consumer.positions() == {T0: 3, t1: 10, t2: 0}
            kept = parse_positions(format_csv(consumer.positions()))
            assert len((await read_all(consumer, 7))[T0]) == 7
            assert await consumer.seek_to_group("nobody") == {}
            await consumer.unassign([t1])
            assert consumer.seek_to_positions(kept) == {T0: 3, t2: 0}
            assert (await read_all(consumer, 7))[T0][0] == b"6"
            with pytest.raises(UsageError, match=r"t\[1\] is not assigned"):
                await consumer.seek_to_group("shop", [t1])


async def test_an_offset_that_is_gone_is_an_error_or_reset_by_policy(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        async with open_producer(client) as producer:
            for number in range(10):
                await producer.send("t", b"%d" % number)
                await producer.flush()
        assert await Admin(client).delete_records({T0: 4}) == {T0: 4}
        async with open_consumer(client) as consumer:
            await consumer.assign({T0: 2})
            with pytest.raises(OffsetOutOfRangeError, match="no offset 2: it has 4 to 9"):
                await read_all(consumer, 1)
            consumer.seek(T0, 4)
            assert (await read_all(consumer, 6))[T0][0] == b"4"
            with pytest.raises(UsageError, match="no offset is given"):
                consumer.seek(T0, None)
        config = ConsumerConfig(auto_offset_reset=OffsetReset.EARLIEST)
        async with open_consumer(client, config) as consumer:
            await consumer.assign({T0: 2})
            assert (await read_all(consumer, 6))[T0][0] == b"4"


async def test_nothing_is_fetched_beyond_the_bound(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        async with open_producer(client) as producer:
            for _ in range(5):
                await producer.send_columns("t", 0, [None] * 300, [b"x" * 1_000] * 300, [0] * 300)
        config = ConsumerConfig(
            prefetch_bytes=500_000, max_partition_bytes=400_000, chunk_records=100
        )
        async with open_consumer(client, config) as consumer:
            await consumer.assign({T0: EARLIEST})
            chunk = await consumer.poll(10_000)
            assert len(chunk[0].columns) == 300, "a chunk ends with a whole batch"
            for _ in range(100):
                await trio.sleep(0.002)
                assert consumer._states[T0].buffered_bytes <= 800_000
            assert len((await read_all(consumer, 1_200))[T0]) == 1_200


class RestartableBroker:
    """A broker that a test may stop and start again at the same port."""

    def __init__(self, data: Path, nursery: trio.Nursery) -> None:
        self.port = 0
        self._data = data
        self._nursery = nursery
        self._stop = trio.Event()
        self._stopped = trio.Event()

    async def start(self) -> None:
        self._stop, self._stopped = trio.Event(), trio.Event()
        await self._nursery.start(self._run)

    async def stop(self) -> None:
        self._stop.set()
        await self._stopped.wait()

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        async with broker_at(self._data, self.port) as broker:
            self.port = broker.port
            task_status.started()
            await self._stop.wait()
        self._stopped.set()


async def test_records_and_clients_survive_a_restart_of_the_broker(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    broker = RestartableBroker(tmp_path, nursery)
    await broker.start()
    config = ClientConfig(brokers=(f"127.0.0.1:{broker.port}",))
    async with open_client(config) as client:
        await Admin(client).create_topics([NewTopic("t", 1)])
        async with open_producer(client) as producer, open_consumer(client) as consumer:
            await consumer.assign({T0: EARLIEST})
            await (await producer.send("t", b"before")).wait()
            assert await read_all(consumer, 1) == {T0: [b"before"]}
            await broker.stop()
            during = await producer.send("t", b"during")
            await broker.start()
            assert (await during.wait()).offset == 1
            assert await read_all(consumer, 1) == {T0: [b"during"]}
    await broker.stop()


async def test_a_member_keeps_its_partitions_through_a_restart_of_the_broker(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    broker = RestartableBroker(tmp_path, nursery)
    await broker.start()
    config = ClientConfig(brokers=(f"127.0.0.1:{broker.port}",))
    listener = Listener()
    async with open_client(config) as client:
        await Admin(client).create_topics([NewTopic("t", 4)])
        async with open_group_member(client, group_config(), listener) as member:
            await member.wait_joined()
            generation = member.generation
            await broker.stop()
            await broker.start()
            await member.commit({each: OffsetAndMetadata(1) for each in member.owned})
            assert member.generation == generation
            assert [what for what, _ in listener.told] == ["assigned"]
    await broker.stop()


class Listener:
    """Notes what it is told, and commits what is taken away."""

    def __init__(self) -> None:
        self.told: list[tuple[str, set[str]]] = []
        self.member: GroupMember | None = None

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append(("assigned", set(map(str, partitions))))

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append(("revoked", set(map(str, partitions))))
        if self.member is not None:
            await self.member.commit({each: OffsetAndMetadata(7, "bye") for each in partitions})

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        self.told.append(("lost", set(map(str, partitions))))


def group_config(
    assignor: str = "cooperative-sticky", instance_id: str | None = None
) -> GroupConfig:
    return GroupConfig(
        group="g",
        topics=("t",),
        session_timeout_ms=6_000,
        heartbeat_interval_ms=20,
        assignors=(assignor,),
        instance_id=instance_id,
    )


async def wait_shared(*members: GroupMember) -> None:
    """Waits until everybody is settled and every partition of `t` has an owner."""
    with trio.fail_after(20):
        while True:
            for each in members:
                await each.wait_joined()
            if sum(len(each.owned) for each in members) == 4 and all(m.is_settled for m in members):
                return
            await trio.sleep(0.01)


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "sticky", "cooperative-sticky"])
async def test_members_share_a_topic_and_hand_over(tmp_path: Path, assignor: str) -> None:
    async with client_of(tmp_path, t=4) as client:
        one, two = Listener(), Listener()
        config = group_config(assignor)
        async with open_group_member(client, config, one) as first:
            one.member = first
            await first.wait_joined()
            assert len(first.owned) == 4
            async with open_group_member(client, config, two) as second:
                await wait_shared(first, second)
                assert len(second.owned) == 2
                committed = await second.committed(second.owned)
                assert set(committed.values()) == {OffsetAndMetadata(7, "bye")}
                with pytest.raises(CommitRefusedError, match="is not in its generation"):
                    await second.commit({each: OffsetAndMetadata(1) for each in first.owned})
                description = (await Admin(client).describe_groups(["g"]))["g"]
                assert description.state == "Stable"
                assert description.assignor == assignor
                assert sorted(len(each.assignment) for each in description.members) == [2, 2]
            await wait_shared(first)
        kept = ("revoked", {str(TopicPartition("t", number)) for number in range(4)})
        assert (one.told.count(kept) == 1) == (assignor == "cooperative-sticky")
        assert (await Admin(client).describe_groups(["g"]))["g"].state == "Empty"


async def test_a_static_member_comes_back_without_a_rebalance(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=4) as client:
        config = group_config(instance_id="i1")
        async with open_group_member(client, group_config(), Listener()) as other:
            await other.wait_joined()
            async with open_group_member(client, config, Listener()) as member:
                await wait_shared(other, member)
                owned = member.owned
            generation = other.generation
            async with open_group_member(client, config, Listener()) as again:
                await again.wait_joined()
                assert again.owned == owned
                assert other.generation == generation


async def test_a_static_leader_comes_back_without_a_rebalance(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=4) as client:
        leader, follower = group_config(instance_id="i1"), group_config(instance_id="i2")
        async with open_group_member(client, leader, Listener()) as first:
            await first.wait_joined()
            async with open_group_member(client, follower, Listener()) as other:
                await wait_shared(first, other)
        async with open_group_member(client, leader, Listener()) as again:
            await again.wait_joined()
            assert len(again.owned) == 2
            generation = again.generation
            # Several heartbeats: it leads, and compares its topics with what was assigned.
            await trio.sleep(0.2)
            assert again.is_settled
            assert again.generation == generation


async def fence(client: Client, config: GroupConfig, listener: Listener) -> None:
    with pytest.raises(GroupMembershipError, match="another member with this instance id"):  # noqa: PT012
        async with open_group_member(client, config, listener) as first:
            await first.wait_joined()
            async with open_group_member(client, config, Listener()) as second:
                await second.wait_joined()
                await trio.sleep(10)


async def test_a_second_member_with_the_same_instance_id_fences_the_first(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=4) as client:
        config = group_config(instance_id="i1")
        first_listener = Listener()
        await fence(client, config, first_listener)
        assert first_listener.told[-1][0] == "lost"


async def test_a_member_notices_that_its_topic_has_grown(tmp_path: Path) -> None:
    async with (
        client_of(tmp_path, t=2) as client,
        open_group_member(client, group_config(), Listener()) as member,
    ):
        await member.wait_joined()
        await Admin(client).create_partitions({"t": 4})
        await wait_shared(member)


async def test_a_cancelled_member_still_leaves_the_group(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=4) as client:
        with trio.CancelScope() as scope:
            async with open_group_member(client, group_config(), Listener()) as member:
                await member.wait_joined()
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert (await Admin(client).describe_groups(["g"]))["g"].state == "Empty"


async def test_cancelled_waits_leave_producer_and_consumer_whole(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=1) as client:
        config = ProducerConfig(buffer_bytes=1_000, linger_ms=60_000)
        async with open_producer(client, config) as producer, open_consumer(client) as consumer:
            await consumer.assign({T0: EARLIEST})
            for call in (producer.flush, consumer.poll):
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await call()
                assert scope.cancelled_caught
            await producer.send("t", b"x" * 900)
            with trio.CancelScope() as scope:
                scope.cancel()
                # No room: it would wait.
                await producer.send("t", b"y" * 900)
            assert scope.cancelled_caught
            await producer.send("t", b"z" * 900)
            await producer.flush()
            assert (await read_all(consumer, 2))[T0] == [b"x" * 900, b"z" * 900]


async def test_groups_and_their_offsets_are_administered(tmp_path: Path) -> None:
    async with client_of(tmp_path, t=2) as client:
        admin = Admin(client)
        t1 = TopicPartition("t", 1)
        await admin.alter_group_offsets(
            "g", {T0: OffsetAndMetadata(3, "note"), t1: OffsetAndMetadata(4)}
        )
        assert await admin.group_offsets("g", [T0]) == {T0: OffsetAndMetadata(3, "note")}
        with pytest.raises(UnknownTopicError, match="partition 0 of 'nope' does not exist"):
            await admin.alter_group_offsets("g", {TopicPartition("nope", 0): OffsetAndMetadata(1)})
        assert {each.group for each in await admin.list_groups()} == {"g"}
        await admin.delete_group_offsets("g", [T0])
        assert (await admin.group_offsets("g")).keys() == {t1}
        async with open_group_member(client, group_config(), Listener()) as member:
            await member.wait_joined()
            with pytest.raises(KafkaError, match="Stop its members first"):
                await admin.alter_group_offsets("g", {T0: OffsetAndMetadata(0)})
            with pytest.raises(KafkaError, match="NON_EMPTY_GROUP"):
                await admin.delete_groups(["g"])
        await admin.delete_groups(["g"])
        assert await admin.list_groups() == []


async def test_topics_are_administered(tmp_path: Path) -> None:
    async with client_of(tmp_path) as client:
        admin = Admin(client)
        await admin.create_topics([NewTopic("t", 2, configs={"retention.ms": "1000"})])
        with pytest.raises(KafkaError, match=r"'t' cannot be created.*TOPIC_ALREADY_EXISTS"):
            await admin.create_topics([NewTopic("t", 2)])
        await admin.create_topics([NewTopic("u", 1)], validate_only=True)
        await admin.create_partitions({"t": 3})
        assert [len(each.partitions) for each in await admin.list_topics()] == [3]
        assert (await admin.describe_topics(["t", "u"])).keys() == {"t"}
        await admin.alter_configs("t", {"retention.ms": None, "max.message.bytes": "5000"})
        changed = [each for each in await admin.describe_configs("t") if not each.is_default]
        assert [(each.name, each.value) for each in changed] == [("max.message.bytes", "5000")]
        with pytest.raises(UnknownTopicError):
            await admin.describe_configs("nope")
        cluster = await admin.describe_cluster()
        assert [each.node_id for each in cluster.brokers] == [cluster.controller]
        await admin.delete_topics(["t"])
        assert await admin.list_topics() == []


async def test_a_broker_that_is_not_there_is_said_so_in_time() -> None:
    sockets = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = sockets[0].socket.getsockname()[1]
    await sockets[0].aclose()
    config = ClientConfig(brokers=(f"127.0.0.1:{port}",), bootstrap_timeout_ms=200)
    with pytest.raises(UnreachableError, match=f"nobody answers at 127.0.0.1:{port}: conn"):
        async with open_client(config):
            raise AssertionError("nobody is there")
