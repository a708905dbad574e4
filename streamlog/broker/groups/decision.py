"""What a group's machine takes and gives: who asks, what is answered, what is to be stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import msgspec

from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

GroupRequest: TypeAlias = JoinGroupRequest | SyncGroupRequest | HeartbeatRequest | LeaveGroupRequest
GroupResponse: TypeAlias = (
    JoinGroupResponse | SyncGroupResponse | HeartbeatResponse | LeaveGroupResponse
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request, in which version, and by which number the answer finds the way back."""

    ticket: int
    version: int
    client_id: str = ""
    client_host: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to the request that came with this ticket."""

    ticket: int
    response: GroupResponse


class MemberSnapshot(msgspec.Struct, kw_only=True, frozen=True):
    """A member as it is stored."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: list[tuple[str, bytes]]
    assignment: bytes


class GroupSnapshot(msgspec.Struct, kw_only=True, frozen=True):
    """A group as it is stored: what a coordinator needs to go on where another one stopped."""

    generation: int
    protocol_type: str | None
    protocol_name: str | None
    leader_id: str | None
    members: list[MemberSnapshot]
    since_ms: int
    """When the group came into its state; monotonic here, wall time on disk."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an event.

    The replies go out at once. The snapshot is to be made durable; then the machine is told with
    `stored(revision, ...)`, and answers those who waited for it.
    """

    replies: tuple[Reply, ...] = ()
    snapshot: GroupSnapshot | None = None
    revision: int = 0
