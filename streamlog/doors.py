"""Doors to the world: wall clock, network and threads, as ports with their real implementations.

Everything that decides is a synchronous class that gets time as an argument. What acts reaches the
world through one of five doors, so that a simulation can replace the doors and keep the code:

* the clock: `Clock` for wall time; monotonic time is always `trio.current_time()`;
* the network: `Network`;
* threads: `Threads`, the only way to run blocking calls;
* the file system: `streamlog.broker.log.disk`, because only the log needs one;
* randomness: a `random.Random` passed to whoever needs it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Clock(Protocol):
    """Wall time, for timestamps and retention; never for timeouts or ordering."""

    def wall_ms(self) -> int:
        """Returns milliseconds since 1970-01-01T00:00:00Z."""


class SystemClock:
    """The operating system's clock."""

    def wall_ms(self) -> int:
        """Returns milliseconds since 1970-01-01T00:00:00Z."""
        return time.time_ns() // 1_000_000


class Network(Protocol):
    """TCP: dial and listen."""

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Opens a connection; raises `OSError` if nobody answers."""

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        """Binds; port 0 lets the system choose. Raises `OSError` if the port is taken."""


class TcpNetwork:
    """Real sockets, with Nagle's algorithm off (trio does that for us)."""

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Opens a connection; raises `OSError` if nobody answers."""
        return await trio.open_tcp_stream(host, port)

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        """Binds; port 0 lets the system choose. Raises `OSError` if the port is taken."""
        return await trio.open_tcp_listeners(port, host=host or None)


class Threads(Protocol):
    """Runs blocking calls away from the event loop."""

    async def run(self, call: Callable[[], T]) -> T:
        """Runs `call` in a thread and returns what it returns; not interrupted by cancellation."""


class WorkerThreads:
    """trio's worker threads, at most `limit` of them at a time for this owner."""

    def __init__(self, limit: int) -> None:
        self._limiter = trio.CapacityLimiter(limit)

    async def run(self, call: Callable[[], T]) -> T:
        """Runs `call` in a thread and returns what it returns; not interrupted by cancellation."""
        return await trio.to_thread.run_sync(call, limiter=self._limiter)
