"""OffsetFetch: a group's stored positions.

No topics (null, from version 2 on) means all. A partition without a position has offset -1 and no
error. Versions: 2 error of the group; 3 throttling; 5 leader epoch; 6 flexible; 7 `require_stable`;
8 several groups at once, in another layout.
"""

from streamlog.wire.schema import (
    Bool,
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
class OffsetFetchResponsePartition:
    """An element of `OffsetFetchResponseTopic.partitions`."""

    partition_index: Int32 = 0
    committed_offset: Int64 = 0
    committed_leader_epoch: Int32 = field("5-7", default=-1)
    metadata: String | None = ""
    error_code: Int16 = 0


@struct
class OffsetFetchResponseTopic:
    """An element of `OffsetFetchResponse.topics`."""

    name: String = ""
    partitions: list[OffsetFetchResponsePartition] = field(default_factory=list)


@struct
class OffsetFetchResponsePartitions:
    """An element of `OffsetFetchResponseTopics.partitions`."""

    partition_index: Int32 = 0
    committed_offset: Int64 = 0
    committed_leader_epoch: Int32 = -1
    metadata: String | None = ""
    error_code: Int16 = 0


@struct
class OffsetFetchResponseTopics:
    """An element of `OffsetFetchResponseGroup.topics`."""

    name: String = ""
    partitions: list[OffsetFetchResponsePartitions] = field(default_factory=list)


@struct
class OffsetFetchResponseGroup:
    """An element of `OffsetFetchResponse.groups`."""

    group_id: String = ""
    topics: list[OffsetFetchResponseTopics] = field(default_factory=list)
    error_code: Int16 = 0


@message(versions="1-8", flexible="6+")
class OffsetFetchResponse(Response):
    """The positions."""

    throttle_time_ms: Int32 = field("3+", default=0)
    topics: list[OffsetFetchResponseTopic] = field("1-7", default_factory=list)
    error_code: Int16 = field("2-7", default=0)
    groups: list[OffsetFetchResponseGroup] = field("8+", default_factory=list)


@struct
class OffsetFetchRequestTopic:
    """An element of `OffsetFetchRequest.topics`."""

    name: String = ""
    partition_indexes: list[Int32] = field(default_factory=list)


@struct
class OffsetFetchRequestTopics:
    """An element of `OffsetFetchRequestGroup.topics`."""

    name: String = ""
    partition_indexes: list[Int32] = field(default_factory=list)


@struct
class OffsetFetchRequestGroup:
    """An element of `OffsetFetchRequest.groups`."""

    group_id: String = ""
    topics: list[OffsetFetchRequestTopics] | None = field(default_factory=list)


@message(versions="1-8", flexible="6+")
class OffsetFetchRequest(Request[OffsetFetchResponse]):
    """Asks for positions."""

    group_id: String = field("1-7", default="")
    topics: list[OffsetFetchRequestTopic] | None = field(
        "1-7", default_factory=list, nullable="2-7"
    )
    groups: list[OffsetFetchRequestGroup] = field("8+", default_factory=list)
    require_stable: Bool = field("7+", default=False)
