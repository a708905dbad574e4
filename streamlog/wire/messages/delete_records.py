"""DeleteRecords: moves the start of partitions up.

Offset -1 means the high watermark. Versions: 2 flexible.
"""

from streamlog.wire.schema import (
    Int16,
    Int32,
    Int64,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class DeleteRecordsPartitionResult:
    """An element of `DeleteRecordsTopicResult.partitions`."""

    partition_index: Int32 = 0
    low_watermark: Int64 = 0
    error_code: Int16 = 0


@struct
class DeleteRecordsTopicResult:
    """An element of `DeleteRecordsResponse.topics`."""

    name: String = ""
    partitions: list[DeleteRecordsPartitionResult] = field(default_factory=list)


@message(versions="0-2", flexible="2+")
class DeleteRecordsResponse(Response):
    """The first offsets as they are now."""

    throttle_time_ms: Int32 = 0
    topics: list[DeleteRecordsTopicResult] = field(default_factory=list)


@struct
class DeleteRecordsPartition:
    """An element of `DeleteRecordsTopic.partitions`."""

    partition_index: Int32 = 0
    offset: Int64 = 0


@struct
class DeleteRecordsTopic:
    """An element of `DeleteRecordsRequest.topics`."""

    name: String = ""
    partitions: list[DeleteRecordsPartition] = field(default_factory=list)


@message(versions="0-2", flexible="2+")
class DeleteRecordsRequest(Request[DeleteRecordsResponse]):
    """The new first offsets."""

    topics: list[DeleteRecordsTopic] = field(default_factory=list)
    timeout_ms: Int32 = 0
