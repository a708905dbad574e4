"""Administration of topics: create, delete, enlarge, describe, configure, cut."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, TypeVar

from streamlog.client.admin.values import (
    ConfigEntry,
    PartitionDescription,
    TopicDescription,
)
from streamlog.client.errors import (
    ConnectionLostError,
    ErrorCode,
    KafkaError,
    UnknownTopicError,
)
from streamlog.client.values import TopicPartition
from streamlog.wire.messages.create_partitions import (
    CreatePartitionsRequest,
    CreatePartitionsTopic,
)
from streamlog.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from streamlog.wire.messages.delete_records import (
    DeleteRecordsPartition,
    DeleteRecordsRequest,
    DeleteRecordsTopic,
)
from streamlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicState
from streamlog.wire.messages.describe_configs import (
    DescribeConfigsRequest,
    DescribeConfigsResource,
)
from streamlog.wire.messages.incremental_alter_configs import (
    AlterableConfig,
    AlterConfigsResource,
    IncrementalAlterConfigsRequest,
)
from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from streamlog.client.admin.values import NewTopic
    from streamlog.client.client import Client
    from streamlog.errors import StreamlogError
    from streamlog.wire.messages.create_topics import CreatableTopicResult
    from streamlog.wire.messages.delete_topics import DeletableTopicResult
    from streamlog.wire.messages.metadata import MetadataResponseTopic
    from streamlog.wire.schema import Request, Response

R = TypeVar("R", bound="Response")

TOPIC_RESOURCE = 2
SET, DELETE = 0, 1
"""Operations on a configuration entry."""

CONFIG_SOURCES = {
    1: "DYNAMIC_TOPIC_CONFIG",
    2: "DYNAMIC_BROKER_CONFIG",
    3: "DYNAMIC_DEFAULT_BROKER_CONFIG",
    4: "STATIC_BROKER_CONFIG",
    5: "DEFAULT_CONFIG",
}


def failure(topic: str, code: int, message: str | None, what: str) -> StreamlogError:
    """Says why something could not be done with a topic."""
    if code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
        return UnknownTopicError(topic)
    detail = f": {message.rstrip('.')}" if message else ""
    return KafkaError(code, f"topic {topic!r} cannot be {what}{detail}")


async def create_topics(
    client: Client, topics: Iterable[NewTopic], *, validate_only: bool = False
) -> None:
    """Creates topics; raises for the first that failed."""
    request = CreateTopicsRequest(
        topics=[
            CreatableTopic(
                name=each.name,
                num_partitions=each.partition_count,
                replication_factor=each.replication_factor,
                configs=[
                    CreatableTopicConfig(name=name, value=value)
                    for name, value in each.configs.items()
                ],
            )
            for each in topics
        ],
        timeout_ms=client.config.request_timeout_ms,
        validate_only=validate_only,
    )
    done = ErrorCode.TOPIC_ALREADY_EXISTS
    await _have_done(client, request, lambda response: response.topics, done, "created")


async def delete_topics(client: Client, names: Iterable[str]) -> None:
    """Deletes topics; raises for the first that failed."""
    wanted = list(names)
    request = DeleteTopicsRequest(
        topics=[DeleteTopicState(name=name) for name in wanted],
        topic_names=wanted,
        timeout_ms=client.config.request_timeout_ms,
    )
    done = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    await _have_done(client, request, lambda response: response.responses, done, "deleted")
    for name in wanted:
        client.keeper.untrack(name)
        client.metadata.topics.pop(name, None)


async def _have_done(
    client: Client,
    request: Request[R],
    results_of: Callable[[R], Sequence[CreatableTopicResult | DeletableTopicResult]],
    done: ErrorCode,
    what: str,
) -> None:
    """Has the controller do something with topics.

    Args:
        client: The client.
        request: What is asked for.
        results_of: Finds what the answer says of each topic.
        done: The error of a topic with which it was done before. It is none if an attempt's answer
            was lost: that attempt may have done it.
        what: The participle of what is asked for.
    """
    may_be_done = False

    async def attempt() -> None:
        nonlocal may_be_done
        try:
            response = await client.call_controller(request)
        except ConnectionLostError:
            may_be_done = True
            raise
        for each in results_of(response):
            if may_be_done and each.error_code == done:
                continue
            if each.error_code:
                raise failure(each.name or "", each.error_code, each.error_message, what)

    await client.retrying(attempt)


async def create_partitions(client: Client, total_counts: Mapping[str, int]) -> None:
    """Grows topics to these numbers of partitions."""
    request = CreatePartitionsRequest(
        topics=[
            CreatePartitionsTopic(name=name, count=count, assignments=None)
            for name, count in total_counts.items()
        ],
        timeout_ms=client.config.request_timeout_ms,
    )

    async def attempt() -> None:
        response = await client.call_controller(request)
        for each in response.results:
            if each.error_code:
                raise failure(each.name, each.error_code, each.error_message, "enlarged")

    await client.retrying(attempt)
    client.keeper.request()


async def describe_topics(
    client: Client, names: Collection[str] | None
) -> dict[str, TopicDescription]:
    """Returns the topics of these names (None: all); those that do not exist are missing."""
    request = MetadataRequest(
        topics=None if names is None else [MetadataRequestTopic(name=name) for name in names],
        allow_auto_topic_creation=False,
    )
    response = await client.retrying(lambda: client.call_any(request))
    described = {}
    for topic in response.topics:
        name = topic.name or ""
        if topic.partitions:
            described[name] = _description(name, topic)
        elif topic.error_code not in (
            ErrorCode.NONE,
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
            ErrorCode.LEADER_NOT_AVAILABLE,
        ):
            raise failure(name, topic.error_code, None, "described")
    return described


def _description(name: str, topic: MetadataResponseTopic) -> TopicDescription:
    return TopicDescription(
        name=name,
        topic_id=str(topic.topic_id),
        internal=topic.is_internal,
        partitions=tuple(
            PartitionDescription(
                partition=each.partition_index,
                leader=each.leader_id,
                replicas=tuple(each.replica_nodes),
                in_sync=tuple(each.isr_nodes),
            )
            for each in sorted(topic.partitions, key=lambda each: each.partition_index)
        ),
    )


async def describe_configs(client: Client, topic: str) -> list[ConfigEntry]:
    """Returns a topic's configuration."""
    request = DescribeConfigsRequest(
        resources=[
            DescribeConfigsResource(
                resource_type=TOPIC_RESOURCE, resource_name=topic, configuration_keys=None
            )
        ]
    )

    async def attempt() -> list[ConfigEntry]:
        (result,) = (await client.call_any(request)).results
        if result.error_code:
            raise failure(topic, result.error_code, result.error_message, "described")
        return [
            ConfigEntry(
                name=each.name,
                value=each.value,
                source=CONFIG_SOURCES.get(each.config_source, "UNKNOWN"),
                read_only=each.read_only,
                sensitive=each.is_sensitive,
            )
            for each in result.configs
        ]

    return await client.retrying(attempt)


