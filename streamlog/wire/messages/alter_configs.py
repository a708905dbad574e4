"""AlterConfigs: replaces all settings of a topic or broker.

What is not named goes back to its default. Versions: 2 flexible.
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
    """An element of `AlterConfigsResponse.responses`."""

    error_code: Int16 = 0
    error_message: String | None = ""
    resource_type: Int8 = 0
    resource_name: String = ""


@message(versions="0-2", flexible="2+")
class AlterConfigsResponse(Response):
    """What became of each resource."""

    throttle_time_ms: Int32 = 0
    responses: list[AlterConfigsResourceResponse] = field(default_factory=list)


@struct
class AlterableConfig:
    """An element of `AlterConfigsResource.configs`."""

    name: String = ""
    value: String | None = ""


@struct
class AlterConfigsResource:
    """An element of `AlterConfigsRequest.resources`."""

    resource_type: Int8 = 0
    resource_name: String = ""
    configs: list[AlterableConfig] = field(default_factory=list)


@message(versions="0-2", flexible="2+")
class AlterConfigsRequest(Request[AlterConfigsResponse]):
    """Settings to put in place of the old."""

    resources: list[AlterConfigsResource] = field(default_factory=list)
    validate_only: Bool = False
