"""CreateTopics: topics are created.

Versions: 4 partitions and replicas of -1 mean the broker's default; 5 flexible, and the response
tells what was made; 6 quotas; 7 topic ids.
"""

from streamlog.wire.schema import (
    UUID_ZERO,
    Bool,
    Int8,
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
class CreatableTopicConfigs:
    """An element of `CreatableTopicResult.configs`."""

    name: String = ""
    value: String | None = ""
    read_only: Bool = False
    config_source: Int8 = -1
    is_sensitive: Bool = False


@struct
class CreatableTopicResult:
    """An element of `CreateTopicsResponse.topics`."""

    name: String = ""
    topic_id: Uuid = field("7+", default=UUID_ZERO)
    error_code: Int16 = 0
    error_message: String | None = ""
    topic_config_error_code: Int16 = field("5+", default=0, tag=0)
    num_partitions: Int32 = field("5+", default=-1)
    replication_factor: Int16 = field("5+", default=-1)
    configs: list[CreatableTopicConfigs] | None = field("5+", default_factory=list)


@message(versions="2-7", flexible="5+")
class CreateTopicsResponse(Response):
    """What became of each."""

    throttle_time_ms: Int32 = 0
    topics: list[CreatableTopicResult] = field(default_factory=list)


@struct
class CreatableReplicaAssignment:
    """An element of `CreatableTopic.assignments`."""

    partition_index: Int32 = 0
    broker_ids: list[Int32] = field(default_factory=list)


@struct
class CreatableTopicConfig:
    """An element of `CreatableTopic.configs`."""

    name: String = ""
    value: String | None = ""


@struct
class CreatableTopic:
    """An element of `CreateTopicsRequest.topics`."""

    name: String = ""
    num_partitions: Int32 = 0
    replication_factor: Int16 = 0
    assignments: list[CreatableReplicaAssignment] = field(default_factory=list)
    configs: list[CreatableTopicConfig] = field(default_factory=list)


@message(versions="2-7", flexible="5+")
class CreateTopicsRequest(Request[CreateTopicsResponse]):
    """Topics to create."""

    topics: list[CreatableTopic] = field(default_factory=list)
    timeout_ms: Int32 = 60000
    validate_only: Bool = False
