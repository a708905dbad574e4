"""Administration of consumer groups: list, describe, delete; their offsets."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress
from typing import TYPE_CHECKING

from streamlog.client.admin.values import GroupDescription, GroupListing, MemberDescription
from streamlog.client.cluster.coordinators import call_coordinator, find_coordinator
from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.client.membership.messages import (
    PROTOCOL_TYPE,
    decode_assignment,
    decode_subscription,
)
from streamlog.wire.errors import DecodeError
from streamlog.wire.messages.delete_groups import DeleteGroupsRequest
from streamlog.wire.messages.describe_groups import DescribeGroupsRequest
from streamlog.wire.messages.list_groups import ListGroupsRequest
from streamlog.wire.messages.offset_delete import (
    OffsetDeleteRequest,
    OffsetDeleteRequestPartition,
    OffsetDeleteRequestTopic,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from streamlog.client.assignors.assignor import MemberSubscription
    from streamlog.client.client import Client
    from streamlog.client.values import TopicPartition
    from streamlog.wire.messages.describe_groups import DescribedGroup, DescribedGroupMember


async def list_groups(client: Client) -> list[GroupListing]:
    """Returns the groups of all brokers, by name."""

    async def attempt() -> list[GroupListing]:
        await client.keeper.refresh()
        found: dict[str, GroupListing] = {}
        for node_id in sorted(client.metadata.brokers):
            response = await client.call(node_id, ListGroupsRequest())
            if response.error_code:
                raise KafkaError(response.error_code, f"groups of broker {node_id}")
            for each in response.groups:
                found[each.group_id] = GroupListing(
                    each.group_id, each.protocol_type, each.group_state
                )
        return [found[name] for name in sorted(found)]

    return await client.retrying(attempt)


async def describe_groups(client: Client, groups: Collection[str]) -> dict[str, GroupDescription]:
    """Returns groups with their members; a group that does not exist has the state "Dead"."""

    async def attempt() -> dict[str, GroupDescription]:
        by_coordinator: defaultdict[int, list[str]] = defaultdict(list)
        for group in groups:
            by_coordinator[await find_coordinator(client, group)].append(group)
        found: dict[str, GroupDescription] = {}
        for node_id, names in by_coordinator.items():
            response = await client.call(node_id, DescribeGroupsRequest(groups=names))
            for each in response.groups:
                if each.error_code not in (ErrorCode.NONE, ErrorCode.GROUP_ID_NOT_FOUND):
                    raise KafkaError(each.error_code, f"group {each.group_id!r}")
                found[each.group_id] = _description(each, node_id)
        return {group: found[group] for group in groups if group in found}

    return await client.retrying(attempt)


def _description(group: DescribedGroup, node_id: int) -> GroupDescription:
    is_consumer = group.protocol_type == PROTOCOL_TYPE
    return GroupDescription(
        group=group.group_id,
        state=group.group_state or "Dead",
        protocol_type=group.protocol_type,
        assignor=group.protocol_data,
        coordinator=node_id,
        members=tuple(_member(each, is_consumer=is_consumer) for each in group.members),
    )


def _member(member: DescribedGroupMember, *, is_consumer: bool) -> MemberDescription:
    assignment: list[TopicPartition] = []
    subscription: MemberSubscription | None = None
    if is_consumer:
        # Another client may have its own idea of either: the rest is worth showing all the same.
        with suppress(DecodeError):
            assignment = decode_assignment(member.member_assignment)
        with suppress(DecodeError):
            subscription = decode_subscription(
                member.member_id, member.group_instance_id, member.member_metadata
            )
    return MemberDescription(
        member_id=member.member_id,
        instance_id=member.group_instance_id,
        client_id=member.client_id,
        client_host=member.client_host,
        assignment=tuple(sorted(assignment)),
        subscription=subscription,
    )


async def delete_groups(client: Client, groups: Iterable[str]) -> None:
    """Deletes groups that have no members; raises for the first that failed."""
    for group in groups:

        async def attempt(group: str = group) -> None:
            request = DeleteGroupsRequest(groups_names=[group])
            for each in (await call_coordinator(client, group, request)).results:
                if each.error_code:
                    raise KafkaError(each.error_code, f"group {group!r} cannot be deleted")

        await client.retrying(attempt)


async def delete_group_offsets(
    client: Client, group: str, partitions: Iterable[TopicPartition]
) -> None:
    """Forgets committed offsets."""
    topics: dict[str, OffsetDeleteRequestTopic] = {}
    for name, number in partitions:
        topic = topics.setdefault(name, OffsetDeleteRequestTopic(name=name))
        topic.partitions.append(OffsetDeleteRequestPartition(partition_index=number))
    if not topics:
        return
    request = OffsetDeleteRequest(group_id=group, topics=list(topics.values()))

    async def attempt() -> None:
        response = await call_coordinator(client, group, request)
        if response.error_code:
            raise KafkaError(response.error_code, f"offsets of group {group!r} stay")
        for topic in response.topics:
            for each in topic.partitions:
                if each.error_code:
                    where = f"{topic.name}[{each.partition_index}]"
                    raise KafkaError(each.error_code, f"offset of {where} of group {group!r} stays")

    await client.retrying(attempt)
