"""ListOffsets: the first, the last, or the first offset at or after a timestamp.

Timestamps below zero have a meaning: -1 latest, -2 earliest, -3 (version 7) the record with the
largest timestamp. Versions: 2 isolation level and throttling; 4 leader epoch; 6 flexible.
"""

from streamlog.wire.schema import (
    Int8,
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
class ListOffsetsPartitionResponse:
    """An element of `ListOffsetsTopicResponse.partitions`."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    timestamp: Int64 = -1
    offset: Int64 = -1
    leader_epoch: Int32 = field("4+", default=-1)


@struct
class ListOffsetsTopicResponse:
    """An element of `ListOffsetsResponse.topics`."""

    name: String = ""
    partitions: list[ListOffsetsPartitionResponse] = field(default_factory=list)


@message(versions="1-7", flexible="6+")
class ListOffsetsResponse(Response):
    """One offset for each partition."""

    throttle_time_ms: Int32 = field("2+", default=0)
    topics: list[ListOffsetsTopicResponse] = field(default_factory=list)


@struct
class ListOffsetsPartition:
    """An element of `ListOffsetsTopic.partitions`."""

    partition_index: Int32 = 0
    current_leader_epoch: Int32 = field("4+", default=-1)
    timestamp: Int64 = 0


@struct
class ListOffsetsTopic:
    """An element of `ListOffsetsRequest.topics`."""

    name: String = ""
    partitions: list[ListOffsetsPartition] = field(default_factory=list)


@message(versions="1-7", flexible="6+")
class ListOffsetsRequest(Request[ListOffsetsResponse]):
    """Asks for offsets by time."""

    replica_id: Int32 = 0
    isolation_level: Int8 = field("2+", default=0)
    topics: list[ListOffsetsTopic] = field(default_factory=list)
