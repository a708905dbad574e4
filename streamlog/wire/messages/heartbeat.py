"""Heartbeat: a member says that it is alive and hears of rebalances.

Versions: 1 throttling; 3 static members; 4 flexible.
"""

from streamlog.wire.schema import Int16, Int32, Request, Response, String, field, message


@message(versions="0-4", flexible="4+")
class HeartbeatResponse(Response):
    """Goes on, or says why not."""

    throttle_time_ms: Int32 = field("1+", default=0)
    error_code: Int16 = 0


@message(versions="0-4", flexible="4+")
class HeartbeatRequest(Request[HeartbeatResponse]):
    """A member is alive."""

    group_id: String = ""
    generation_id: Int32 = 0
    member_id: String = ""
    group_instance_id: String | None = field("3+", default=None)
