"""DeleteGroups: empty groups are deleted with their positions.

Versions: 2 flexible.
"""

from streamlog.wire.schema import Int16, Int32, Request, Response, String, field, message, struct


@struct
class DeletableGroupResult:
    """An element of `DeleteGroupsResponse.results`."""

    group_id: String = ""
    error_code: Int16 = 0


@message(versions="0-2", flexible="2+")
class DeleteGroupsResponse(Response):
    """What became of each."""

    throttle_time_ms: Int32 = 0
    results: list[DeletableGroupResult] = field(default_factory=list)


@message(versions="0-2", flexible="2+")
class DeleteGroupsRequest(Request[DeleteGroupsResponse]):
    """Groups to delete."""

    groups_names: list[String] = field(default_factory=list)
