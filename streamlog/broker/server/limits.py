"""What one client may take: connections, memory in flight, time to send and to receive.

`ServerLimits` are the settings. `ConnectionLimits` and `MemoryBudget` decide and count; they know
no sockets. Each bound has a default that a laptop survives, unlike Kafka's, most of which are
infinite.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import trio

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """The bounds of the network side of a broker."""

    request_bytes_max: int = 100 * MIB
    """The largest request; a larger one is refused before anything is allocated for it."""
    memory_bytes_max: int = 256 * MIB
    """What all large requests that are being received or handled may take together."""
    connections_max: int = 4096
    """Connections at a time, of all clients."""
    connections_per_address_max: int = 1024
    """Connections at a time, of one address."""
    idle_timeout_s: float = 600.0
    """How long a connection may stay without a request."""
    transfer_grace_s: float = 30.0
    """How long a request may take to arrive, or a response to leave, however small."""
    transfer_bytes_per_s_min: int = 64 * 1024
    """The rate below which a transfer counts as stalled once its grace is used up."""
    pipelined_max: int = 512
    """Unanswered requests of one connection; at more, nothing further is read from it."""
    stop_grace_s: float = 5.0
    """How long a stopping server waits for requests that are under way."""

    def transfer_seconds(self, size: int) -> float:
        """Returns how long `size` bytes may take.

        >>> ServerLimits(transfer_grace_s=30, transfer_bytes_per_s_min=1000).transfer_seconds(5000)
        35.0
        """
        return self.transfer_grace_s + size / self.transfer_bytes_per_s_min


class ConnectionLimits:
    """Admits connections, in total and per address.

    Args:
        limits: The settings.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._limits = limits
        self._count_by_address: Counter[str] = Counter()
        self._count = 0

    @property
    def count(self) -> int:
        """How many connections are open."""
        return self._count

    def admit(self, address: str) -> str | None:
        """Counts a new connection, or says why it is refused."""
        if self._count >= self._limits.connections_max:
            return f"{self._count} connections are open, the most that are allowed"
        count = self._count_by_address[address]
        if count >= self._limits.connections_per_address_max:
            return f"{count} connections of {address} are open, the most that are allowed"
        self._count_by_address[address] = count + 1
        self._count += 1
        return None

    def release(self, address: str) -> None:
        """Gives back what `admit` counted."""
        assert self._count > 0
        self._count -= 1
        self._count_by_address[address] -= 1
        if not self._count_by_address[address]:
            del self._count_by_address[address]


class MemoryBudget:
    """Bytes that all connections together may hold; whoever comes too late waits, in order.

    A single request larger than the whole budget is let in when nobody else holds any, so that no
    permitted request waits for ever.

    Args:
        size_bytes_max: The budget.
    """

    def __init__(self, size_bytes_max: int) -> None:
        self._size_max = size_bytes_max
        self._waiting: deque[_Waiter] = deque()
        self.size_bytes = 0

    @property
    def waiting_count(self) -> int:
        """How many requests wait for memory."""
        return len(self._waiting)

    def take_nowait(self, size: int) -> bool:
        """Takes `size` bytes if they are free and nobody waits."""
        if self._waiting or not self._fits(size):
            return False
        self.size_bytes += size
        return True

    async def take(self, size: int) -> None:
        """Takes `size` bytes as soon as they are free."""
        if self.take_nowait(size):
            try:
                await trio.lowlevel.checkpoint()
            except trio.Cancelled:
                self.give_back(size)
                raise
            return
        waiter = _Waiter(size)
        self._waiting.append(waiter)
        try:
            await waiter.granted.wait()
        except trio.Cancelled:
            if waiter.granted.is_set():
                self.give_back(size)
            else:
                self._waiting.remove(waiter)
                self._grant()
            raise

    def give_back(self, size: int) -> None:
        """Frees what was taken."""
        assert self.size_bytes >= size
        self.size_bytes -= size
        self._grant()

    def _fits(self, size: int) -> bool:
        return self.size_bytes == 0 or self.size_bytes + size <= self._size_max

    def _grant(self) -> None:
        while self._waiting and self._fits(self._waiting[0].size):
            waiter = self._waiting.popleft()
            self.size_bytes += waiter.size
            waiter.granted.set()


class _Waiter:
    __slots__ = ("granted", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.granted = trio.Event()
