"""The listening side of a broker: accepts connections, bounds them, and ends them gracefully.

`async with open_server(...)` binds, serves, and at its end stops in this order: nobody new is let
in; idle connections are closed; requests under way are answered, for at most `stop_grace_s`; the
rest is cut off. A cancellation from outside skips the grace.
"""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.broker.server.buffers import BufferPool
from streamlog.broker.server.connection import Connection, Shared, Traffic
from streamlog.broker.server.limits import ConnectionLimits, MemoryBudget, ServerLimits
from streamlog.broker.server.reply import Handler, Peer
from streamlog.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from streamlog.doors import Network

logger = logging.getLogger("streamlog.broker")

ACCEPT_ERRNOS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
"""The system is out of something that others may give back: wait and go on."""

NOTSENT_UNLIMITED = 0

ACCEPT_PAUSE_S = 0.1
DEADLINE_CHECK_INTERVAL_S = 1.0


class AddressInUseError(RefusedError):
    """Something else listens on the port already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics:
    """What the network side has done and holds."""

    connections: int
    connections_accepted_total: int
    connections_refused_total: int
    connections_broken_total: int
    requests_total: int
    received_bytes_total: int
    sent_bytes_total: int
    request_memory_bytes: int
    requests_waiting_for_memory: int


class Server:
    """Runs the listeners; made by `open_server`.

    Args:
        listeners: Bound sockets.
        handler: Handles a request.
        limits: The bounds.
    """

    def __init__(
        self, listeners: Sequence[trio.SocketListener], handler: Handler, limits: ServerLimits
    ) -> None:
        self._listeners = listeners
        self._limits = limits
        self._admission = ConnectionLimits(limits)
        self._shared = Shared(
            handler=handler,
            limits=limits,
            memory=MemoryBudget(limits.memory_bytes_max),
            buffers=BufferPool(),
            traffic=Traffic(),
        )
        self._connections: set[Connection] = set()
        self._is_stopping = False
        self._accepted_count = 0
        self._refused_count = 0
        self._all_closed = trio.lowlevel.ParkingLot()
        self.addresses: list[tuple[str, int]] = [
            listener.socket.getsockname()[:2] for listener in listeners
        ]

    def statistics(self) -> ServerStatistics:
        """Returns the counters as of now."""
        traffic = self._shared.traffic
        return ServerStatistics(
            connections=self._admission.count,
            connections_accepted_total=self._accepted_count,
            connections_refused_total=self._refused_count,
            connections_broken_total=traffic.connections_broken_count,
            requests_total=traffic.requests_count,
            received_bytes_total=traffic.bytes_received,
            sent_bytes_total=traffic.bytes_sent,
            request_memory_bytes=self._shared.memory.size_bytes,
            requests_waiting_for_memory=self._shared.memory.waiting_count,
        )

    async def accept(self, listener: trio.SocketListener, server_nursery: trio.Nursery) -> None:
        """Lets clients in until the listener is closed; each gets a task of its own."""
        while True:
            try:
                stream = await listener.accept()
            except trio.ClosedResourceError:
                return
            except OSError as error:
                if error.errno not in ACCEPT_ERRNOS:
                    raise
                logger.error(
                    "cannot accept connections now (%s); raise the limit of open files: ulimit -n",
                    error.strerror,
                )
                await trio.sleep(ACCEPT_PAUSE_S)
                continue
            self._admit(stream, server_nursery)

    async def watch_deadlines(self) -> None:
        """Closes connections that are idle or stalled for too long, or whose client is gone."""
        while True:
            await trio.sleep(DEADLINE_CHECK_INTERVAL_S)
            now = trio.current_time()
            for connection in list(self._connections):
                if connection.deadline < now:
                    connection.expire()
                else:
                    connection.check_hang_up(now)

    async def stop(self) -> None:
        """Stops listening and returns once every connection has ended."""
        self._is_stopping = True
        for listener in self._listeners:
            await listener.aclose()
        for connection in list(self._connections):
            connection.stop()
        while self._connections:
            await self._all_closed.park()

    def _admit(self, stream: trio.SocketStream, server_nursery: trio.Nursery) -> None:
        if self._is_stopping:  # it was accepted just before the listener closed
            stream.socket.close()
            return
        try:
            remote, local = stream.socket.getpeername(), stream.socket.getsockname()
        except OSError:  # gone already
            stream.socket.close()
            return
        peer = Peer(address=remote[0], port=remote[1], local_address=local[0], local_port=local[1])
        refusal = self._admission.admit(peer.address)
        if refusal is not None:
            self._refused_count += 1
            logger.warning("refused a connection of %s: %s", peer, refusal)
            stream.socket.close()
            return
        self._accepted_count += 1
        # The plain socket: trio's wrapper yields to the scheduler at every call.
        sock = socket.socket(fileno=stream.socket.detach())
        sock.setblocking(False)
        # trio lets only 16 KiB wait unsent, for the sake of those who may change their mind about
        # what to send. We never do, and a `sendfile` that stops and starts is ten times slower.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOTSENT_UNLIMITED)
        connection = Connection(sock, peer, self._shared)
        self._connections.add(connection)
        server_nursery.start_soon(self._serve, connection)

    async def _serve(self, connection: Connection) -> None:
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)
            self._admission.release(connection.peer.address)
            if not self._connections:
                self._all_closed.unpark_all()


@asynccontextmanager
async def open_server(
    network: Network,
    listen: Sequence[tuple[str, int]],
    handler: Handler,
    limits: ServerLimits,
    *,
    before_stop: Callable[[], None] | None = None,
) -> AsyncIterator[Server]:
    """Serves while the block runs; entering blocks for the binding, leaving for the requests.

    Args:
        network: The door to sockets.
        listen: Hosts and ports; port 0 lets the system choose.
        handler: Handles a request.
        limits: The bounds.
        before_stop: Answers parked requests early, so that stopping need not wait for them.

    Raises:
        AddressInUseError: A port is taken.
        RefusedError: An address cannot be bound for another reason.
    """
    listeners: list[trio.SocketListener] = []
    try:
        for host, port in listen:
            listeners.extend(await _bind(network, host, port))
        async with trio.open_nursery() as server_nursery:
            server = Server(listeners, handler, limits)
            for listener in listeners:
                server_nursery.start_soon(server.accept, listener, server_nursery)
            server_nursery.start_soon(server.watch_deadlines)
            try:
                yield server
            finally:
                if before_stop is not None:
                    before_stop()
                with trio.move_on_after(limits.stop_grace_s):
                    await server.stop()
                server_nursery.cancel_scope.cancel()
    finally:
        for listener in listeners:
            listener.socket.close()


async def _bind(network: Network, host: str, port: int) -> Sequence[trio.SocketListener]:
    try:
        return await network.listen(host, port)
    except OSError as error:
        where = f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise AddressInUseError(
                f"cannot listen on {where}: something listens there already",
                hint="Stop it, or choose another port: --listen HOST:PORT (port 0: any free one)",
            ) from error
        raise RefusedError(
            f"cannot listen on {where} ({error.strerror or error})",
            hint="Name an address of this machine: --listen HOST:PORT",
        ) from error
