"""OffsetCommit, OffsetFetch and OffsetDelete: from requests to offsets and back.

Nothing here waits or stores. A commit and a deletion are planned: the plan holds the answer as it
will be once the change is durable, and the change. A fetch is answered from memory, where only what
is durable can be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.broker.groups.offsets import CommittedOffset, Offsets, TopicPartition
from streamlog.broker.groups.snapshots import CONSUMER
from streamlog.broker.groups.states import GroupState
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitResponse,
    OffsetCommitResponsePartition,
    OffsetCommitResponseTopic,
)
from streamlog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteResponse,
    OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic,
)
from streamlog.wire.messages.offset_fetch import (
    OffsetFetchRequest,
    OffsetFetchRequestTopic,
    OffsetFetchRequestTopics,
    OffsetFetchResponse,
    OffsetFetchResponseGroup,
    OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.broker.coordination.topics import TopicLookup
    from streamlog.broker.groups.config import GroupConfig
    from streamlog.broker.groups.coordinator import Coordinated, Coordinator

_GROUPS_FROM = 8
_GROUP_ERROR_FROM = 2
_NOTHING = CommittedOffset(offset=-1, committed_at_ms=0)


@dataclass(slots=True)
class CommitPlan:
    """What a commit stores, and its answer."""

    response: OffsetCommitResponse
    entry: Coordinated | None = None
    """The group that it is for, if it may commit."""
    offsets: dict[TopicPartition, CommittedOffset] = field(default_factory=dict)

    def fail(self, error: ErrorCode) -> None:
        """Turns the answer into that of a commit that could not be stored."""
        for topic in self.response.topics:
            for partition in topic.partitions:
                if (topic.name, partition.partition_index) in self.offsets:
                    partition.error_code = error


@dataclass(slots=True)
class DeletionPlan:
    """What is to be forgotten, and the answer."""

    response: OffsetDeleteResponse
    partitions: list[TopicPartition] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Now, by both clocks."""

    monotonic_ms: int
    wall_ms: int


def plan_commit(
    request: OffsetCommitRequest,
    coordinator: Coordinator,
    topics: TopicLookup,
    config: GroupConfig,
    now: Moment,
) -> CommitPlan:
    """Decides which of a request's offsets may be committed."""
    refusal = _commit_refusal(request, coordinator, now)
    expires_at_ms = None
    if request.retention_time_ms >= 0:
        expires_at_ms = now.wall_ms + request.retention_time_ms
    entry = None if refusal else coordinator.get(request.group_id)
    plan = CommitPlan(OffsetCommitResponse(), entry)
    for topic in request.topics:
        answered = OffsetCommitResponseTopic(name=topic.name)
        plan.response.topics.append(answered)
        for each in topic.partitions:
            error = _partition_refusal(topic.name, each, topics, config) or refusal
            answered.partitions.append(
                OffsetCommitResponsePartition(
                    partition_index=each.partition_index, error_code=error
                )
            )
            if not error:
                plan.offsets[topic.name, each.partition_index] = CommittedOffset(
                    offset=each.committed_offset,
                    leader_epoch=each.committed_leader_epoch,
                    metadata=each.committed_metadata or "",
                    committed_at_ms=now.wall_ms,
                    expires_at_ms=expires_at_ms,
                )
    return plan


def _commit_refusal(
    request: OffsetCommitRequest, coordinator: Coordinator, now: Moment
) -> ErrorCode:
    error = coordinator.error_for(request.group_id, may_be_empty=True)
    if error:
        return error
    generation = request.generation_id_or_member_epoch
    entry = coordinator.get(request.group_id)
    if entry is None:
        if generation >= 0:
            return ErrorCode.ILLEGAL_GENERATION
        # Whoever assigns partitions by hand needs no group before the first commit.
        created = coordinator.get_or_create(request.group_id, now.monotonic_ms)
        return ErrorCode.NONE if created is not None else ErrorCode.POLICY_VIOLATION
    return entry.group.check_commit(
        request.member_id, request.group_instance_id, generation, now.monotonic_ms
    )


