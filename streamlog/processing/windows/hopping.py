"""Hopping windows: spans of one length that begin at even distances and may overlap.

One that advances by its own size is a tumbling window; here those are the ones with an offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd


@dataclass(frozen=True, slots=True)
class HoppingWindows:
    """Windows of `size_ms`, one of which begins at `offset_ms`, and one every `advance_ms`."""

    size_ms: int
    advance_ms: int
    offset_ms: int = 0

    def ends(self, timestamp_ms: int) -> tuple[int, ...]:
        """Returns the ends of the windows that hold a moment, in order.

        >>> HoppingWindows(10, 5).ends(12), HoppingWindows(10, 5, 1).ends(0)
        ((15, 20), (1, 6))
        """
        since = (timestamp_ms - self.offset_ms) % self.advance_ms
        last = timestamp_ms - since + self.size_ms
        # The first end after the moment that is a whole number of advances before the last one.
        first = last - (last - timestamp_ms - 1) // self.advance_ms * self.advance_ms
        return tuple(range(first, last + 1, self.advance_ms))

    def slot(self, timestamp_ms: int) -> tuple[int, int, tuple[int, ...]]:
        """Returns a span around a moment in which all moments have the same windows, and those.

        >>> HoppingWindows(10, 5).slot(12), HoppingWindows(10, 4).slot(11)
        ((10, 15, (15, 20)), (10, 12, (14, 18)))
        """
        since = (timestamp_ms - self.offset_ms) % self.advance_ms
        begin = timestamp_ms - since
        # Windows begin at `begin`; between there and the next beginning, some may end.
        ending = self.size_ms % self.advance_ms
        low, high = (0, ending) if since < ending else (ending, self.advance_ms)
        return begin + low, begin + high, self.ends(timestamp_ms)

    def start_of(self, end_ms: int) -> int:
        """Returns the start of the window with an end."""
        return end_ms - self.size_ms

    def closing_ms(self, grace_ms: int) -> tuple[int, bool]:
        """Returns what all times at which windows close are multiples of.

        It is true if it is so exactly; else time is cut finely enough, and no finer.
        """
        exact = gcd(self.advance_ms, self.offset_ms + self.size_ms + grace_ms)
        if exact * 20 >= self.advance_ms:
            return exact, True
        return max(1, self.advance_ms // 20), False
