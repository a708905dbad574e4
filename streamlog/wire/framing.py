"""Headers and length prefixes around messages, for the broker's side and the client's.

A frame is a length (int32) and so many bytes: a header and a message. A request's header names the
API, its version, the correlation id that the answer repeats, and the client. Flexible versions add
tagged fields to both headers; the client's id keeps its two-byte length in them. The one exception:
an ApiVersions response has the plain header in every version, for its reader does not know yet what
the broker can do. For the same reason a broker answers an ApiVersions request of a version that it
does not know in version 0's form (`unsupported_api_versions_response`).

The functions that read take a frame without its length prefix; those that write include it.
How long a frame may be is known to whoever reads from the connection.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from streamlog.wire.api import API, ApiKey, ApiSpec, spec_of
from streamlog.wire.codec import decode, encode_into
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.errors import DecodeError, UnsupportedVersionError
from streamlog.wire.messages.api_versions import ApiVersion, ApiVersionsResponse
from streamlog.wire.primitives import REQUEST_BUDGET_UNITS, read_varint, skip_tags, string_size
from streamlog.wire.schema import Request, Response

if TYPE_CHECKING:
    from streamlog.wire.compile_encoder import Piece

REQUEST_HEADER_SIZE_MIN = 10

_PREFIX = struct.Struct(">i")
_REQUEST_HEAD = struct.Struct(">hhih")

R = TypeVar("R", bound=Response)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestHeader:
    """The head of a request."""

    api_key: ApiKey
    api_version: int
    correlation_id: int
    client_id: str | None
    body_position: int
    """Where the message starts in the frame."""


def parse_request_header(frame: memoryview) -> RequestHeader:
    """Read a request's header.

    Raises:
        UnsupportedVersionError: The API or its version is not served.
        DecodeError: It is not a header.
    """
    try:
        api_key, version, correlation_id, size = _REQUEST_HEAD.unpack_from(frame)
    except struct.error as error:
        raise DecodeError(f"a request of {len(frame)} bytes has no header") from error
    spec = API.get(api_key)
    if spec is None or version not in spec.versions:
        served = (
            f"version {version} of {spec.key.name} is not served, only {spec.versions.first} to "
            f"{spec.versions.last}"
            if spec
            else f"API {api_key} is not served"
        )
        raise UnsupportedVersionError(
            served, api_key=api_key, api_version=version, correlation_id=correlation_id
        )
    position = REQUEST_HEADER_SIZE_MIN
    client_id: str | None = None
    try:
        if size >= 0:
            if size > len(frame) - position:
                raise DecodeError(f"a client id claims {size} bytes in a frame of {len(frame)}")
            client_id = str(frame[position : position + size], "utf-8")
            position += size
        elif size != -1:
            raise DecodeError(f"a client id claims {size} bytes")
        if version in spec.flexible:
            count, position = read_varint(frame, position)
            position = skip_tags(frame, position, count, len(frame))
    except IndexError as error:
        raise DecodeError(f"a request of {len(frame)} bytes ends in its header") from error
    except UnicodeDecodeError as error:
        raise DecodeError("a client id is not UTF-8") from error
    return RequestHeader(
        api_key=spec.key,
        api_version=version,
        correlation_id=correlation_id,
        client_id=client_id,
        body_position=position,
    )


def decode_request(frame: memoryview) -> tuple[RequestHeader, Request[Response]]:
    """Read a whole request; its records are slices of the frame.

    Raises:
        UnsupportedVersionError: The API or its version is not served.
        DecodeError: It is not a request.
    """
    header = parse_request_header(frame)
    spec = API[header.api_key]
    return header, decode(
        spec.request, header.api_version, frame, header.body_position, REQUEST_BUDGET_UNITS
    )


def encode_response(header: RequestHeader, message: Response) -> bytes:
    """The frame that answers a request.

    Raises:
        EncodeError: A value does not fit into the request's version.
    """
    pieces: list[Piece] = [b"", response_header(header)]
    encode_into(message, header.api_version, pieces)
    return _framed(pieces)


def response_header(header: RequestHeader) -> bytes:
    """A response's header, without the length prefix."""
    head = _PREFIX.pack(header.correlation_id)
    return head + b"\0" if has_flexible_header(API[header.api_key], header.api_version) else head


def has_flexible_header(spec: ApiSpec, version: int) -> bool:
    """Whether a response's header has tagged fields."""
    return version in spec.flexible and spec.key is not ApiKey.API_VERSIONS


def unsupported_api_versions_response(correlation_id: int) -> bytes:
    """The frame that answers an ApiVersions request which is too new: what to ask instead."""
    advertised = API[ApiKey.API_VERSIONS].advertised
    message = ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        api_keys=[
            ApiVersion(
                api_key=ApiKey.API_VERSIONS,
                min_version=advertised.first,
                max_version=advertised.last,
            )
        ],
    )
    pieces: list[Piece] = [b"", _PREFIX.pack(correlation_id)]
    encode_into(message, 0, pieces)
    return _framed(pieces)


def encode_request(
    message: Request[Response], version: int, correlation_id: int, client_id: str | None
) -> bytes:
    """The frame of a request.

    Raises:
        EncodeError: A value does not fit into the version, or there is no such version.
    """
    spec = spec_of(type(message))
    name = b"" if client_id is None else client_id.encode()
    size = -1 if client_id is None else string_size(len(name))
    pieces: list[Piece] = [
        b"",
        _REQUEST_HEAD.pack(spec.key, version, correlation_id, size),
        name,
        b"\0" if version in spec.flexible else b"",
    ]
    encode_into(message, version, pieces)
    return _framed(pieces)


def correlation_id_of(frame: memoryview) -> int:
    """The number of the request that a response answers.

    Raises:
        DecodeError: The frame is too short for one.
    """
    if len(frame) < _PREFIX.size:
        raise DecodeError(f"a response of {len(frame)} bytes has no header")
    return int(_PREFIX.unpack_from(frame)[0])


def decode_response(response: type[R], version: int, frame: memoryview) -> tuple[int, R]:
    """Read a response; its records are slices of the frame.

    An ApiVersions response whose error is UNSUPPORTED_VERSION is in version 0's form whatever was
    asked for, and is read as such.

    Returns:
        The correlation id and the message.

    Raises:
        DecodeError: It is not such a response.
    """
    correlation_id = correlation_id_of(frame)
    position = _PREFIX.size
    spec = spec_of(response)
    if spec.key is ApiKey.API_VERSIONS:
        if frame[position : position + 2] == _UNSUPPORTED:
            version = 0
    elif has_flexible_header(spec, version):
        try:
            count, position = read_varint(frame, position)
            position = skip_tags(frame, position, count, len(frame))
        except IndexError as error:
            raise DecodeError(f"a response of {len(frame)} bytes ends in its header") from error
    return correlation_id, decode(response, version, frame, position)


_UNSUPPORTED = struct.pack(">h", ErrorCode.UNSUPPORTED_VERSION)


def _framed(pieces: list[Piece]) -> bytes:
    pieces[0] = _PREFIX.pack(sum(map(len, pieces)))
    return b"".join(pieces)
