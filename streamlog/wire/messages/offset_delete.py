"""OffsetDelete: a group's positions are forgotten."""

from streamlog.wire.schema import Int16, Int32, Request, Response, String, field, message, struct


@struct
class OffsetDeleteResponsePartition:
    """An element of `OffsetDeleteResponseTopic.partitions`."""

    partition_index: Int32 = 0
    error_code: Int16 = 0


@struct
class OffsetDeleteResponseTopic:
    """An element of `OffsetDeleteResponse.topics`."""

    name: String = ""
    partitions: list[OffsetDeleteResponsePartition] = field(default_factory=list)


@message(versions="0")
class OffsetDeleteResponse(Response):
    """What became of each."""

    error_code: Int16 = 0
    throttle_time_ms: Int32 = 0
    topics: list[OffsetDeleteResponseTopic] = field(default_factory=list)


@struct
class OffsetDeleteRequestPartition:
    """An element of `OffsetDeleteRequestTopic.partitions`."""

    partition_index: Int32 = 0


@struct
class OffsetDeleteRequestTopic:
    """An element of `OffsetDeleteRequest.topics`."""

    name: String = ""
    partitions: list[OffsetDeleteRequestPartition] = field(default_factory=list)


@message(versions="0")
class OffsetDeleteRequest(Request[OffsetDeleteResponse]):
    """Positions to forget."""

    group_id: String = ""
    topics: list[OffsetDeleteRequestTopic] = field(default_factory=list)
