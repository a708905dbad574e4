"""Files and directories on their way out: renamed already, unlinked when their time has come.

A fetch that is being sent holds its file open, so the delay is not for its sake: it gives an
operator a moment to save what a wrong retention setting has removed (`file.delete.delay.ms`).
What is left when the server ends is removed at its next start.
"""

from __future__ import annotations

import heapq
import logging
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.broker.log.names import DELETED

if TYPE_CHECKING:
    from streamlog.broker.log.disk import Disk
    from streamlog.doors import Threads

logger = logging.getLogger("streamlog.broker")


class Removals:
    """Paths with the moments at which they go; at most one is being removed at a time."""

    def __init__(self, disk: Disk, threads: Threads) -> None:
        self._disk = disk
        self._threads = threads
        self._heap: list[tuple[float, str]] = []
        self._added = trio.Event()

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, path: str, delay_s: float) -> None:
        """Lets a path go after a delay."""
        heapq.heappush(self._heap, (trio.current_time() + delay_s, path))
        self._added.set()

    async def run(self) -> None:
        """Removes for as long as it is not cancelled."""
        while True:
            if not self._heap:
                await self._added.wait()
            self._added = trio.Event()
            with trio.move_on_at(self._heap[0][0]):
                await self._added.wait()  # something may have to go sooner
            if self._heap[0][0] <= trio.current_time():
                await self._remove(heapq.heappop(self._heap)[1])

    async def _remove(self, path: str) -> None:
        remove = self._disk.unlink if path.endswith(DELETED) else self._disk.remove_tree
        try:
            await self._threads.run(partial(remove, path))
        except OSError as error:
            logger.warning("%s was not removed: %s", path, error)
