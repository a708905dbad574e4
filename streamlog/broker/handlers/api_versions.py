"""ApiVersions (key 18): the table of what is served, which clients ask for first.

A version that is too new is answered in version 0's form with error 35 (see the dispatcher),
because the client cannot know better. The response bears no tagged field: librdkafka before 2.2
cannot skip one. A client that gives its name gives one that can be a label of a metric, or is
refused.

Version notes: 3 flexible, client software name and version.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from streamlog.wire.api import API
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.api_versions import ApiVersion, ApiVersionsResponse

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.api_versions import ApiVersionsRequest

_SOFTWARE = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
SOFTWARE_VERSION_MIN = 3


def handle_api_versions(
    request: ApiVersionsRequest, context: RequestContext
) -> ApiVersionsResponse:
    """Lists every API with its versions."""
    if context.version >= SOFTWARE_VERSION_MIN:
        names = (request.client_software_name, request.client_software_version)
        if not all(_SOFTWARE.fullmatch(name) for name in names):
            return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    return ApiVersionsResponse(
        api_keys=[
            ApiVersion(
                api_key=spec.key,
                min_version=spec.advertised.first,
                max_version=spec.advertised.last,
            )
            for spec in API.values()
        ]
    )