async def alter_configs(client: Client, topic: str, changes: Mapping[str, str | None]) -> None:
    """Sets a topic's configuration entries; None puts one back to its default."""
    request = IncrementalAlterConfigsRequest(
        resources=[
            AlterConfigsResource(
                resource_type=TOPIC_RESOURCE,
                resource_name=topic,
                configs=[
                    AlterableConfig(
                        name=name,
                        config_operation=DELETE if value is None else SET,
                        value=value,
                    )
                    for name, value in changes.items()
                ],
            )
        ]
    )

    async def attempt() -> None:
        (result,) = (await client.call_controller(request)).responses
        if result.error_code:
            raise failure(topic, result.error_code, result.error_message, "configured")

    await client.retrying(attempt)


async def delete_records(
    client: Client, before: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Deletes records below offsets (-1: all); returns the new first offsets."""
    done: dict[TopicPartition, int] = {}

    async def attempt() -> None:
        by_leader: defaultdict[int, list[TopicPartition]] = defaultdict(list)
        for partition in before.keys() - done.keys():
            by_leader[(await client.leader(partition)).leader].append(partition)
        for leader, partitions in by_leader.items():
            topics: dict[str, DeleteRecordsTopic] = {}
            for name, number in sorted(partitions):
                topic = topics.setdefault(name, DeleteRecordsTopic(name=name))
                offset = before[TopicPartition(name, number)]
                topic.partitions.append(
                    DeleteRecordsPartition(partition_index=number, offset=offset)
                )
            response = await client.call(
                leader,
                DeleteRecordsRequest(
                    topics=list(topics.values()), timeout_ms=client.config.request_timeout_ms
                ),
            )
            for answer in response.topics:
                for each in answer.partitions:
                    partition = TopicPartition(answer.name, each.partition_index)
                    if each.error_code:
                        raise KafkaError(each.error_code, f"records of {partition} stay")
                    done[partition] = each.low_watermark

    await client.retrying(attempt)
    return done
