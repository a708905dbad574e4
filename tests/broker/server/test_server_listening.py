from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from streamlog.broker.server.limits import ServerLimits
from streamlog.broker.server.server import AddressInUseError, open_server
from streamlog.doors import TcpNetwork
from streamlog.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.server.reply import Peer, Reply

ANY_PORT = (("127.0.0.1", 0),)


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


async def echo(frame: memoryview, peer: Peer) -> Reply:
    return [framed(bytes(frame))]


async def ask(stream: trio.SocketStream) -> bytes:
    await stream.send_all(framed(b"question"))
    return await stream.receive_some(100)


async def is_refused(host: str, port: int) -> bool:
    stream = await trio.open_tcp_stream(host, port)
    async with stream:
        try:
            return await ask(stream) == b""
        except trio.BrokenResourceError:
            return True


async def test_clients_are_served_side_by_side_and_counted() -> None:
    async with open_server(TcpNetwork(), ANY_PORT, echo, ServerLimits()) as server:
        host, port = server.addresses[0]
        assert port != 0
        streams = [await trio.open_tcp_stream(host, port) for _ in range(5)]
        for stream in streams:
            assert await ask(stream) == framed(b"question")
        statistics = server.statistics()
        assert statistics.connections == 5
        assert statistics.requests_total == 5
        assert statistics.received_bytes_total == statistics.sent_bytes_total == 60
        for stream in streams:
            await stream.aclose()


async def test_the_handler_learns_both_ends_of_the_connection() -> None:
    peers: list[Peer] = []

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        peers.append(peer)
        return [framed(b"")]

    async with open_server(TcpNetwork(), ANY_PORT, handle, ServerLimits()) as server:
        host, port = server.addresses[0]
        async with await trio.open_tcp_stream(host, port) as stream:
            await ask(stream)
            assert (peers[0].address, peers[0].port) == stream.socket.getsockname()
            assert (peers[0].local_address, peers[0].local_port) == (host, port)


@pytest.mark.parametrize(
    "limits", [ServerLimits(connections_max=1), ServerLimits(connections_per_address_max=1)]
)
async def test_a_connection_too_many_is_refused_and_the_others_go_on(
    limits: ServerLimits, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_server(TcpNetwork(), ANY_PORT, echo, limits) as server:
        host, port = server.addresses[0]
        async with await trio.open_tcp_stream(host, port) as stream:
            assert await ask(stream) == framed(b"question")
            assert await is_refused(host, port)
            assert await ask(stream) == framed(b"question")
        assert server.statistics().connections_refused_total == 1
        assert "the most that are allowed" in caplog.text
        with trio.fail_after(5):
            while server.statistics().connections:
                await trio.testing.wait_all_tasks_blocked()
        assert not await is_refused(host, port)


async def test_a_taken_port_is_told_with_a_way_out() -> None:
    async with open_server(TcpNetwork(), ANY_PORT, echo, ServerLimits()) as server:
        with pytest.raises(AddressInUseError) as caught:
            async with open_server(TcpNetwork(), server.addresses, echo, ServerLimits()):
                pass
    assert f"127.0.0.1:{server.addresses[0][1]}" in str(caught.value)
    assert "--listen" in str(caught.value)


async def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"cannot listen on 192\.0\.2\.1:9092"):
        async with open_server(TcpNetwork(), (("192.0.2.1", 9092),), echo, ServerLimits()):
            pass


async def test_stopping_answers_requests_under_way_and_lets_nobody_in() -> None:
    started, finish = trio.Event(), trio.Event()

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        started.set()
        await finish.wait()
        return [framed(bytes(frame))]

    async with trio.open_nursery() as nursery:
        answers: list[bytes] = []

        async def client(host: str, port: int) -> None:
            async with await trio.open_tcp_stream(host, port) as stream:
                answers.append(await ask(stream))
                answers.append(await stream.receive_some(1))

        async with open_server(
            TcpNetwork(), ANY_PORT, handle, ServerLimits(), before_stop=finish.set
        ) as server:
            host, port = server.addresses[0]
            idle = await trio.open_tcp_stream(host, port)
            nursery.start_soon(client, host, port)
            await started.wait()
        assert await idle.receive_some(1) == b""
        await idle.aclose()
        with pytest.raises(OSError, match="connect"):
            await trio.open_tcp_stream(host, port)
    assert answers == [framed(b"question"), b""]


async def test_stopping_does_not_wait_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    started = trio.Event()

    async def handle(frame: memoryview, peer: Peer) -> Reply:
        started.set()
        await trio.sleep_forever()

    limits = ServerLimits(stop_grace_s=5)
    async with open_server(TcpNetwork(), ANY_PORT, handle, limits) as server:
        stream = await trio.open_tcp_stream(*server.addresses[0])
        await stream.send_all(framed(b"question"))
        await started.wait()
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(5, abs=0.5)
    await stream.aclose()


async def test_idle_connections_are_closed_after_their_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    limits = ServerLimits(idle_timeout_s=600)
    async with (
        open_server(TcpNetwork(), ANY_PORT, echo, limits) as server,
        await trio.open_tcp_stream(*server.addresses[0]) as stream,
    ):
        assert await ask(stream) == framed(b"question")
        began = trio.current_time()
        assert await stream.receive_some(1) == b""
        assert 600 <= trio.current_time() - began < 605


async def test_a_client_that_goes_away_while_its_request_waits_is_noticed(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def handle(frame: memoryview, peer: Peer) -> Reply:
        await trio.sleep(3600)
        return [framed(bytes(frame))]

    async with open_server(TcpNetwork(), ANY_PORT, handle, ServerLimits()) as server:
        patient = await trio.open_tcp_stream(*server.addresses[0])
        leaving = await trio.open_tcp_stream(*server.addresses[0])
        for stream in (patient, leaving):
            await stream.send_all(framed(b"question"))
        await trio.sleep(30)
        assert server.statistics().connections == 2
        await leaving.aclose()
        await trio.sleep(5)
        assert server.statistics().connections == 1
        assert await patient.receive_some(100) == framed(b"question")
        await patient.aclose()


class StarvedNetwork(TcpNetwork):
    """The first accepts fail as they do when the process has no file descriptors left."""

    def __init__(self) -> None:
        self.failures = 3

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        listeners = await super().listen(host, port)
        real = listeners[0].accept

        async def accept() -> trio.SocketStream:
            if self.failures:
                self.failures -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return await real()

        listeners[0].accept = accept  # type: ignore[method-assign]
        return listeners


async def test_running_out_of_file_descriptors_delays_clients_and_stops_nothing(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    network = StarvedNetwork()
    async with (
        open_server(network, ANY_PORT, echo, ServerLimits()) as server,
        await trio.open_tcp_stream(*server.addresses[0]) as stream,
    ):
        assert await ask(stream) == framed(b"question")
    assert network.failures == 0
    assert caplog.text.count("Too many open files") == 3
