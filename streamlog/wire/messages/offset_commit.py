"""OffsetCommit: a group's positions are stored.

Versions: 2 to 4 carry a retention time; 3 throttling; 6 leader epoch; 7 static members; 8
flexible.
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
class OffsetCommitResponsePartition:
    """An element of `OffsetCommitResponseTopic.partitions`."""

    partition_index: Int32 = 0
    error_code: Int16 = 0


@struct
class OffsetCommitResponseTopic:
    """An element of `OffsetCommitResponse.topics`."""

    name: String = ""
    partitions: list[OffsetCommitResponsePartition] = field(default_factory=list)


@message(versions="2-8", flexible="8+")
class OffsetCommitResponse(Response):
    """What became of each partition's."""

    throttle_time_ms: Int32 = field("3+", default=0)
    topics: list[OffsetCommitResponseTopic] = field(default_factory=list)


@struct
class OffsetCommitRequestPartition:
    """An element of `OffsetCommitRequestTopic.partitions`."""

    partition_index: Int32 = 0
    committed_offset: Int64 = 0
    committed_leader_epoch: Int32 = field("6+", default=-1)
    committed_metadata: String | None = ""


@struct
class OffsetCommitRequestTopic:
    """An element of `OffsetCommitRequest.topics`."""

    name: String = ""
    partitions: list[OffsetCommitRequestPartition] = field(default_factory=list)


@message(versions="2-8", flexible="8+")
class OffsetCommitRequest(Request[OffsetCommitResponse]):
    """Positions to store."""

    group_id: String = ""
    generation_id_or_member_epoch: Int32 = -1
    member_id: String = ""
    group_instance_id: String | None = field("7+", default=None)
    retention_time_ms: Int64 = field("2-4", default=-1)
    topics: list[OffsetCommitRequestTopic] = field(default_factory=list)
