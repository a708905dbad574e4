"""IncrementalAlterConfigs: changes single settings of a topic or broker.

Operations: 0 set, 1 delete, 2 append, 3 subtract. Versions: 1 flexible.
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
class AlterConfigsResourceResponse:
    """An element of `IncrementalAlterConfigsResponse.responses`."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""


@message(versions="0-1", flexible="1+")
class IncrementalAlterConfigsResponse(Response):
    """What became of each resource."""

    throttle_time_ms: Int32 = 0
    responses: list[AlterConfigsResourceResponse] = field(default_factory=list)


@struct
class AlterableConfig:
    """An element of `AlterConfigsResource.configs`."""

    name: String = ""
    config_operation: Int8 = 0
    value: String | None = ""


@struct
class AlterConfigsResource:
    """An element of `IncrementalAlterConfigsRequest.resources`."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configs: list[AlterableConfig] = field(default_factory=list)


@message(versions="0-1", flexible="1+")
class IncrementalAlterConfigsRequest(Request[IncrementalAlterConfigsResponse]):
    """Settings to change."""

    resources: list[AlterConfigsResource] = field(default_factory=list)
    validate_only: Bool = False
