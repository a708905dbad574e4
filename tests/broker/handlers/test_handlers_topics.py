from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from handlers_harness import Harness, running

from streamlog.broker.config import BrokerConfig
from streamlog.broker.handlers.topic_admin import DELETIONS
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.create_partitions import (
    CreatePartitionsAssignment,
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from streamlog.wire.messages.create_topics import (
    CreatableReplicaAssignment,
    CreatableTopic,
    CreatableTopicConfig,
    CreatableTopicResult,
    CreateTopicsRequest,
)
from streamlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.wire.messages.metadata import MetadataResponse


async def metadata(
    broker: Harness, *names: str, create: bool = False, version: int | None = None
) -> MetadataResponse:
    request = MetadataRequest(
        topics=[MetadataRequestTopic(name=name) for name in names],
        allow_auto_topic_creation=create,
    )
    return await broker.ask(request, version)


async def create(
    broker: Harness, topic: CreatableTopic, *, validate_only: bool = False
) -> CreatableTopicResult:
    request = CreateTopicsRequest(topics=[topic], validate_only=validate_only)
    return (await broker.ask(request)).topics[0]


def listed(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def topic(name: str = "orders", partitions: int = 3, replicas: int = 1) -> CreatableTopic:
    return CreatableTopic(name=name, num_partitions=partitions, replication_factor=replicas)


async def test_a_created_topic_has_its_partitions_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        result = await create(broker, topic())
        assert (result.error_code, result.num_partitions, result.replication_factor) == (0, 3, 1)
        assert result.configs
        described = (await metadata(broker, "orders")).topics[0]
        assert described.topic_id == result.topic_id
        assert [item.partition_index for item in described.partitions] == [0, 1, 2]
        assert {item.leader_id for item in described.partitions} == {1}
        assert (tmp_path / "orders-2").is_dir()


async def test_validate_only_checks_and_creates_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        assert (await create(broker, topic(), validate_only=True)).error_code == 0
        assert (await create(broker, topic("a b"), validate_only=True)).error_code == 17
        assert len(broker.services.topics) == 0
        assert not (tmp_path / "orders-0").exists()


async def test_defaults_hold_for_partitions_and_replicas_of_minus_one(tmp_path: Path) -> None:
    config = BrokerConfig(data=tmp_path, partitions_default=5)
    async with running(tmp_path, config) as broker:
        result = await create(broker, topic(partitions=-1, replicas=-1))
        assert (result.error_code, result.num_partitions) == (0, 5)


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        (topic("../etc"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (topic(""), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (topic("x" * 250), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (topic("__consumer_offsets"), ErrorCode.INVALID_TOPIC_EXCEPTION),
        (topic(partitions=0), ErrorCode.INVALID_PARTITIONS),
        (topic(partitions=-7), ErrorCode.INVALID_PARTITIONS),
        (topic(partitions=2_000_000_000), ErrorCode.INVALID_PARTITIONS),
        (topic(replicas=3), ErrorCode.INVALID_REPLICATION_FACTOR),
        (topic(replicas=0), ErrorCode.INVALID_REPLICATION_FACTOR),
        (topic("existing"), ErrorCode.TOPIC_ALREADY_EXISTS),
        (topic(partitions=100), ErrorCode.POLICY_VIOLATION),
        (
            CreatableTopic(
                name="orders",
                num_partitions=1,
                replication_factor=1,
                configs=[CreatableTopicConfig(name="retention.ms", value="soon")],
            ),
            ErrorCode.INVALID_CONFIG,
        ),
        (
            CreatableTopic(
                name="orders",
                num_partitions=1,
                replication_factor=1,
                configs=[CreatableTopicConfig(name="retention.ms", value=None)],
            ),
            ErrorCode.INVALID_CONFIG,
        ),
        (
            CreatableTopic(
                name="orders",
                num_partitions=-1,
                replication_factor=-1,
                assignments=[CreatableReplicaAssignment(partition_index=0, broker_ids=[9])],
            ),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            CreatableTopic(
                name="orders",
                num_partitions=-1,
                replication_factor=-1,
                assignments=[CreatableReplicaAssignment(partition_index=1, broker_ids=[1])],
            ),
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
        ),
        (
            CreatableTopic(
                name="orders",
                num_partitions=1,
                replication_factor=-1,
                assignments=[CreatableReplicaAssignment(partition_index=0, broker_ids=[1])],
            ),
            ErrorCode.INVALID_REQUEST,
        ),
    ],
)
async def test_what_cannot_be_created_is_refused_with_a_reason(
    tmp_path: Path, wanted: CreatableTopic, code: ErrorCode
) -> None:
    async with running(tmp_path, BrokerConfig(data=tmp_path, partitions_max=50)) as broker:
        await broker.create("existing")
        result = await create(broker, wanted)
        assert result.error_code == code
        assert result.error_message
        assert [found.name for found in broker.services.topics] == ["existing"]


async def test_an_assignment_to_this_broker_is_accepted(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        wanted = CreatableTopic(
            name="orders",
            num_partitions=-1,
            replication_factor=-1,
            assignments=[
                CreatableReplicaAssignment(partition_index=index, broker_ids=[1])
                for index in (1, 0)
            ],
        )
        assert (await create(broker, wanted)).num_partitions == 2


async def test_a_topic_named_twice_in_a_request_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        request = CreateTopicsRequest(topics=[topic(), topic(), topic("other")])
        results = {item.name: item.error_code for item in (await broker.ask(request)).topics}
        assert results == {"orders": ErrorCode.INVALID_REQUEST, "other": 0}


async def test_asking_for_an_unknown_topic_creates_it_if_both_sides_allow_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        unknown = (await metadata(broker, "orders")).topics[0]
        assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        created = (await metadata(broker, "orders", create=True)).topics[0]
        assert (created.error_code, len(created.partitions)) == (0, 1)
        assert await broker.produce("orders", b"a") == 0
        bad = (await metadata(broker, "a/b", create=True)).topics[0]
        assert bad.error_code == ErrorCode.INVALID_TOPIC_EXCEPTION
        internal = (await metadata(broker, "__consumer_offsets", create=True)).topics[0]
        assert internal.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    config = BrokerConfig(data=tmp_path, auto_create_topics=False)
    async with running(tmp_path, config) as broker:
        refused = (await metadata(broker, "another", create=True)).topics[0]
        assert refused.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_all_topics_are_asked_for_by_null_and_in_version_0_by_an_empty_list(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("b")
        await broker.create("a")
        every = await broker.ask(MetadataRequest(topics=None))
        assert [item.name for item in every.topics] == ["a", "b"]
        assert [item.name for item in (await metadata(broker, version=0)).topics] == ["a", "b"]
        assert (await metadata(broker)).topics == []


@pytest.mark.parametrize("version", range(13))
async def test_the_one_broker_is_where_the_client_reached_it(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as broker:
        response = await metadata(broker, version=version)
        assert [(item.node_id, item.host, item.port) for item in response.brokers] == [
            (1, "192.0.2.2", 9092)
        ]
    config = BrokerConfig(data=tmp_path, advertise=("broker.example", 19092))
    async with running(tmp_path, config) as broker:
        response = await metadata(broker, version=version)
        assert (response.brokers[0].host, response.brokers[0].port) == ("broker.example", 19092)


async def test_a_topic_is_found_by_its_id(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        topic_id = (await create(broker, topic())).topic_id
        request = MetadataRequest(
            topics=[
                MetadataRequestTopic(name=None, topic_id=topic_id),
                MetadataRequestTopic(name=None, topic_id=uuid4()),
            ]
        )
        found, unknown = (await broker.ask(request, 12)).topics
        assert found.name == "orders"
        assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_ID


async def test_a_deleted_topic_is_gone_with_its_records_and_offsets(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"old")
        before = broker.services.topics.get("orders")
        results = (await broker.ask(DeleteTopicsRequest(topic_names=["orders"]), 5)).responses
        assert results[0].error_code == 0
        assert broker.groups.forgotten == ["orders"]
        unknown = (await metadata(broker, "orders")).topics[0]
        assert unknown.error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        await broker.create("orders")
        after = broker.services.topics.get("orders")
        assert before is not None
        assert after is not None
        assert before.topic_id != after.topic_id
        assert broker.log("orders").log_end_offset == 0


async def test_topics_are_deleted_by_name_or_id_and_errors_are_told(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        topic_id = (await create(broker, topic())).topic_id
        request = DeleteTopicsRequest(
            topics=[
                DeleteTopicState(name=None, topic_id=topic_id),
                DeleteTopicState(name="nothing"),
                DeleteTopicState(name=None, topic_id=UUID(int=99)),
                DeleteTopicState(name=None),
            ]
        )
        codes = [item.error_code for item in (await broker.ask(request, 6)).responses]
        assert codes == [
            0,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.UNKNOWN_TOPIC_ID,
            ErrorCode.INVALID_REQUEST,
        ]


async def test_partitions_are_added_and_never_taken_away(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        await broker.produce("orders", b"kept")

        async def grow(
            name: str, count: int, *, validate_only: bool = False, assigned: int = 0
        ) -> int:
            item = CreatePartitionsTopic(name=name, count=count, assignments=None)
            if assigned:
                item.assignments = [CreatePartitionsAssignment(broker_ids=[1])] * assigned
            request = CreatePartitionsRequest(topics=[item], validate_only=validate_only)
            return (await broker.ask(request)).results[0].error_code

        assert await grow("orders", 4, validate_only=True) == 0
        assert len((await metadata(broker, "orders")).topics[0].partitions) == 2
        assert await grow("orders", 4, assigned=1) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
        assert await grow("orders", 4, assigned=2) == 0
        assert await broker.produce("orders", b"new", partition=3) == 0
        assert broker.log("orders").log_end_offset == 1
        assert await grow("orders", 4) == ErrorCode.INVALID_PARTITIONS
        assert await grow("orders", 1) == ErrorCode.INVALID_PARTITIONS
        assert await grow("nothing", 4) == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


async def test_topics_and_records_are_there_after_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2, retention_ms="1234567")
        await broker.produce("orders", b"kept", partition=1)
    async with running(tmp_path) as broker:
        found = broker.services.topics.get("orders")
        assert found is not None
        assert dict(found.configs) == {"retention.ms": "1234567"}
        assert broker.log("orders", 1).log_end_offset == 1


async def test_a_deletion_that_a_crash_interrupted_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"old")
        found = broker.services.topics.get("orders")
        assert found is not None
        store = broker.services.topic_admin._store
        await store.create(f"{DELETIONS}/{found.topic_id}", b"orders")
    async with running(tmp_path) as broker:
        assert len(broker.services.topics) == 0
        assert broker.services.logs.get("orders", 0) is None
        assert await broker.services.topic_admin._store.children(DELETIONS) == []
        await broker.create("orders")
        assert await broker.produce("orders", b"new") == 0


async def test_a_creation_that_a_crash_interrupted_is_finished_at_the_next_start(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.services.topics.create("orders", 2, {})
    async with running(tmp_path) as broker:
        assert await broker.produce("orders", b"a", partition=1) == 0


async def test_directories_that_no_topic_claims_are_kept_aside_and_not_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        await broker.produce("orders", b"precious")
        await broker.services.topics.delete("orders")
    async with running(tmp_path) as broker:
        assert broker.services.logs.get("orders", 0) is None
        assert "a topic that does not exist" in caplog.text
    kept = [path for path in listed(tmp_path) if path.name.endswith("-stray")]
    assert len(kept) == 1
    assert b"precious" in (kept[0] / "00000000000000000000.log").read_bytes()
