"""Who may join a group: limits, room, protocols, and whether a claimed identity holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.groups.states import GroupState
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from streamlog.broker.groups.config import GroupConfig
    from streamlog.broker.groups.roster import Roster
    from streamlog.wire.messages.join_group import JoinGroupRequest


def join_error(
    request: JoinGroupRequest, roster: Roster, state: GroupState, config: GroupConfig
) -> ErrorCode:
    """Returns why a JoinGroup is refused, or NONE; the order of the checks is Kafka's."""
    low, high = config.session_timeout_min_ms, config.session_timeout_max_ms
    if not low <= request.session_timeout_ms <= high:
        return ErrorCode.INVALID_SESSION_TIMEOUT
    if state is GroupState.DEAD:
        return ErrorCode.COORDINATOR_NOT_AVAILABLE
    if not _has_room(request, roster, state, config.group_size_max):
        return ErrorCode.GROUP_MAX_SIZE_REACHED
    protocols = [protocol.name for protocol in request.protocols]
    if not roster.supports(request.protocol_type, protocols):
        return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
    if request.member_id == "":
        return ErrorCode.NONE
    if request.member_id in roster.pending:
        # Ids are handed out to dynamic members only.
        stranger = request.group_instance_id is not None
        return ErrorCode.UNKNOWN_MEMBER_ID if stranger else ErrorCode.NONE
    return roster.error_for(request.member_id, request.group_instance_id)


def _has_room(request: JoinGroupRequest, roster: Roster, state: GroupState, size_max: int) -> bool:
    member = roster.get(request.member_id) or roster.static_member(request.group_instance_id)
    if state is GroupState.PREPARING:
        # Those who wait count, so that a group that is too large shrinks to the limit.
        if member is not None and member.is_joining:
            return True
        return roster.joining_count < size_max
    return member is not None or len(roster) < size_max
