"""Produce: record batches to append, one for each partition.

With `acks=0` there is no response at all. Versions: 3 record batches of format 2 and
transactions; 5 log start offset; 7 zstd; 8 errors of single records; 9 flexible. Versions 0 to 2
are advertised for old librdkafka's sake and not served.
"""

from streamlog.wire.schema import (
    Int16,
    Int32,
    Int64,
    Records,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class BatchIndexAndErrorMessage:
    """An element of `PartitionProduceResponse.record_errors`."""

    batch_index: Int32 = 0
    batch_index_error_message: String | None = None


@struct
class PartitionProduceResponse:
    """An element of `TopicProduceResponse.partition_responses`."""

    index: Int32 = 0
    error_code: Int16 = 0
    base_offset: Int64 = 0
    log_append_time_ms: Int64 = -1
    log_start_offset: Int64 = field("5+", default=-1)
    record_errors: list[BatchIndexAndErrorMessage] = field("8+", default_factory=list)
    error_message: String | None = field("8+", default=None)


@struct
class TopicProduceResponse:
    """An element of `ProduceResponse.responses`."""

    name: String = ""
    partition_responses: list[PartitionProduceResponse] = field(default_factory=list)


@message(versions="3-9", flexible="9+")
class ProduceResponse(Response):
    """What became of each partition's batch."""

    responses: list[TopicProduceResponse] = field(default_factory=list)
    throttle_time_ms: Int32 = 0


@struct
class PartitionProduceData:
    """An element of `TopicProduceData.partition_data`."""

    index: Int32 = 0
    records: Records | None = None


@struct
class TopicProduceData:
    """An element of `ProduceRequest.topic_data`."""

    name: String = ""
    partition_data: list[PartitionProduceData] = field(default_factory=list)


@message(versions="3-9", flexible="9+")
class ProduceRequest(Request[ProduceResponse]):
    """Batches to append."""

    transactional_id: String | None = None
    acks: Int16 = 0
    timeout_ms: Int32 = 0
    topic_data: list[TopicProduceData] = field(default_factory=list)
