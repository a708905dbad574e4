"""ListGroups: the groups that a broker coordinates.

Versions: 3 flexible; 4 filter by state; 5 filter by type.
"""

from streamlog.wire.schema import Int16, Int32, Request, Response, String, field, message, struct


@struct
class ListedGroup:
    """An element of `ListGroupsResponse.groups`."""

    group_id: String = ""
    protocol_type: String = ""
    group_state: String = field("4+", default="")
    group_type: String = field("5+", default="")


@message(versions="0-5", flexible="3+")
class ListGroupsResponse(Response):
    """The list."""

    throttle_time_ms: Int32 = field("1+", default=0)
    error_code: Int16 = 0
    groups: list[ListedGroup] = field(default_factory=list)


@message(versions="0-5", flexible="3+")
class ListGroupsRequest(Request[ListGroupsResponse]):
    """Asks for the list."""

    states_filter: list[String] = field("4+", default_factory=list)
    types_filter: list[String] = field("5+", default_factory=list)
