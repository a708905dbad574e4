"""Finds the brokers that coordinate groups, and the committed offsets that they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio

from streamlog.client.errors import ErrorCode, KafkaError, UnknownTopicError
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.wire.messages.find_coordinator import FindCoordinatorRequest
from streamlog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from streamlog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestGroup,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.wire.messages.offset_fetch import OffsetFetchResponse
    from streamlog.wire.schema import Request, Response

    Partitions = Iterable[TopicPartition]

R = TypeVar("R", bound="Response")

GROUP_KEY = 0
MOVED = frozenset({ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE})


async def find_coordinator(client: Client, group: str) -> int:
    """Returns the node that coordinates a group now; raises a retriable error if none does."""
    # Version 4 asks for several at once; the fields that a version does not have are not sent.
    request = FindCoordinatorRequest(key=group, key_type=GROUP_KEY, coordinator_keys=[group])
    response = await client.call_any(request)
    code, node_id = response.error_code, response.node_id
    for each in response.coordinators:
        code, node_id = each.error_code, each.node_id
    if code != ErrorCode.NONE:
        raise KafkaError(code, f"no coordinator of group {group!r}")
    if node_id not in client.metadata.brokers:
        await client.keeper.refresh()
    return node_id


async def commit_offsets(
    client: Client,
    group: str,
    offsets: Mapping[TopicPartition, OffsetAndMetadata],
    *,
    generation: int = -1,
    member_id: str = "",
    instance_id: str | None = None,
    node_id: int | None = None,
    purpose: str | None = None,
) -> dict[TopicPartition, ErrorCode]:
    """Sends one OffsetCommit; returns the partitions' errors, NONE included.

    Raises:
        ConnectionLostError: nobody knows whether it was done; it may be repeated.
    """
    topics: dict[str, OffsetCommitRequestTopic] = {}
    for partition, committed in offsets.items():
        topic = topics.setdefault(partition.topic, OffsetCommitRequestTopic(name=partition.topic))
        topic.partitions.append(
            OffsetCommitRequestPartition(
                partition_index=partition.partition,
                committed_offset=committed.offset,
                committed_leader_epoch=committed.leader_epoch,
                committed_metadata=committed.metadata,
            )
        )
    request = OffsetCommitRequest(
        group_id=group,
        generation_id_or_member_epoch=generation,
        member_id=member_id,
        group_instance_id=instance_id,
        topics=list(topics.values()),
    )
    node = await find_coordinator(client, group) if node_id is None else node_id
    response = await client.call(node, request, purpose=purpose)
    return {
        TopicPartition(topic_answer.name, answer.partition_index): ErrorCode(answer.error_code)
        for topic_answer in response.topics
        for answer in topic_answer.partitions
    }


async def commit_without_members(
    client: Client, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]
) -> None:
    """Commits for a group that has no members now.

    Raises:
        KafkaError: it has members, or the coordinator refuses.
        UnknownTopicError: a topic or partition does not exist.
    """
    missing_at = trio.current_time() + client.config.unknown_topic_patience_ms / 1000

    async def attempt() -> None:
        for partition, code in (await commit_offsets(client, group, offsets)).items():
            if code is ErrorCode.UNKNOWN_MEMBER_ID:
                raise KafkaError(
                    ErrorCode.NON_EMPTY_GROUP,
                    f"offsets of group {group!r} cannot be set",
                    hint="Stop its members first",
                )
            if code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION and trio.current_time() >= missing_at:
                raise UnknownTopicError(*partition)
            if code is not ErrorCode.NONE:
                raise KafkaError(code, f"offset of {partition} for group {group!r}")

    if offsets:
        await client.retrying(attempt)


async def fetch_offsets(
    client: Client, group: str, partitions: Partitions | None
) -> dict[TopicPartition, OffsetAndMetadata]:
    """Returns a group's committed offsets of these partitions (None: of all), where there are."""
    asked = None if partitions is None else list(partitions)

    async def attempt() -> dict[TopicPartition, OffsetAndMetadata]:
        node = await find_coordinator(client, group)
        response = await client.call(node, _fetch_request(group, asked))
        return _fetched(group, response)

    return await client.retrying(attempt)


def _fetch_request(group: str, partitions: list[TopicPartition] | None) -> OffsetFetchRequest:
    """Fills both layouts, of versions before 8 and since."""
    by_topic: dict[str, list[int]] | None = None if partitions is None else {}
    if by_topic is not None:
        for partition in partitions or ():
            by_topic.setdefault(partition.topic, []).append(partition.partition)
    old = new = None
    if by_topic is not None:
        old = [
            OffsetFetchRequestTopic(name=topic, partition_indexes=numbers)
            for topic, numbers in by_topic.items()
        ]
        new = [
            OffsetFetchRequestTopics(name=topic, partition_indexes=numbers)
            for topic, numbers in by_topic.items()
        ]
    return OffsetFetchRequest(
        group_id=group,
        topics=old,
        groups=[OffsetFetchRequestGroup(group_id=group, topics=new)],
        require_stable=True,
    )


def _fetched(group: str, response: OffsetFetchResponse) -> dict[TopicPartition, OffsetAndMetadata]:
    answers = [(topic.name, each) for topic in response.topics for each in topic.partitions]
    newer = [
        (topic.name, each)
        for answer in response.groups
        for topic in answer.topics
        for each in topic.partitions
    ]
    codes = [
        response.error_code,
        *(answer.error_code for answer in response.groups),
        *(each.error_code for _, each in answers),
        *(each.error_code for _, each in newer),
    ]
    for code in codes:
        if code != ErrorCode.NONE:
            raise KafkaError(code, f"offsets of group {group!r}")
    values = [
        *(
            (name, a.partition_index, a.committed_offset, a.metadata, a.committed_leader_epoch)
            for name, a in answers
        ),
        *(
            (name, a.partition_index, a.committed_offset, a.metadata, a.committed_leader_epoch)
            for name, a in newer
        ),
    ]
    return {
        TopicPartition(name, index): OffsetAndMetadata(offset, metadata or "", epoch)
        for name, index, offset, metadata, epoch in values
        if offset >= 0
    }


async def call_coordinator(client: Client, group: str, request: Request[R]) -> R:
    """Sends a request to a group's coordinator."""
    return await client.call(await find_coordinator(client, group), request)
