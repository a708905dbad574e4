"""Clients that dribble, stall, or never read: they are cut off, and nobody else notices."""

from __future__ import annotations

import contextlib
import struct
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from durability_server import ServerProcess, wait_until
from durability_wire import (
    BYSTANDER_TIMEOUT_S,
    FETCH_VERSION,
    Bystander,
    Wire,
    batch_of,
    connect,
    is_closed_by_peer,
)

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.framing import encode_request
from streamlog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
LIMITED = (sys.executable, str(Path(__file__).with_name("limited_server.py")))
LIMITS = (
    "idle_timeout_s=2.0",
    "transfer_grace_s=1.0",
    f"transfer_bytes_per_s_min={4 * MIB}",
    "connections_per_address_max=40",
)
CUT_WITHIN_S = 10
CUT = "too few bytes came or went in too long a time"
MEMORY_GROWTH_MAX = 64 * MIB


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("data")
    with ServerProcess(data, command=LIMITED, options=LIMITS) as server:
        with Wire(server.port) as wire:
            assert wire.create_topic("healthy") == ErrorCode.NONE
            assert wire.create_topic("large") == ErrorCode.NONE
            for _ in range(16):
                wire.must_produce("large", 0, batch_of("x" * (MIB - 1000)))
        yield server


def serves_others(server: ServerProcess) -> bool:
    """Tells whether a client that comes now is served."""
    try:
        with Wire(server.port, timeout_s=BYSTANDER_TIMEOUT_S) as wire:
            return Bystander(wire).works()
    except ConnectionError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [60, 20_000, 100 * MIB], ids=["small-request", "large-request", "largest-request"]
)
def test_requests_that_never_end_are_cut_off(server: ServerProcess, size: int) -> None:
    said = len(server.transcript.lines)
    with contextlib.ExitStack() as stack:
        dribblers = [stack.enter_context(connect(server.port)) for _ in range(20)]
        for sock in dribblers:
            sock.sendall(struct.pack(">i", size))
            sock.settimeout(CUT_WITHIN_S)
        has_ended = threading.Event()
        feeder = threading.Thread(target=dribble, args=(dribblers, has_ended))
        feeder.start()
        try:
            assert serves_others(server)
            for sock in dribblers:
                assert is_closed_by_peer(sock)
        finally:
            has_ended.set()
            feeder.join()
    server.transcript.wait_for(CUT, start=said)
    assert serves_others(server)


def dribble(socks: list, has_ended: threading.Event) -> None:  # type: ignore[type-arg]
    """Sends a byte on each connection now and then."""
    while not has_ended.wait(0.2):
        for sock in socks:
            with contextlib.suppress(OSError):
                sock.send(b"\0")


def fetch_of_everything() -> bytes:
    wanted = FetchPartition(partition=0, fetch_offset=0, partition_max_bytes=16 * MIB)
    request = FetchRequest(
        max_bytes=16 * MIB, topics=[FetchTopic(topic="large", partitions=[wanted])]
    )
    return encode_request(request, FETCH_VERSION, 1, "greedy")


@pytest.mark.slow
def test_a_client_that_never_reads_is_not_read_from_and_then_cut_off(
    server: ServerProcess,
) -> None:
    before = server.resident_bytes()
    cut = server.transcript.text.count(CUT)
    request = fetch_of_everything()
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            sock = stack.enter_context(connect(server.port))
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                for _ in range(200_000):
                    sock.send(request)
        assert serves_others(server)
        assert server.resident_bytes() - before < MEMORY_GROWTH_MAX
        wait_until(
            lambda: server.transcript.text.count(CUT) >= cut + 8,
            "all are cut off",
            # Each is granted the time that its response would take on a slow line.
            timeout_s=60,
        )
    assert serves_others(server)


@pytest.mark.slow
def test_a_client_that_stops_inside_the_length_is_cut_off(server: ServerProcess) -> None:
    said = len(server.transcript.lines)
    with connect(server.port, timeout_s=CUT_WITHIN_S) as sock:
        sock.sendall(b"\0\0")
        assert is_closed_by_peer(sock)
    server.transcript.wait_for(CUT, start=said)


@pytest.mark.slow
def test_idle_connections_are_closed(server: ServerProcess) -> None:
    said = len(server.transcript.lines)
    with connect(server.port, timeout_s=CUT_WITHIN_S) as sock:
        assert is_closed_by_peer(sock)
    server.transcript.wait_for("idle for too long", start=said)


def test_connections_above_the_limit_are_refused(server: ServerProcess) -> None:
    said = len(server.transcript.lines)
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(server.port)) for _ in range(41)]
        assert is_closed_by_peer(socks[-1])
    server.transcript.wait_for("connections of 127.0.0.1 are open, the most", start=said)
    wait_until(lambda: serves_others(server), "there is room again")
