"""One client's connection: requests are handled in order and answered in order.

Two tasks share it. The reading task receives a frame, has it handled and, when nothing is ahead of
the response, sends it at once: a request and its answer then cost no task switch. A response that
is not known yet (`Deferred`: a Produce whose batches are not on the disk) goes into the queue of
the writing task, and so does every response behind it, while the reading task handles the next
request. So appends happen in the order of the requests, and one flush answers many of them.

The queue is bounded: a client that sends and never reads is not read from any more. `deadline` is
looked at from outside, by one task for all connections, so that no timeout has to be set up and
torn down for each request.
"""

from __future__ import annotations

import logging
import math
import socket
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.broker.server.receiving import FrameReader
from streamlog.broker.server.reply import Deferred
from streamlog.broker.server.sending import send_parts, size_of
from streamlog.errors import PeerError, StorageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streamlog.broker.server.buffers import BufferPool
    from streamlog.broker.server.limits import MemoryBudget, ServerLimits
    from streamlog.broker.server.reply import Handler, Parts, Peer, Reply

logger = logging.getLogger("streamlog.broker")

HANG_UP_CHECK_AFTER_S = 10.0
"""Ordinary requests and long polls are answered sooner; only what waits for longer is looked at."""


@dataclass(slots=True)
class Traffic:
    """Counters of all connections together."""

    requests_count: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    connections_broken_count: int = 0
    """Connections that were closed because of what the client sent, or did not send."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the connections of a server have in common."""

    handler: Handler
    limits: ServerLimits
    memory: MemoryBudget
    buffers: BufferPool
    traffic: Traffic


class Connection:
    """Serves one client until it closes, breaks the rules or is told to stop.

    Args:
        sock: The connected, non-blocking socket; closed when `run` returns.
        peer: Both ends' addresses.
        shared: The server's handler, limits and counters.
    """

    def __init__(self, sock: socket.socket, peer: Peer, shared: Shared) -> None:
        self.peer = peer
        self._sock = sock
        self._shared = shared
        self._reader = FrameReader(sock, shared.limits, shared.memory, shared.buffers)
        self._replies: deque[Reply] = deque()
        self._reply_added = trio.lowlevel.ParkingLot()
        self._reply_sent = trio.lowlevel.ParkingLot()
        self._is_stopping = False
        self._has_read_all = False
        self._write_deadline = math.inf
        self._scope = trio.CancelScope()

    @property
    def deadline(self) -> float:
        """When this connection counts as dead."""
        return min(self._reader.deadline, self._write_deadline)

    async def run(self) -> None:
        """Serves the client; returns when the connection is over, for whatever reason."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._guard, self._write_replies)
                    await self._guard(self._read_requests)
                    self._has_read_all = True
                    self._reply_added.unpark_all()
        finally:
            self._reader.release()
            trio.lowlevel.notify_closing(self._sock.fileno())
            self._sock.close()

    def stop(self) -> None:
        """Reads nothing further; what was received is still handled and answered."""
        self._is_stopping = True
        try:
            # Wakes the reading task as if the client had closed.
            self._sock.shutdown(socket.SHUT_RD)
        except OSError:
            self._scope.cancel()

    def check_hang_up(self, now: float) -> None:
        """Ends a connection whose client went away while its request waits for something.

        Such a client would be noticed only when it is answered, which may be long after.
        """
        if now - self._reader.handed_out_at < HANG_UP_CHECK_AFTER_S:
            return
        try:
            if self._sock.recv(1, socket.MSG_PEEK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        logger.debug("the client of %s hung up while its request waited", self.peer)
        self._scope.cancel()

    def expire(self) -> None:
        """Closes a connection whose deadline has passed."""
        self._break(
            "it was idle for too long"
            if self._write_deadline == math.inf and self._reader.is_idle
            else "too few bytes came or went in too long a time"
        )

    async def _guard(self, work: Callable[[], Awaitable[None]]) -> None:
        """The one place where what goes wrong on a connection becomes a log line and its end."""
        try:
            await work()
        except (PeerError, StorageError) as error:
            self._break(str(error))
        except (ConnectionError, TimeoutError) as error:
            logger.debug("connection of %s is gone: %s", self.peer, error)
            self._scope.cancel()
        except OSError as error:  # not of the socket: a file that could not be read or written
            self._break(f"a file failed: {error}")
        except Exception:
            logger.exception("a request of %s failed; its connection is closed", self.peer)
            self._scope.cancel()

    def _break(self, reason: str) -> None:
        self._shared.traffic.connections_broken_count += 1
        logger.warning("closed the connection of %s: %s", self.peer, reason)
        self._scope.cancel()

    async def _read_requests(self) -> None:
        reader, traffic, handle = self._reader, self._shared.traffic, self._shared.handler
        while not self._is_stopping:
            frame = await reader.receive()
            if frame is None:
                return
            traffic.requests_count += 1
            traffic.bytes_received += len(frame) + 4
            reply = await handle(frame, self.peer)
            if reply is None:
                continue
            if not self._replies and not isinstance(reply, Deferred):
                await self._send(reply)
                continue
            while len(self._replies) >= self._shared.limits.pipelined_max:
                await self._reply_sent.park()
            self._replies.append(reply)
            self._reply_added.unpark()

    async def _write_replies(self) -> None:
        while True:
            while not self._replies:
                if self._has_read_all:
                    return
                await self._reply_added.park()
            reply = self._replies[0]
            parts = await reply.complete() if isinstance(reply, Deferred) else reply
            if parts:
                await self._send(parts)
            # Only now: as long as it is in the queue, the reading task sends nothing itself.
            self._replies.popleft()
            self._reply_sent.unpark()

    async def _send(self, parts: Parts) -> None:
        size = size_of(parts)
        self._write_deadline = trio.current_time() + self._shared.limits.transfer_seconds(size)
        await send_parts(self._sock, parts)
        self._write_deadline = math.inf
        self._shared.traffic.bytes_sent += size
