from __future__ import annotations

import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from streamlog.broker.server.buffers import BufferPool
from streamlog.broker.server.connection import Connection, Shared, Traffic
from streamlog.broker.server.limits import MemoryBudget, ServerLimits
from streamlog.broker.server.reply import CloseConnectionError, Deferred, Peer
from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlog.broker.server.reply import Handler, Parts, Reply

PEER = Peer(address="192.0.2.1", port=4711, local_address="192.0.2.2", local_port=9092)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


async def echo(frame: memoryview, peer: Peer) -> Reply:
    return [framed(bytes(frame))]


@asynccontextmanager
async def served(
    handler: Handler, limits: ServerLimits | None = None
) -> AsyncIterator[tuple[Connection, trio.SocketStream, Shared]]:
    limits = limits or ServerLimits()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    shared = Shared(
        handler=handler,
        limits=limits,
        memory=MemoryBudget(limits.memory_bytes_max),
        buffers=BufferPool(),
        traffic=Traffic(),
    )
    connection = Connection(ours, PEER, shared)
    client = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
    async with client, trio.open_nursery() as nursery:
        nursery.start_soon(connection.run)
        yield connection, client, shared
        await client.aclose()


async def receive_exactly(client: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await client.receive_some(size - len(data))
        assert more, "the server closed the connection"
        data += more
    return data


async def receive_frame(client: trio.SocketStream) -> bytes:
    size = int.from_bytes(await receive_exactly(client, 4), "big")
    return await receive_exactly(client, size)


async def is_closed(client: trio.SocketStream) -> bool:
    try:
        return await client.receive_some(1) == b""
    except trio.BrokenResourceError:
        return True


async def test_a_request_is_answered() -> None:
    async with served(echo) as (_, client, shared):
        await client.send_all(framed(b"question") + framed(b"question2"))
        assert await receive_frame(client) == b"question"
        assert await receive_frame(client) == b"question2"
        assert shared.traffic.requests_count == 2
        assert shared.traffic.bytes_sent == shared.traffic.bytes_received == 25


async def test_later_requests_are_handled_while_a_deferred_response_is_awaited() -> None:
    handled: list[bytes] = []
    ready = trio.Event()

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        body = bytes(frame)
        handled.append(body)
        if not body.startswith(b"produce"):
            return [framed(body)]

        async def complete() -> Parts:
            await ready.wait()
            return [framed(body)]

        return Deferred(complete)

    requests = [b"produce1", b"fetch--2", b"produce3", b"fetch--4"]
    async with served(handle) as (_, client, _):
        await client.send_all(b"".join(map(framed, requests)))
        await trio.testing.wait_all_tasks_blocked()
        assert handled == requests
        ready.set()
        assert [await receive_frame(client) for _ in requests] == requests


async def test_a_request_without_a_response_leaves_no_gap() -> None:
    async def handle(frame: memoryview, peer: Peer) -> Reply:
        body = bytes(frame)
        if body == b"silent-1":
            return None
        if body == b"silent-2":

            async def complete() -> None:
                await trio.lowlevel.checkpoint()

            return Deferred(complete)
        return [framed(body)]

    async with served(handle) as (_, client, _):
        await client.send_all(framed(b"silent-1") + framed(b"silent-2") + framed(b"spoken--"))
        assert await receive_frame(client) == b"spoken--"


async def test_a_client_that_never_reads_is_not_read_from_either() -> None:
    handled = 0

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        nonlocal handled
        handled += 1

        async def complete() -> Parts:
            return [framed(b"x" * 100_000)]

        return Deferred(complete)

    limits = ServerLimits(pipelined_max=5)
    async with served(handle, limits) as (_, client, _):
        await client.send_all(framed(b"question") * 500)
        await trio.testing.wait_all_tasks_blocked()
        # What the socket took, the one being sent, the queue, and the one that waits for the queue.
        assert 6 <= handled < 100
        for _ in range(500):
            assert len(await receive_frame(client)) == 100_000
        assert handled == 500


@pytest.mark.parametrize(
    "error",
    [
        CloseConnectionError("no such thing"),
        StorageError("the file ended"),
        OSError(5, "input/output error"),
        ValueError("a bug"),
    ],
)
async def test_whatever_goes_wrong_ends_that_connection_and_nothing_else(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(frame: memoryview, peer: Peer) -> Reply:
        raise error

    caplog.set_level("DEBUG", "streamlog.broker")
    async with served(handle) as (_, client, _):
        await client.send_all(framed(b"question"))
        assert await is_closed(client)
    assert "192.0.2.1:4711" in caplog.text
    assert str(error) in caplog.text


async def test_a_deferred_response_that_fails_closes_the_connection() -> None:
    async def handle(frame: memoryview, peer: Peer) -> Reply:
        async def complete() -> Parts:
            raise CloseConnectionError("gone")

        return Deferred(complete)

    async with served(handle) as (_, client, _):
        await client.send_all(framed(b"question"))
        assert await is_closed(client)


async def test_garbage_is_named_in_the_log_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    async with served(echo) as (_, client, shared):
        await client.send_all(b"GET / HTTP/1.1\r\n\r\n")
        assert await is_closed(client)
    assert "this looks like an HTTP request" in caplog.text
    assert shared.traffic.connections_broken_count == 1


async def test_responses_are_sent_before_a_half_closed_connection_ends() -> None:
    ready = trio.Event()

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        body = bytes(frame)

        async def complete() -> Parts:
            await ready.wait()
            return [framed(body)]

        return Deferred(complete)

    async with served(handle) as (_, client, _):
        await client.send_all(framed(b"question"))
        await client.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        ready.set()
        assert await receive_frame(client) == b"question"
        assert await is_closed(client)


async def test_stop_closes_an_idle_connection_at_once() -> None:
    async with served(echo) as (connection, client, _):
        await client.send_all(framed(b"question"))
        assert await receive_frame(client) == b"question"
        connection.stop()
        assert await is_closed(client)


async def test_stop_answers_what_is_under_way_and_reads_nothing_further() -> None:
    ready = trio.Event()

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        await ready.wait()
        return [framed(bytes(frame))]

    async with served(handle) as (connection, client, shared):
        await client.send_all(framed(b"question") + framed(b"too-late"))
        await trio.testing.wait_all_tasks_blocked()
        connection.stop()
        ready.set()
        assert await receive_frame(client) == b"question"
        assert await is_closed(client)
        assert shared.traffic.requests_count == 1


async def test_an_idle_and_a_stalled_connection_pass_their_deadlines(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    limits = ServerLimits(idle_timeout_s=600, transfer_grace_s=30)
    async with served(echo, limits) as (connection, client, _):
        await trio.testing.wait_all_tasks_blocked()
        assert connection.deadline == trio.current_time() + 600
        connection.expire()
        assert await is_closed(client)
        assert "idle for too long" in caplog.text
    async with served(echo, limits) as (connection, client, _):
        await client.send_all(framed(b"x" * 100)[:50])
        await trio.testing.wait_all_tasks_blocked()
        assert connection.deadline < trio.current_time() + 31
        connection.expire()
        assert await is_closed(client)
        assert "too few bytes" in caplog.text


async def test_a_response_that_nobody_takes_passes_its_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(frame: memoryview, peer: Peer) -> Reply:
        return [framed(b"x" * 10_000_000)]

    limits = ServerLimits(transfer_grace_s=30, transfer_bytes_per_s_min=1_000_000)
    async with served(handle, limits) as (connection, client, _):
        await client.send_all(framed(b"question"))
        await trio.testing.wait_all_tasks_blocked()
        assert connection.deadline == pytest.approx(trio.current_time() + 40, abs=0.1)
        connection.expire()
        await trio.testing.wait_all_tasks_blocked()
