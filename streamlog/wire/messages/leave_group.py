"""LeaveGroup: members go, so that their partitions are taken over at once.

Versions: 1 throttling; 3 several members, each with its own error (before, the response's error
is the one member's); 4 flexible; 5 a reason.
"""

from streamlog.wire.schema import Int16, Int32, Request, Response, String, field, message, struct


@struct
class MemberResponse:
    """An element of `LeaveGroupResponse.members`."""

    member_id: String = ""
    group_instance_id: String | None = ""
    error_code: Int16 = 0


@message(versions="0-5", flexible="4+")
class LeaveGroupResponse(Response):
    """What became of each."""

    throttle_time_ms: Int32 = field("1+", default=0)
    error_code: Int16 = 0
    members: list[MemberResponse] = field("3+", default_factory=list)


@struct
class MemberIdentity:
    """An element of `LeaveGroupRequest.members`."""

    member_id: String = ""
    group_instance_id: String | None = None
    reason: String | None = field("5+", default=None)


@message(versions="0-5", flexible="4+")
class LeaveGroupRequest(Request[LeaveGroupResponse]):
    """Members go."""

    group_id: String = ""
    member_id: String = field("0-2", default="")
    members: list[MemberIdentity] = field("3+", default_factory=list)
