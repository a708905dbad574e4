"""ApiVersions: which APIs and versions the broker serves; the first request of every connection.

The response's header is version 0 in every version, because the asker does not know yet what the
broker can read. To a version that is too new the answer is error 35 in version 0's form. Versions:
1 throttling; 3 flexible, and the client says its name; 4 lets a feature start at version 0. The
response's tagged fields stay at their defaults, for librdkafka before 2.2 miscounts them.
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
class ApiVersion:
    """An element of `ApiVersionsResponse.api_keys`."""

    api_key: Int16 = 0
    min_version: Int16 = 0
    max_version: Int16 = 0


@struct
class SupportedFeatureKey:
    """An element of `ApiVersionsResponse.supported_features`."""

    name: String = ""
    min_version: Int16 = 0
    max_version: Int16 = 0


@struct
class FinalizedFeatureKey:
    """An element of `ApiVersionsResponse.finalized_features`."""

    name: String = ""
    max_version_level: Int16 = 0
    min_version_level: Int16 = 0


@message(versions="0-4", flexible="3+")
class ApiVersionsResponse(Response):
    """The table of versions, and the cluster's features."""

    error_code: Int16 = 0
    api_keys: list[ApiVersion] = field(default_factory=list)
    throttle_time_ms: Int32 = field("1+", default=0)
    supported_features: list[SupportedFeatureKey] = field("3+", default_factory=list, tag=0)
    finalized_features_epoch: Int64 = field("3+", default=-1, tag=1)
    finalized_features: list[FinalizedFeatureKey] = field("3+", default_factory=list, tag=2)
    zk_migration_ready: Bool = field("3+", default=False, tag=3)


@message(versions="0-4", flexible="3+")
class ApiVersionsRequest(Request[ApiVersionsResponse]):
    """Asks for the table of versions."""

    client_software_name: String = field("3+", default="")
    client_software_version: String = field("3+", default="")
