"""From a group to its stored form and back, and what its members subscribe to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.groups.decision import GroupSnapshot, MemberSnapshot
from streamlog.broker.groups.roster import Member, Roster
from streamlog.wire.consumer_protocol import decode_subscription
from streamlog.wire.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Mapping

CONSUMER = "consumer"
"""The protocol type whose metadata are subscriptions; of all others nothing is known."""


def snapshot_of(
    roster: Roster, generation: int, since_ms: int, assignments: Mapping[str, bytes]
) -> GroupSnapshot:
    """Returns a group as it will be with these assignments; others keep what they have."""
    return GroupSnapshot(
        generation=generation,
        protocol_type=roster.protocol_type,
        protocol_name=roster.protocol_name,
        leader_id=roster.leader_id,
        members=[
            MemberSnapshot(
                member_id=member.member_id,
                instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.client_host,
                session_timeout_ms=member.session_timeout_ms,
                rebalance_timeout_ms=member.rebalance_timeout_ms,
                protocols=list(member.protocols.items()),
                assignment=assignments.get(member.member_id, member.assignment),
            )
            for member in roster
        ],
        since_ms=since_ms,
    )


def restore_members(roster: Roster, snapshot: GroupSnapshot) -> None:
    """Fills an empty roster with the members of a snapshot."""
    for stored in snapshot.members:
        member = Member(
            member_id=stored.member_id,
            instance_id=stored.instance_id,
            client_id=stored.client_id,
            client_host=stored.client_host,
            session_timeout_ms=stored.session_timeout_ms,
            rebalance_timeout_ms=stored.rebalance_timeout_ms,
            protocols=dict(stored.protocols),
            assignment=stored.assignment,
            is_new=False,
        )
        roster.add(member, snapshot.protocol_type or "")
    roster.protocol_type = snapshot.protocol_type
    roster.protocol_name = snapshot.protocol_name
    if snapshot.leader_id is not None and snapshot.leader_id in roster:
        roster.leader_id = snapshot.leader_id


def subscribed_topics(roster: Roster) -> frozenset[str] | None:
    """Returns the topics that members read, or None if that cannot be known."""
    if roster.protocol_type != CONSUMER:
        return None
    topics: set[str] = set()
    for member in roster:
        try:
            topics.update(decode_subscription(member.protocols[roster.protocol_name or ""]).topics)
        except (DecodeError, KeyError):
            return None  # metadata is the members' own business, nobody is to fail over it
    return frozenset(topics)
