"""SyncGroup: the leader's assignment goes in, each member's part comes out.

Versions: 1 throttling; 3 static members; 4 flexible; 5 protocol type and name, to be compared.
"""

from streamlog.wire.schema import (
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


@message(versions="0-5", flexible="4+")
class SyncGroupResponse(Response):
    """The member's own assignment."""

    throttle_time_ms: Int32 = field("1+", default=0)
    error_code: Int16 = 0
    protocol_type: String | None = field("5+", default=None)
    protocol_name: String | None = field("5+", default=None)
    assignment: Bytes = b""


@struct
class SyncGroupRequestAssignment:
    """An element of `SyncGroupRequest.assignments`."""

    member_id: String = ""
    assignment: Bytes = b""


@message(versions="0-5", flexible="4+")
class SyncGroupRequest(Request[SyncGroupResponse]):
    """The leader's assignments; the other members send none."""

    group_id: String = ""
    generation_id: Int32 = 0
    member_id: String = ""
    group_instance_id: String | None = field("3+", default=None)
    protocol_type: String | None = field("5+", default=None)
    protocol_name: String | None = field("5+", default=None)
    assignments: list[SyncGroupRequestAssignment] = field(default_factory=list)