def _partition_refusal(
    topic: str, partition: OffsetCommitRequestPartition, topics: TopicLookup, config: GroupConfig
) -> ErrorCode:
    if not _exists(topic, partition.partition_index, topics):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if len(partition.committed_metadata or "") > config.offset_metadata_bytes_max:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def answer_fetch(
    request: OffsetFetchRequest, version: int, coordinator: Coordinator
) -> OffsetFetchResponse:
    """Answers with what is committed; membership does not matter, and nothing is no error."""
    stable = request.require_stable
    if version >= _GROUPS_FROM:
        groups = [
            _fetch_group(each.group_id, _wanted(each.topics), coordinator, require_stable=stable)
            for each in request.groups
        ]
        return OffsetFetchResponse(groups=groups)
    wanted = _wanted(request.topics)
    group = _fetch_group(request.group_id, wanted, coordinator, require_stable=stable)
    if group.error_code and version < _GROUP_ERROR_FROM:
        group = _failed_by_partition(group.group_id, wanted or {}, group.error_code)
    return OffsetFetchResponse(
        error_code=group.error_code,
        topics=[
            OffsetFetchResponseTopic(
                name=topic.name,
                partitions=[
                    OffsetFetchResponsePartition(
                        partition_index=each.partition_index,
                        committed_offset=each.committed_offset,
                        committed_leader_epoch=each.committed_leader_epoch,
                        metadata=each.metadata,
                        error_code=each.error_code,
                    )
                    for each in topic.partitions
                ],
            )
            for topic in group.topics
        ],
    )


def _wanted(
    topics: Sequence[OffsetFetchRequestTopic | OffsetFetchRequestTopics] | None,
) -> dict[str, list[int]] | None:
    if topics is None:
        return None
    wanted: dict[str, list[int]] = {}
    for topic in topics:
        wanted.setdefault(topic.name, []).extend(topic.partition_indexes)
    return wanted


def _fetch_group(
    group_id: str,
    wanted: dict[str, list[int]] | None,
    coordinator: Coordinator,
    *,
    require_stable: bool,
) -> OffsetFetchResponseGroup:
    error = coordinator.error_for(group_id, may_be_empty=True)
    if error and error is not ErrorCode.INVALID_GROUP_ID:
        return OffsetFetchResponseGroup(group_id=group_id, error_code=error)
    entry = coordinator.get(group_id)
    offsets = entry.offsets if entry is not None else Offsets()
    if wanted is None:
        wanted = {}
        for topic, partition in offsets:
            wanted.setdefault(topic, []).append(partition)
    return OffsetFetchResponseGroup(
        group_id=group_id,
        topics=[
            OffsetFetchResponseTopics(
                name=topic,
                partitions=[
                    _fetched((topic, index), offsets, require_stable=require_stable)
                    for index in indexes
                ],
            )
            for topic, indexes in wanted.items()
        ],
    )


def _fetched(
    partition: TopicPartition, offsets: Offsets, *, require_stable: bool
) -> OffsetFetchResponsePartitions:
    unstable = require_stable and offsets.is_unstable(partition)
    found = None if unstable else offsets.get(partition)
    found = found or _NOTHING
    return OffsetFetchResponsePartitions(
        partition_index=partition[1],
        committed_offset=found.offset,
        committed_leader_epoch=found.leader_epoch,
        metadata=found.metadata,
        error_code=ErrorCode.UNSTABLE_OFFSET_COMMIT if unstable else ErrorCode.NONE,
    )


def _failed_by_partition(
    group_id: str, wanted: Mapping[str, list[int]], error: int
) -> OffsetFetchResponseGroup:
    """Version 1 has no error of the whole: each partition carries it."""
    return OffsetFetchResponseGroup(
        group_id=group_id,
        topics=[
            OffsetFetchResponseTopics(
                name=topic,
                partitions=[
                    OffsetFetchResponsePartitions(
                        partition_index=index, committed_offset=-1, error_code=error
                    )
                    for index in indexes
                ],
            )
            for topic, indexes in wanted.items()
        ],
    )


def plan_deletion(
    request: OffsetDeleteRequest, coordinator: Coordinator, topics: TopicLookup
) -> DeletionPlan:
    """Decides which offsets may be forgotten: none that a member may be using."""
    error = coordinator.error_for(request.group_id)
    entry = coordinator.get(request.group_id)
    if not error and entry is None:
        error = ErrorCode.GROUP_ID_NOT_FOUND
    if error or entry is None:
        return DeletionPlan(OffsetDeleteResponse(error_code=error))
    in_use = entry.group.state is not GroupState.EMPTY
    if in_use and entry.group.protocol_type != CONSUMER:
        return DeletionPlan(OffsetDeleteResponse(error_code=ErrorCode.NON_EMPTY_GROUP))
    plan = DeletionPlan(OffsetDeleteResponse())
    for topic in request.topics:
        answered = OffsetDeleteResponseTopic(name=topic.name)
        plan.response.topics.append(answered)
        for each in topic.partitions:
            error = ErrorCode.NONE
            if not _exists(topic.name, each.partition_index, topics):
                error = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            elif in_use and entry.group.subscribes_to(topic.name):
                error = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
            else:
                plan.partitions.append((topic.name, each.partition_index))
            answered.partitions.append(
                OffsetDeleteResponsePartition(
                    partition_index=each.partition_index, error_code=error
                )
            )
    return plan


def _exists(topic: str, partition: int, topics: TopicLookup) -> bool:
    count = topics.partition_count(topic)
    return count is not None and 0 <= partition < count
