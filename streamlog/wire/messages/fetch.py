"""Fetch: record batches from an offset on, for consumers and followers.

`records` comes last in a partition, so that `fetch_response.py` can leave a gap for `sendfile`.
Versions: 4 isolation level and aborted transactions; 5 log start offset; 7 incremental sessions
(KIP-227); 9 leader epoch; 10 zstd; 11 rack and preferred replica; 12 flexible, and divergence by
epoch. From 13 on topics go by id, which is not served yet.
"""

from streamlog.wire.schema import (
    Int8,
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
class EpochEndOffset:
    """The value of `PartitionData.diverging_epoch`."""

    epoch: Int32 = -1
    end_offset: Int64 = -1


@struct
class LeaderIdAndEpoch:
    """The value of `PartitionData.current_leader`."""

    leader_id: Int32 = -1
    leader_epoch: Int32 = -1


@struct
class SnapshotId:
    """The value of `PartitionData.snapshot_id`."""

    end_offset: Int64 = -1
    epoch: Int32 = -1


@struct
class AbortedTransaction:
    """An element of `PartitionData.aborted_transactions`."""

    producer_id: Int64 = 0
    first_offset: Int64 = 0


@struct
class PartitionData:
    """An element of `FetchableTopicResponse.partitions`."""

    partition_index: Int32 = 0
    error_code: Int16 = 0
    high_watermark: Int64 = 0
    last_stable_offset: Int64 = -1
    log_start_offset: Int64 = field("5+", default=-1)
    diverging_epoch: EpochEndOffset | None = field("12+", default=None, tag=0)
    current_leader: LeaderIdAndEpoch | None = field("12+", default=None, tag=1)
    snapshot_id: SnapshotId | None = field("12+", default=None, tag=2)
    aborted_transactions: list[AbortedTransaction] | None = None
    preferred_read_replica: Int32 = field("11+", default=-1)
    records: Records | None = None


@struct
class FetchableTopicResponse:
    """An element of `FetchResponse.responses`."""

    topic: String = ""
    partitions: list[PartitionData] = field(default_factory=list)


@message(versions="4-12", flexible="12+")
class FetchResponse(Response):
    """The batches, in the order in which they were asked for."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = field("7+", default=0)
    session_id: Int32 = field("7+", default=0)
    responses: list[FetchableTopicResponse] = field(default_factory=list)


@struct
class FetchPartition:
    """An element of `FetchTopic.partitions`."""

    partition: Int32 = 0
    current_leader_epoch: Int32 = field("9+", default=-1)
    fetch_offset: Int64 = 0
    last_fetched_epoch: Int32 = field("12+", default=-1)
    log_start_offset: Int64 = field("5+", default=-1)
    partition_max_bytes: Int32 = 0


@struct
class FetchTopic:
    """An element of `FetchRequest.topics`."""

    topic: String = ""
    partitions: list[FetchPartition] = field(default_factory=list)


@struct
class ForgottenTopic:
    """An element of `FetchRequest.forgotten_topics_data`."""

    topic: String = ""
    partitions: list[Int32] = field(default_factory=list)


@message(versions="4-12", flexible="12+")
class FetchRequest(Request[FetchResponse]):
    """Asks for batches of many partitions."""

    cluster_id: String | None = field("12+", default=None, tag=0)
    replica_id: Int32 = -1
    max_wait_ms: Int32 = 0
    min_bytes: Int32 = 0
    max_bytes: Int32 = 2147483647
    isolation_level: Int8 = 0
    session_id: Int32 = field("7+", default=0)
    session_epoch: Int32 = field("7+", default=-1)
    topics: list[FetchTopic] = field(default_factory=list)
    forgotten_topics_data: list[ForgottenTopic] = field("7+", default_factory=list)
    rack_id: String = field("11+", default="")
