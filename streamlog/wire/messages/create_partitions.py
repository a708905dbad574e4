"""CreatePartitions: topics get more partitions.

`count` is the new total. Versions: 2 flexible; 3 quotas.
"""

from streamlog.wire.schema import (
    Bool,
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
class CreatePartitionsTopicResult:
    """An element of `CreatePartitionsResponse.results`."""

    name: String = ""
    error_code: Int16 = 0
    error_message: String | None = None


@message(versions="0-3", flexible="2+")
class CreatePartitionsResponse(Response):
    """What became of each."""

    throttle_time_ms: Int32 = 0
    results: list[CreatePartitionsTopicResult] = field(default_factory=list)


@struct
class CreatePartitionsAssignment:
    """An element of `CreatePartitionsTopic.assignments`."""

    broker_ids: list[Int32] = field(default_factory=list)


@struct
class CreatePartitionsTopic:
    """An element of `CreatePartitionsRequest.topics`."""

    name: String = ""
    count: Int32 = 0
    assignments: list[CreatePartitionsAssignment] | None = field(default_factory=list)


@message(versions="0-3", flexible="2+")
class CreatePartitionsRequest(Request[CreatePartitionsResponse]):
    """Topics to enlarge."""

    topics: list[CreatePartitionsTopic] = field(default_factory=list)
    timeout_ms: Int32 = 0
    validate_only: Bool = False
