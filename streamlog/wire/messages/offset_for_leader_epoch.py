"""OffsetForLeaderEpoch: where a leader epoch ended, to find divergence.

Versions: 2 current leader epoch; 3 replica id; 4 flexible.
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
class EpochEndOffset:
    """An element of `OffsetForLeaderTopicResult.partitions`."""

    error_code: Int16 = 0
    partition: Int32 = 0
    leader_epoch: Int32 = -1
    end_offset: Int64 = -1


@struct
class OffsetForLeaderTopicResult:
    """An element of `OffsetForLeaderEpochResponse.topics`."""

    topic: String = ""
    partitions: list[EpochEndOffset] = field(default_factory=list)


@message(versions="2-4", flexible="4+")
class OffsetForLeaderEpochResponse(Response):
    """The end of each epoch."""

    throttle_time_ms: Int32 = 0
    topics: list[OffsetForLeaderTopicResult] = field(default_factory=list)


@struct
class OffsetForLeaderPartition:
    """An element of `OffsetForLeaderTopic.partitions`."""

    partition: Int32 = 0
    current_leader_epoch: Int32 = -1
    leader_epoch: Int32 = 0


@struct
class OffsetForLeaderTopic:
    """An element of `OffsetForLeaderEpochRequest.topics`."""

    topic: String = ""
    partitions: list[OffsetForLeaderPartition] = field(default_factory=list)


@message(versions="2-4", flexible="4+")
class OffsetForLeaderEpochRequest(Request[OffsetForLeaderEpochResponse]):
    """Asks for the ends of epochs."""

    replica_id: Int32 = field("3+", default=-2)
    topics: list[OffsetForLeaderTopic] = field(default_factory=list)
