"""DescribeGroups: a group's state and members.

An unknown group has state `Dead` and no error. Versions: 3 authorized operations; 4 static members;
5 flexible.
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
class DescribedGroupMember:
    """An element of `DescribedGroup.members`."""

    member_id: String = ""
    group_instance_id: String | None = field("4+", default=None)
    client_id: String = ""
    client_host: String = ""
    member_metadata: Bytes = b""
    member_assignment: Bytes = b""


@struct
class DescribedGroup:
    """An element of `DescribeGroupsResponse.groups`."""

    error_code: Int16 = 0
    group_id: String = ""
    group_state: String = ""
    protocol_type: String = ""
    protocol_data: String = ""
    members: list[DescribedGroupMember] = field(default_factory=list)
    authorized_operations: Int32 = field("3+", default=-2147483648)


@message(versions="0-5", flexible="5+")
class DescribeGroupsResponse(Response):
    """The groups as they are."""

    throttle_time_ms: Int32 = field("1+", default=0)
    groups: list[DescribedGroup] = field(default_factory=list)


@message(versions="0-5", flexible="5+")
class DescribeGroupsRequest(Request[DescribeGroupsResponse]):
    """Asks for groups."""

    groups: list[String] = field(default_factory=list)
    include_authorized_operations: Bool = field("3+", default=False)
