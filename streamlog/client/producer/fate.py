"""What becomes of a batch of records, as its senders see it.

A fate is open until the batch is acknowledged or has failed. A batch that is too large for the
broker is split: then its fate *is* the fates of the two halves, and who waits follows the half that
its record went into.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.errors import StreamlogError


class Fate:
    """The fate of consecutive records that travel together."""

    __slots__ = (
        "_watchers",
        "append_time_ms",
        "base_offset",
        "count",
        "error",
        "halves",
        "is_done",
    )

    def __init__(self) -> None:
        self.count = 0
        self.is_done = False
        self.base_offset = -1
        self.append_time_ms = -1
        """The broker's clock, where the topic's timestamps are the broker's; else -1."""
        self.error: StreamlogError | None = None
        self.halves: tuple[Fate, Fate] | None = None
        self._watchers: list[Callable[[], None]] = []

    def watch(self, call: Callable[[], None]) -> None:
        """Calls once when the fate is done or split; at once if it is already."""
        if self.is_done or self.halves:
            call()
        else:
            self._watchers.append(call)

    def succeed(self, base_offset: int, append_time_ms: int) -> None:
        """The records are in the log (offset -1: somewhere)."""
        self.base_offset = base_offset
        self.append_time_ms = append_time_ms
        self._finish()

    def fail(self, error: StreamlogError) -> None:
        """The records are not in the log, or nobody knows."""
        self.error = error
        self._finish()

    def split(self, count: int) -> tuple[Fate, Fate]:
        """Returns the fates of the first `count` records and of the others."""
        assert not self.is_done
        assert 0 < count < self.count
        self.halves = first, second = Fate(), Fate()
        first.count, second.count = count, self.count - count
        self._call_watchers()
        return self.halves

    def locate(self, index: int) -> tuple[Fate, int]:
        """Follows splits to the fate that the record at `index` has now, and its index there."""
        fate = self
        while fate.halves:
            first, second = fate.halves
            if index < first.count:
                fate = first
            else:
                fate, index = second, index - first.count
        return fate, index

    def leaves(self) -> list[Fate]:
        """Returns the fates that this one was split into, in order; itself if it was not."""
        if self.halves is None:
            return [self]
        return [*self.halves[0].leaves(), *self.halves[1].leaves()]

    def _finish(self) -> None:
        assert not self.is_done
        self.is_done = True
        self._call_watchers()

    def _call_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for call in watchers:
            call()
