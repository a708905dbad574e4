"""Metadata: the brokers, and the partitions and leaders of topics.

No topics means all of them in version 0; from version 1 on null means all, and an empty list
means none. Versions: 1 controller, racks, internal topics; 2 cluster id; 3 throttling; 4
`allow_auto_topic_creation` (implied before); 5 offline replicas; 7 leader epochs; 8 authorized
operations; 9 flexible; 10 topic ids; 11 without the cluster's operations; 12 lookup by topic id.
"""

from streamlog.wire.schema import (
    UUID_ZERO,
    Bool,
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
class MetadataResponseBroker:
    """An element of `MetadataResponse.brokers`."""

    node_id: Int32 = 0
    host: String = ""
    port: Int32 = 0
    rack: String | None = field("1+", default=None)


@struct
class MetadataResponsePartition:
    """An element of `MetadataResponseTopic.partitions`."""

    error_code: Int16 = 0
    partition_index: Int32 = 0
    leader_id: Int32 = 0
    leader_epoch: Int32 = field("7+", default=-1)
    replica_nodes: list[Int32] = field(default_factory=list)
    isr_nodes: list[Int32] = field(default_factory=list)
    offline_replicas: list[Int32] = field("5+", default_factory=list)


@struct
class MetadataResponseTopic:
    """An element of `MetadataResponse.topics`."""

    error_code: Int16 = 0
    name: String | None = field(default="", nullable="12+")
    topic_id: Uuid = field("10+", default=UUID_ZERO)
    is_internal: Bool = field("1+", default=False)
    partitions: list[MetadataResponsePartition] = field(default_factory=list)
    topic_authorized_operations: Int32 = field("8+", default=-2147483648)


@message(versions="0-12", flexible="9+")
class MetadataResponse(Response):
    """The cluster as the broker sees it."""

    throttle_time_ms: Int32 = field("3+", default=0)
    brokers: list[MetadataResponseBroker] = field(default_factory=list)
    cluster_id: String | None = field("2+", default=None)
    controller_id: Int32 = field("1+", default=-1)
    topics: list[MetadataResponseTopic] = field(default_factory=list)
    cluster_authorized_operations: Int32 = field("8-10", default=-2147483648)


@struct
class MetadataRequestTopic:
    """An element of `MetadataRequest.topics`."""

    topic_id: Uuid = field("10+", default=UUID_ZERO)
    name: String | None = field(default="", nullable="10+")


@message(versions="0-12", flexible="9+")
class MetadataRequest(Request[MetadataResponse]):
    """Asks for the cluster and some topics."""

    topics: list[MetadataRequestTopic] | None = field(default_factory=list, nullable="1+")
    allow_auto_topic_creation: Bool = field("4+", default=True)
    include_cluster_authorized_operations: Bool = field("8-10", default=False)
    include_topic_authorized_operations: Bool = field("8+", default=False)
