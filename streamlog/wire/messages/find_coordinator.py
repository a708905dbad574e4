"""FindCoordinator: the broker that coordinates a group or a transactional id.

Versions: 1 key type (0 group, 1 transactional id) and throttling; 3 flexible; 4 several keys at
once, in another layout.
"""

from streamlog.wire.schema import (
    Int8,
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
class Coordinator:
    """An element of `FindCoordinatorResponse.coordinators`."""

    key: String = ""
    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    error_code: Int16 = 0
    error_message: String | None = ""


@message(versions="0-4", flexible="3+")
class FindCoordinatorResponse(Response):
    """One coordinator, or from version 4 on one for each key."""

    throttle_time_ms: Int32 = field("1+", default=0)
    error_code: Int16 = field("0-3", default=0)
    error_message: String | None = field("1-3", default="")
    node_id: Int32 = field("0-3", default=0)
    host: String = field("0-3", default="")
    port: Int32 = field("0-3", default=0)
    coordinators: list[Coordinator] = field("4+", default_factory=list)


@message(versions="0-4", flexible="3+")
class FindCoordinatorRequest(Request[FindCoordinatorResponse]):
    """Asks for coordinators."""

    key: String = field("0-3", default="")
    key_type: Int8 = field("1+", default=0)
    coordinator_keys: list[String] = field("4+", default_factory=list)
