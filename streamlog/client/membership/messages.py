"""Between the membership machine's values and the messages of Kafka's group protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.assignors.assignor import MemberSubscription
from streamlog.client.membership.actions import Joined
from streamlog.client.values import TopicPartition
from streamlog.wire import consumer_protocol as wire
from streamlog.wire.messages.heartbeat import HeartbeatRequest
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from streamlog.wire.messages.leave_group import LeaveGroupRequest, MemberIdentity
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupRequestAssignment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streamlog.client.config import GroupConfig
    from streamlog.client.membership.actions import Join, Sync
    from streamlog.wire.messages.join_group import JoinGroupResponse, JoinGroupResponseMember

PROTOCOL_TYPE = "consumer"


def join_request(config: GroupConfig, join: Join) -> JoinGroupRequest:
    """Writes a JoinGroup."""
    return JoinGroupRequest(
        group_id=config.group,
        session_timeout_ms=config.session_timeout_ms,
        rebalance_timeout_ms=config.rebalance_timeout_ms,
        member_id=join.member_id,
        group_instance_id=config.instance_id,
        protocol_type=PROTOCOL_TYPE,
        protocols=[
            JoinGroupRequestProtocol(name=name, metadata=encode_subscription(subscription))
            for name, subscription in join.subscriptions
        ],
    )


def joined(response: JoinGroupResponse) -> Joined:
    """Reads a JoinGroup response that is not an error."""
    return Joined(
        member_id=response.member_id,
        generation=response.generation_id,
        assignor=response.protocol_name or "",
        leader=response.leader,
        members=tuple(_member(each) for each in response.members),
        skip_assignment=response.skip_assignment,
    )


def sync_request(config: GroupConfig, sync: Sync) -> SyncGroupRequest:
    """Writes a SyncGroup."""
    return SyncGroupRequest(
        group_id=config.group,
        generation_id=sync.generation,
        member_id=sync.member_id,
        group_instance_id=config.instance_id,
        protocol_type=PROTOCOL_TYPE,
        protocol_name=sync.assignor,
        assignments=[
            SyncGroupRequestAssignment(member_id=member_id, assignment=encode_assignment(given))
            for member_id, given in sync.assignment.items()
        ],
    )


def heartbeat_request(config: GroupConfig, member_id: str, generation: int) -> HeartbeatRequest:
    """Writes a Heartbeat."""
    return HeartbeatRequest(
        group_id=config.group,
        generation_id=generation,
        member_id=member_id,
        group_instance_id=config.instance_id,
    )


def leave_request(config: GroupConfig, member_id: str) -> LeaveGroupRequest:
    """Writes a LeaveGroup, in the layouts of all versions."""
    return LeaveGroupRequest(
        group_id=config.group,
        member_id=member_id,
        members=[
            MemberIdentity(
                member_id=member_id,
                group_instance_id=config.instance_id,
                reason="the member was closed",
            )
        ],
    )


def encode_subscription(subscription: MemberSubscription) -> bytes:
    """Writes what a member wants and owns."""
    return wire.encode_subscription(
        wire.ConsumerProtocolSubscription(
            topics=list(subscription.topics),
            user_data=subscription.user_data,
            owned_partitions=_by_topic(subscription.owned),
            generation_id=subscription.generation,
        )
    )


def decode_subscription(
    member_id: str, instance_id: str | None, metadata: bytes | memoryview
) -> MemberSubscription:
    """Reads what a member wants and owns."""
    subscription = wire.decode_subscription(metadata)
    return MemberSubscription(
        member_id=member_id,
        topics=tuple(subscription.topics),
        instance_id=instance_id,
        owned=tuple(_partitions(subscription.owned_partitions)),
        generation=subscription.generation_id,
        user_data=None if subscription.user_data is None else bytes(subscription.user_data),
    )


def encode_assignment(partitions: Sequence[TopicPartition]) -> bytes:
    """Writes what the leader gives a member."""
    return wire.encode_assignment(
        wire.ConsumerProtocolAssignment(assigned_partitions=_by_topic(partitions))
    )


def decode_assignment(data: bytes | memoryview) -> list[TopicPartition]:
    """Reads what the leader gives a member."""
    return _partitions(wire.decode_assignment(data).assigned_partitions)


def _member(member: JoinGroupResponseMember) -> MemberSubscription:
    return decode_subscription(member.member_id, member.group_instance_id, member.metadata)


def _by_topic(partitions: Iterable[TopicPartition]) -> list[wire.TopicPartition]:
    topics: dict[str, list[int]] = {}
    for partition in partitions:
        topics.setdefault(partition.topic, []).append(partition.partition)
    return [wire.TopicPartition(topic=name, partitions=each) for name, each in topics.items()]


def _partitions(topics: Iterable[wire.TopicPartition]) -> list[TopicPartition]:
    return [TopicPartition(each.topic, number) for each in topics for number in each.partitions]


def counts_changed(known: Mapping[str, int], now: Mapping[str, int]) -> bool:
    """Says whether topics have come or grown since an assignment was made."""
    return any(count != known.get(topic) for topic, count in now.items())
