"""Where fetches wait for data: a long poll parks here until a partition that it reads moves.

A parked fetch watches each of its partitions. When a partition's high watermark moves, only its own
watchers are looked at, and of each only that one partition, so a wake-up costs O(watchers of that
partition) whatever else is parked. A fetch leaves when the sum of what is there for it, each
partition capped by its own limit, reaches what it asked for; when a partition goes away; when the
broker stops; or when its caller's patience ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.broker.log.errors import LogError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.log.partition_log import PartitionLog


class ParkedFetch:
    """One waiting request.

    Args:
        bytes_min: How much must be there before it is answered.
        watched: By log, the offset to read from and the most that one response takes of it.
        available: By log, how many bytes are there already.
    """

    __slots__ = ("_available", "_bytes_min", "_ready", "_total", "watched")

    def __init__(
        self,
        bytes_min: int,
        watched: Mapping[PartitionLog, tuple[int, int]],
        available: dict[PartitionLog, int],
    ) -> None:
        self._bytes_min = bytes_min
        self._ready = trio.Event()
        self._available = available
        self._total = sum(available.values())
        self.watched = watched

    def note_progress(self, log: PartitionLog) -> None:
        """Looks at one partition again and wakes the request if there is enough now."""
        offset, bytes_max = self.watched[log]
        if log.offline is not None or offset < log.log_start_offset:
            self._ready.set()
            return
        if log.high_watermark <= offset:
            return
        if self._bytes_min > 1:
            # Data is rare enough here: only who asked for more than a byte has to be measured.
            try:
                found = log.read(offset, bytes_max, upper_bound=log.high_watermark)
            except (LogError, OSError):
                # The request reads again and tells its client.
                self._ready.set()
                return
            self._total += found.size - self._available.get(log, 0)
            self._available[log] = found.size
            if self._total < self._bytes_min and not found.is_behind:
                return
        self._ready.set()

    def wake(self) -> None:
        """Wakes the request whatever there is."""
        self._ready.set()

    async def wait_ready(self) -> None:
        """Waits until there is enough."""
        await self._ready.wait()


class FetchPurgatory:
    """All parked fetches of a broker, by the partitions that they watch."""

    def __init__(self) -> None:
        # Dictionaries in place of sets, so that the order of waking is that of parking.
        self._by_log: dict[PartitionLog, dict[ParkedFetch, None]] = {}
        self._count = 0
        self._is_closed = False

    def __len__(self) -> int:
        return self._count

    async def wait(self, parked: ParkedFetch, timeout_s: float) -> None:
        """Parks a fetch until it is woken or the time is over.

        What came between the caller's read and this call is noticed: the caller yields to nobody in
        between, because both happen in one step of the event loop.
        """
        if self._is_closed:
            await trio.lowlevel.checkpoint()
            return
        for log in parked.watched:
            self._by_log.setdefault(log, {})[parked] = None
        self._count += 1
        try:
            with trio.move_on_after(timeout_s):
                await parked.wait_ready()
        finally:
            self._count -= 1
            for log in parked.watched:
                watchers = self._by_log[log]
                del watchers[parked]
                if not watchers:
                    del self._by_log[log]

    def note_progress(self, log: PartitionLog) -> None:
        """A partition's high watermark or start moved, or it is not served any more."""
        watchers = self._by_log.get(log)
        if watchers:
            for parked in watchers:
                parked.note_progress(log)

    def close(self) -> None:
        """Wakes everybody; later ones do not wait. So a stopping broker answers at once."""
        self._is_closed = True
        for watchers in self._by_log.values():
            for parked in watchers:
                parked.wake()
