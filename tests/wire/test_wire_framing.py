"""Headers and length prefixes on both sides."""

from __future__ import annotations

import struct

import pytest

from streamlog.wire.api import API, ApiKey
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.errors import (
    DecodeError,
    EncodeError,
    UnsupportedVersionError,
)
from streamlog.wire.framing import (
    correlation_id_of,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    parse_request_header,
    unsupported_api_versions_response,
)
from streamlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse


def body_of(frame: bytes) -> memoryview:
    assert int.from_bytes(frame[:4], "big") == len(frame) - 4
    return memoryview(frame)[4:]


@pytest.mark.parametrize("version", [0, 3, 4])
@pytest.mark.parametrize("client_id", ["me", "", "ü" * 200, None])
def test_a_request_arrives_as_it_was_sent(version: int, client_id: str | None) -> None:
    sent = HeartbeatRequest(group_id="g", generation_id=3, member_id="m")
    header, message = decode_request(body_of(encode_request(sent, version, 77, client_id)))
    assert message == sent
    assert header.api_key is ApiKey.HEARTBEAT
    assert (header.api_version, header.correlation_id) == (version, 77)
    assert header.client_id == client_id


@pytest.mark.parametrize("version", [0, 3, 4])
def test_a_response_arrives_as_it_was_sent(version: int) -> None:
    request = body_of(encode_request(HeartbeatRequest(), version, -5, "c"))
    sent = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
    frame = body_of(encode_response(parse_request_header(request), sent))
    assert correlation_id_of(frame) == -5
    assert decode_response(HeartbeatResponse, version, frame) == (-5, sent)


def test_the_client_id_keeps_its_two_bytes_in_a_flexible_header() -> None:
    frame = encode_request(ApiVersionsRequest(), 3, 1, "ab")
    assert frame[4:18] == b"\0\x12\0\3\0\0\0\1\0\2ab\0\1"


def test_a_client_id_that_no_length_can_tell_is_refused() -> None:
    with pytest.raises(EncodeError, match="32768 bytes"):
        encode_request(HeartbeatRequest(), 0, 1, "x" * 32768)


def test_tags_in_a_request_header_are_stepped_over() -> None:
    frame = bytes(body_of(encode_request(HeartbeatRequest(group_id="g"), 4, 1, "c")))
    assert frame[10:12] == b"c\0"
    tagged = frame[:11] + b"\1\x09\3abc" + frame[12:]
    assert decode_request(memoryview(tagged))[1] == HeartbeatRequest(group_id="g")


def test_tags_in_a_response_header_are_stepped_over() -> None:
    frame = b"\0\0\0\1" + b"\1\x09\3abc" + b"\0\0\0\0\0\0\0"
    assert decode_response(HeartbeatResponse, 4, memoryview(frame)) == (1, HeartbeatResponse())


def test_an_api_versions_response_has_the_plain_header() -> None:
    request = body_of(encode_request(ApiVersionsRequest(), 3, 9, None))
    frame = encode_response(parse_request_header(request), ApiVersionsResponse())
    assert frame[4:] == b"\0\0\0\x09" + b"\0\0" + b"\1" + b"\0\0\0\0" + b"\0"


def test_api_versions_that_is_too_new_is_told_what_to_ask() -> None:
    frame = struct.pack(">hhih", 18, 99, 42, -1) + b"\0whatever"
    with pytest.raises(UnsupportedVersionError) as caught:
        decode_request(memoryview(frame))
    error = caught.value
    assert (error.api_key, error.api_version, error.correlation_id) == (18, 99, 42)
    answer = body_of(unsupported_api_versions_response(error.correlation_id))
    assert answer == b"\0\0\0\x2a" + b"\0\x23" + b"\0\0\0\1" + b"\0\x12\0\0\0\4"
    number, response = decode_response(ApiVersionsResponse, 4, answer)
    assert number == 42
    assert response.error_code == ErrorCode.UNSUPPORTED_VERSION
    assert [(a.api_key, a.max_version) for a in response.api_keys] == [(18, 4)]


@pytest.mark.parametrize(("key", "version"), [(99, 0), (-1, 0), (0, 2), (0, 10), (1, 13), (12, -1)])
def test_what_is_not_served_is_refused_by_name(key: int, version: int) -> None:
    frame = struct.pack(">hhih", key, version, 1, -1)
    with pytest.raises(UnsupportedVersionError, match="is not served"):
        parse_request_header(memoryview(frame))


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\0\x0c\0\0\0\0\0\1\0",
        struct.pack(">hhih", 12, 0, 1, 5) + b"abc",
        struct.pack(">hhih", 12, 0, 1, -2),
        struct.pack(">hhih", 12, 0, 1, 2) + b"\xff\xfe",
        struct.pack(">hhih", 12, 4, 1, -1),
        struct.pack(">hhih", 12, 4, 1, -1) + b"\1\1\5a",
    ],
    ids=bytes.hex,
)
def test_a_broken_request_header_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_request_header(memoryview(frame))


@pytest.mark.parametrize("frame", [b"", b"\0\0\0", b"\0\0\0\1", b"\0\0\0\1\5"], ids=bytes.hex)
def test_a_broken_response_header_is_refused(frame: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_response(HeartbeatResponse, 4, memoryview(frame))


def test_every_api_has_a_request_and_a_response_of_the_same_versions() -> None:
    for spec in API.values():
        assert spec.request.__name__.removesuffix("Request") == spec.response.__name__.removesuffix(
            "Response"
        )
        assert spec.request.__name__.removesuffix(
            "Request"
        ).lower() == spec.key.name.lower().replace("_", "")
