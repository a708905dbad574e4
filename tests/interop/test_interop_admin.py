"""Foreign admin clients against our broker, and the questions that consumers ask about time."""

from __future__ import annotations

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from interop_clients import TIMEOUT_S, Record, create_topic
from kafka import KafkaAdminClient, KafkaConsumer
from kafka import TopicPartition as KafkaTopicPartition

pytestmark = pytest.mark.interop

BASE_MS = 1_700_000_000_000


@pytest.fixture
def admin(broker: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker})


def fill(broker: str, topic: str, count: int = 10) -> None:
    records = [Record(0, 0, None, b"%d" % i, BASE_MS + i * 1000) for i in range(count)]
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 0})
    for record in records:  # one batch each, so that there is something to search
        producer.produce(topic, record.value, partition=0, timestamp=record.timestamp_ms)
        assert producer.flush(TIMEOUT_S) == 0


def test_topics_are_created_described_enlarged_and_deleted(admin: AdminClient, topic: str) -> None:
    wanted = NewTopic(topic, 2, 1, config={"retention.ms": "86400000"})
    admin.create_topics([wanted], validate_only=True)[topic].result(TIMEOUT_S)
    assert topic not in admin.list_topics(timeout=TIMEOUT_S).topics
    admin.create_topics([wanted])[topic].result(TIMEOUT_S)
    assert len(admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions) == 2
    with pytest.raises(KafkaException, match="already exists"):
        admin.create_topics([wanted])[topic].result(TIMEOUT_S)
    admin.create_partitions([NewPartitions(topic, 5)])[topic].result(TIMEOUT_S)
    assert len(admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions) == 5
    admin.delete_topics([topic])[topic].result(TIMEOUT_S)
    assert topic not in admin.list_topics(timeout=TIMEOUT_S).topics


def test_settings_are_described_and_altered(admin: AdminClient, topic: str) -> None:
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(TIMEOUT_S)
    resource = ConfigResource(ResourceType.TOPIC, topic)

    def value(name: str) -> str:
        entries = admin.describe_configs([resource])[resource].result(TIMEOUT_S)
        return str(entries[name].value)

    assert value("retention.ms") == "604800000"
    entry = ConfigEntry("retention.ms", "1234", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin.incremental_alter_configs([change])[change].result(TIMEOUT_S)
    assert value("retention.ms") == "1234"
    broker = ConfigResource(ResourceType.BROKER, "1")
    settings = admin.describe_configs([broker])[broker].result(TIMEOUT_S)
    assert settings["num.partitions"].value == "1"


def test_records_are_deleted(admin: AdminClient, broker: str, topic: str) -> None:
    resource = NewTopic(topic, 1, 1, config={"retention.ms": "-1"})
    admin.create_topics([resource])[topic].result(TIMEOUT_S)
    fill(broker, topic)
    wanted = TopicPartition(topic, 0, 4)
    result = admin.delete_records([wanted])[wanted].result(TIMEOUT_S)
    assert result.low_watermark == 4
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "none"})
    assert consumer.get_watermark_offsets(wanted, timeout=TIMEOUT_S) == (4, 10)
    consumer.close()


def test_offsets_are_found_by_time(admin: AdminClient, broker: str, topic: str) -> None:
    create_topic(broker, topic)
    fill(broker, topic)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "none"})
    for timestamp, offset in ((BASE_MS - 1, 0), (BASE_MS + 3500, 4), (BASE_MS + 9000, 9)):
        found = consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], timeout=TIMEOUT_S)
        assert found[0].offset == offset
    consumer.assign([TopicPartition(topic, 0, 6)])
    message = consumer.poll(TIMEOUT_S)
    assert message is not None
    assert message.value() == b"6"
    consumer.seek(TopicPartition(topic, 0, 2))
    message = consumer.poll(TIMEOUT_S)
    assert message is not None
    assert message.value() == b"2"
    consumer.close()
    partition = TopicPartition(topic, 0)
    newest = OffsetSpec.max_timestamp()  # type: ignore[no-untyped-call]
    found_newest = admin.list_offsets({partition: newest})[partition].result(TIMEOUT_S)
    assert found_newest.offset == 9

    python = KafkaConsumer(bootstrap_servers=broker)
    key = KafkaTopicPartition(topic, 0)
    assert python.offsets_for_times({key: BASE_MS + 3500})[key].offset == 4
    assert python.beginning_offsets([key])[key] == 0
    assert python.end_offsets([key])[key] == 10
    python.close()


def test_groups_are_listed_described_moved_and_deleted(
    admin: AdminClient, broker: str, topic: str, group: str
) -> None:
    create_topic(broker, topic)
    fill(broker, topic)
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    message = consumer.poll(TIMEOUT_S)
    assert message is not None
    assert message.error() is None
    listed = admin.list_consumer_groups().result(TIMEOUT_S).valid
    assert group in {item.group_id for item in listed}
    described = admin.describe_consumer_groups([group])[group].result(TIMEOUT_S)
    assert described.state.name == "STABLE"
    assert len(described.members) == 1
    assert described.members[0].host == "/127.0.0.1"
    with pytest.raises(KafkaException, match=r"NON_EMPTY_GROUP|not empty"):
        admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)
    consumer.close()
    moved = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])
    admin.alter_consumer_group_offsets([moved])[group].result(TIMEOUT_S)
    asked = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])
    found = admin.list_consumer_group_offsets([asked])[group].result(TIMEOUT_S)
    assert found.topic_partitions is not None
    assert found.topic_partitions[0].offset == 7
    admin.delete_consumer_groups([group])[group].result(TIMEOUT_S)
    listed = admin.list_consumer_groups().result(TIMEOUT_S).valid
    assert group not in {item.group_id for item in listed}


def test_the_cluster_is_described(admin: AdminClient, broker: str) -> None:
    cluster = admin.describe_cluster().result(TIMEOUT_S)
    assert [f"{node.host}:{node.port}" for node in cluster.nodes] == [broker]
    assert cluster.controller.id == 1


def test_kafka_pythons_admin_client_is_served(broker: str, topic: str) -> None:
    create_topic(broker, topic, 3)
    client = KafkaAdminClient(bootstrap_servers=broker)
    assert topic in client.list_topics()
    assert client.describe_cluster()["controller_id"] == 1
    directories = client.describe_log_dirs()
    assert directories
    client.delete_topics([topic])
    assert topic not in client.list_topics()
    client.close()
