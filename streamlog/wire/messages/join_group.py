"""JoinGroup: a member enters a group or takes part in its rebalance.

The answer may take as long as the slowest member. Versions: 1 rebalance timeout; 2 throttling; 4
the first join is answered with an id to join with again; 5 static members; 6 flexible; 7 the
response's protocol type, and `protocol_name` may be null (empty before); 8 a reason; 9
`skip_assignment`.
"""

from streamlog.wire.schema import (
    Bool,
    Bytes,
    Int16,
    Int32,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class JoinGroupResponseMember:
    """An element of `JoinGroupResponse.members`."""

    member_id: String = ""
    group_instance_id: String | None = field("5+", default=None)
    metadata: Bytes = b""


@message(versions="0-9", flexible="6+")
class JoinGroupResponse(Response):
    """The generation, and for the leader all members."""

    throttle_time_ms: Int32 = field("2+", default=0)
    error_code: Int16 = 0
    generation_id: Int32 = -1
    protocol_type: String | None = field("7+", default=None)
    protocol_name: String | None = field(default="", nullable="7+")
    leader: String = ""
    skip_assignment: Bool = field("9+", default=False)
    member_id: String = ""
    members: list[JoinGroupResponseMember] = field(default_factory=list)


@struct
class JoinGroupRequestProtocol:
    """An element of `JoinGroupRequest.protocols`."""

    name: String = ""
    metadata: Bytes = b""


@message(versions="0-9", flexible="6+")
class JoinGroupRequest(Request[JoinGroupResponse]):
    """A member wants to be in."""

    group_id: String = ""
    session_timeout_ms: Int32 = 0
    rebalance_timeout_ms: Int32 = field("1+", default=-1)
    member_id: String = ""
    group_instance_id: String | None = field("5+", default=None)
    protocol_type: String = ""
    protocols: list[JoinGroupRequestProtocol] = field(default_factory=list)
    reason: String | None = field("8+", default=None)
