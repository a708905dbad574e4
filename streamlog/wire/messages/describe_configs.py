"""DescribeConfigs: settings of topics and brokers, and where they come from.

Resource types: 2 topic, 4 broker. Sources: 1 topic, 2 this broker, 3 all brokers, 4 broker's
file, 5 default. Versions: 1 sources and synonyms; 3 types and documentation; 4 flexible.
"""

from streamlog.wire.schema import (
    Bool,
    Int8,
    Int16,
    Int32,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class DescribeConfigsSynonym:
    """An element of `DescribeConfigsResourceResult.synonyms`."""

    name: String = ""
    value: String | None = ""
    source: Int8 = 0


@struct
class DescribeConfigsResourceResult:
    """An element of `DescribeConfigsResult.configs`."""

    name: String = ""
    value: String | None = ""
    read_only: Bool = False
    config_source: Int8 = -1
    is_sensitive: Bool = False
    synonyms: list[DescribeConfigsSynonym] = field(default_factory=list)
    config_type: Int8 = field("3+", default=0)
    documentation: String | None = field("3+", default="")


@struct
class DescribeConfigsResult:
    """An element of `DescribeConfigsResponse.results`."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""
    configs: list[DescribeConfigsResourceResult] = field(default_factory=list)


@message(versions="1-4", flexible="4+")
class DescribeConfigsResponse(Response):
    """The settings of each resource."""

    throttle_time_ms: Int32 = 0
    results: list[DescribeConfigsResult] = field(default_factory=list)


@struct
class DescribeConfigsResource:
    """An element of `DescribeConfigsRequest.resources`."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configuration_keys: list[String] | None = field(default_factory=list)


@message(versions="1-4", flexible="4+")
class DescribeConfigsRequest(Request[DescribeConfigsResponse]):
    """Asks for settings."""

    resources: list[DescribeConfigsResource] = field(default_factory=list)
    include_synonyms: Bool = False
    include_documentation: Bool = field("3+", default=False)
