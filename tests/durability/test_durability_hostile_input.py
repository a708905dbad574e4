"""Whatever comes in on the port: a Kafka error or a close that says why, and the others go on."""

from __future__ import annotations

import contextlib
import random
import ssl
import struct
from typing import TYPE_CHECKING

import pytest
from durability_server import ServerProcess
from durability_wire import (
    BYSTANDER_TIMEOUT_S,
    Bystander,
    Wire,
    connect,
    is_closed_by_peer,
    receive_exactly,
    receive_frame,
)

from streamlog.wire.api import ApiKey
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

MIB = 1 << 20
MEMORY_GROWTH_MAX = 48 * MIB
CLOSED_WITHIN_S = 5


def tls_client_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="kafka")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def request(key: int, version: int, body: bytes, *, client_id: bytes = b"\0\4evil") -> bytes:
    head = struct.pack(">hhi", key, version, 7) + client_id
    return struct.pack(">i", len(head) + len(body)) + head + body


GARBAGE = random.Random("garbage").randbytes(300)
HTTP = b"GET / HTTP/1.1\r\nHost: localhost:9092\r\n\r\n"
HUGE_ARRAY = struct.pack(">i", 2**31 - 1)
OVERLONG_VARINT = b"\xff" * 9 + b"\x01"

BAD_BYTES = {
    "garbage": (GARBAGE, r"claims a length of -?\d+ bytes.*begins with b"),
    "tls": (tls_client_hello(), r"looks like a TLS handshake"),
    "http": (HTTP, r"looks like an HTTP request"),
    "ssh": (b"SSH-2.0-OpenSSH_9.2\r\n", r"looks like an SSH greeting"),
    "escapes": (b"\x1b[2J\x1b]0;owned\x07" * 4, r"begins with b'\\x1b\[2J"),
    "two-gib": (b"\x7f\xff\xff\xff" + b"x" * 50, r"claims a length of 2147483647 bytes"),
    "negative": (b"\xff\xff\xff\xff" + b"x" * 50, r"claims a length of -1 bytes"),
    "zero": (b"\0\0\0\0" + b"x" * 50, r"claims a length of 0 bytes"),
    "above-limit": (struct.pack(">i", 101 * MIB), r"claims a length of \d+ bytes"),
    "unknown-key": (request(9999, 0, b""), r"9999"),
    "unserved-key": (
        request(ApiKey.ELECT_LEADERS, 0, b""),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "unknown-version": (request(ApiKey.METADATA, 99, b""), r"99"),
    "negative-version": (request(ApiKey.METADATA, -3, b""), r"-3"),
    "array-beyond-frame": (request(ApiKey.METADATA, 1, HUGE_ARRAY), r"2147483647"),
    "negative-array": (
        request(ApiKey.LIST_OFFSETS, 1, struct.pack(">ii", -1, -5)),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "string-beyond-frame": (
        request(ApiKey.METADATA, 1, struct.pack(">ih", 1, 32767) + b"abc"),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "compact-array-beyond-frame": (
        request(ApiKey.METADATA, 9, b"\0\xff\xff\xff\xff\x0f"),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "overlong-varint": (
        request(ApiKey.METADATA, 9, OVERLONG_VARINT),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "endless-tags": (
        request(ApiKey.METADATA, 9, b"\xff\xff\xff\xff\x0f" + b"\0" * 40),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "cut-request": (
        request(ApiKey.PRODUCE, 7, b"\0\0"),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
    "client-id-beyond-frame": (
        request(ApiKey.METADATA, 1, b"", client_id=b"\x7f\xff"),
        r"ListOffsets|Metadata|Produce|varint|client id|header|43",
    ),
}
"""By name, what is sent and what the log must say."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        yield server


@pytest.fixture(scope="module")
def bystander(server: ServerProcess) -> Iterator[Bystander]:
    with Wire(server.port, timeout_s=BYSTANDER_TIMEOUT_S) as wire:
        yield Bystander(wire)


@pytest.mark.parametrize("name", BAD_BYTES)
def test_what_is_no_request_is_closed_with_a_reason(
    server: ServerProcess, bystander: Bystander, name: str
) -> None:
    data, reason = BAD_BYTES[name]
    assert bystander.works()
    said = len(server.transcript.lines)
    with connect(server.port, timeout_s=CLOSED_WITHIN_S) as sock:
        port = sock.getsockname()[1]
        sock.sendall(data)
        assert is_closed_by_peer(sock)
    server.transcript.wait_for(rf"closed the connection of 127\.0\.0\.1:{port}: ", start=said)
    assert server.transcript.find(reason, said), server.transcript.lines[said:]
    assert "\x1b" not in server.transcript.text
    assert bystander.works()


def test_a_newer_api_versions_is_answered_in_the_form_that_all_read(
    server: ServerProcess, bystander: Bystander
) -> None:
    with connect(server.port) as sock:
        sock.sendall(request(ApiKey.API_VERSIONS, 77, b"\0\4kaf\0\0"))
        answer = receive_frame(sock)
        correlation_id, code = struct.unpack_from(">ih", answer)
        assert (correlation_id, code) == (7, ErrorCode.UNSUPPORTED_VERSION)
        # The connection goes on: the client asks again in a version that is served.
        sock.sendall(request(ApiKey.API_VERSIONS, 0, b""))
        assert struct.unpack_from(">ih", receive_frame(sock)) == (7, ErrorCode.NONE)
    assert bystander.works()


def test_garbage_of_every_kind_takes_no_memory(server: ServerProcess, bystander: Bystander) -> None:
    rng = random.Random("flood")
    openings = [data for data, _ in BAD_BYTES.values()]
    before = server.resident_bytes()
    for number in range(600):
        data = bytearray(rng.choice(openings))
        if number % 2:
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(len(data))] = rng.randrange(256)
        with connect(server.port) as sock, contextlib.suppress(ConnectionError):
            sock.sendall(data)
    assert bystander.works()
    assert server.resident_bytes() - before < MEMORY_GROWTH_MAX


def test_large_claims_without_bytes_take_no_memory(
    server: ServerProcess, bystander: Bystander
) -> None:
    before = server.resident_bytes()
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(connect(server.port))
            sock.sendall(struct.pack(">i", 90 * MIB) + b"\0" * 100)
        assert bystander.works()
        assert server.resident_bytes() - before < MEMORY_GROWTH_MAX
    assert bystander.works()


def test_a_client_that_disappears_mid_request_leaves_nothing(
    server: ServerProcess, bystander: Bystander
) -> None:
    for size in (3, 40, 100_000, 2 * MIB):
        with connect(server.port) as sock:
            sock.sendall((struct.pack(">i", 4 * MIB) + b"\0" * size)[:size])
    assert bystander.works()


@pytest.mark.slow
def test_500_idle_connections_are_cheap(server: ServerProcess, bystander: Bystander) -> None:
    before = server.resident_bytes()
    connections: list[socket.socket] = []
    try:
        for _ in range(500):
            sock = connect(server.port)
            connections.append(sock)
            sock.sendall(request(ApiKey.API_VERSIONS, 0, b""))
            receive_frame(sock)
        assert bystander.works()
        assert server.resident_bytes() - before < MEMORY_GROWTH_MAX
    finally:
        for sock in connections:
            sock.close()
    assert bystander.works()


def test_small_requests_one_byte_at_a_time_are_requests(server: ServerProcess) -> None:
    with connect(server.port) as sock:
        for byte in request(ApiKey.API_VERSIONS, 0, b""):
            sock.sendall(bytes([byte]))
        size = struct.unpack(">i", receive_exactly(sock, 4))[0]
        assert struct.unpack_from(">ih", receive_exactly(sock, size)) == (7, ErrorCode.NONE)
