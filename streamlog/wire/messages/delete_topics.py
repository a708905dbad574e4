"""DeleteTopics: topics are deleted.

Versions: 3 deletion may be disabled (error 73); 4 flexible; 5 error messages; 6 by name or id, in
another layout.
"""

from streamlog.wire.schema import (
    UUID_ZERO,
    Int16,
    Int32,
    Request,
    Response,
    String,
    Uuid,
    field,
    message,
    struct,
)


@struct
class DeletableTopicResult:
    """An element of `DeleteTopicsResponse.responses`."""

    name: String | None = field(default="", nullable="6+")
    topic_id: Uuid = field("6+", default=UUID_ZERO)
    error_code: Int16 = 0
    error_message: String | None = field("5+", default=None)


@message(versions="1-6", flexible="4+")
class DeleteTopicsResponse(Response):
    """What became of each."""

    throttle_time_ms: Int32 = 0
    responses: list[DeletableTopicResult] = field(default_factory=list)


@struct
class DeleteTopicState:
    """An element of `DeleteTopicsRequest.topics`."""

    name: String | None = None
    topic_id: Uuid = UUID_ZERO


@message(versions="1-6", flexible="4+")
class DeleteTopicsRequest(Request[DeleteTopicsResponse]):
    """Topics to delete."""

    topics: list[DeleteTopicState] = field("6+", default_factory=list)
    topic_names: list[String] = field("1-5", default_factory=list)
    timeout_ms: Int32 = 0
