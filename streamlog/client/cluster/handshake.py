"""The first exchange on a connection: which versions does the broker speak?

Every broker since 0.10 answers ApiVersions, also one that is too old for the version asked with: it
answers in version 0 with what it has, and is asked again. This is where it shows whether there is a
Kafka broker at all, so it is where strangers are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.client.cluster.versions import BrokerVersions, our_range
from streamlog.client.errors import ConnectionLostError, KafkaError, NotKafkaError
from streamlog.wire.api import ApiKey
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.errors import DecodeError
from streamlog.wire.framing import decode_response, encode_request
from streamlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse

if TYPE_CHECKING:
    from streamlog.client.cluster.frames import FrameReader

SOFTWARE_NAME = "streamlog"
SOFTWARE_VERSION = "0.1.0"
ASK_WITH = 3
"""The version to begin with; the first that carries our name."""


async def exchange_versions(
    stream: trio.abc.SendStream, reader: FrameReader, client_id: str, broker: str
) -> BrokerVersions:
    """Asks what the broker speaks.

    Raises:
        ConnectionLostError: it closed the connection.
        NotKafkaError: what answered is not a Kafka broker.
    """
    response = await _ask(ASK_WITH, stream, reader, client_id, broker)
    if response.error_code == ErrorCode.UNSUPPORTED_VERSION:
        theirs = BrokerVersions(response.api_keys).choose(ApiKey.API_VERSIONS, broker)
        version = min(theirs, ASK_WITH - 1)
        response = await _ask(
            max(version, our_range(ApiKey.API_VERSIONS)[0]), stream, reader, client_id, broker
        )
    if response.error_code:
        raise KafkaError(response.error_code, f"{broker} does not say which versions it speaks")
    return BrokerVersions(response.api_keys)


async def _ask(
    version: int, stream: trio.abc.SendStream, reader: FrameReader, client_id: str, broker: str
) -> ApiVersionsResponse:
    request = ApiVersionsRequest(
        client_software_name=SOFTWARE_NAME, client_software_version=SOFTWARE_VERSION
    )
    try:
        await stream.send_all(encode_request(request, version, 0, client_id))
        frame = await reader.next_frame()
    except (trio.BrokenResourceError, ConnectionLostError) as error:
        raise ConnectionLostError(
            f"{broker} accepted the connection and closed it at once",
            hint="Does it expect TLS there? Is it a Kafka broker?",
        ) from error
    try:
        return decode_response(ApiVersionsResponse, version, frame)[1]
    except DecodeError as error:
        raise NotKafkaError(
            f"{broker} does not answer with Kafka's protocol: {error.message}",
            hint="Is it the right port?",
        ) from error
