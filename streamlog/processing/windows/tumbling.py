"""Tumbling windows: spans of one length, side by side, aligned to 1970-01-01T00:00:00Z.

A window holds its start and not its end. It is named by its end, because that is what decides when
it closes and in which order results come out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TumblingWindows:
    """How time is cut; `size_ms` is positive."""

    size_ms: int

    def end_of(self, timestamp_ms: int) -> int:
        """Returns the end of the window that holds a moment.

        >>> TumblingWindows(1000).end_of(999), TumblingWindows(1000).end_of(1000)
        (1000, 2000)
        """
        return timestamp_ms - timestamp_ms % self.size_ms + self.size_ms
