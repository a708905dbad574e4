"""Between messages and the machine: what a join says, and how answers are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.groups.roster import Member, Roster
from streamlog.wire.messages.join_group import JoinGroupResponse, JoinGroupResponseMember
from streamlog.wire.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberResponse,
)
from streamlog.wire.messages.sync_group import SyncGroupResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.groups.decision import Caller
    from streamlog.wire.error_codes import ErrorCode
    from streamlog.wire.messages.join_group import JoinGroupRequest

_LEAVES_IN_BATCHES_FROM = 3


def new_member(request: JoinGroupRequest, caller: Caller, member_id: str) -> Member:
    """Returns the member that a JoinGroup request describes."""
    return Member(
        member_id=member_id,
        instance_id=request.group_instance_id,
        client_id=caller.client_id,
        client_host=caller.client_host,
        session_timeout_ms=request.session_timeout_ms,
        rebalance_timeout_ms=rebalance_timeout_of(request, caller.version),
        protocols=protocols_of(request),
    )


def protocols_of(request: JoinGroupRequest) -> dict[str, bytes]:
    """Returns what a member supports, in its order; of a name given twice the first counts."""
    protocols: dict[str, bytes] = {}
    for protocol in request.protocols:
        protocols.setdefault(protocol.name, bytes(protocol.metadata))
    return protocols


def rebalance_timeout_of(request: JoinGroupRequest, version: int) -> int:
    """Returns how long a member may take to rejoin; version 0 had the session timeout for it."""
    return max(request.rebalance_timeout_ms, 0) if version >= 1 else request.session_timeout_ms


def joined(
    roster: Roster, generation: int, member: Member, *, with_members: bool
) -> JoinGroupResponse:
    """Tells a member of the current generation, and all members if it is to assign."""
    protocol_name = roster.protocol_name
    assert protocol_name is not None
    members = [
        JoinGroupResponseMember(
            member_id=each.member_id,
            group_instance_id=each.instance_id,
            metadata=each.protocols[protocol_name],
        )
        for each in (roster if with_members else ())
    ]
    return JoinGroupResponse(
        generation_id=generation,
        protocol_type=roster.protocol_type,
        protocol_name=protocol_name,
        leader=roster.leader_id or "",
        member_id=member.member_id,
        members=members,
    )


def synced(roster: Roster, member: Member) -> SyncGroupResponse:
    """Gives a member its assignment."""
    return SyncGroupResponse(
        protocol_type=roster.protocol_type,
        protocol_name=roster.protocol_name,
        assignment=member.assignment,
    )


def left(
    request: LeaveGroupRequest, version: int, leave: Callable[[str, str | None], ErrorCode]
) -> LeaveGroupResponse:
    """Lets members leave one by one; up to version 2 the one member's error is the request's."""
    if version < _LEAVES_IN_BATCHES_FROM:
        return LeaveGroupResponse(error_code=leave(request.member_id, None))
    return LeaveGroupResponse(
        members=[
            MemberResponse(
                member_id=each.member_id,
                group_instance_id=each.group_instance_id,
                error_code=leave(each.member_id, each.group_instance_id),
            )
            for each in request.members
        ]
    )
