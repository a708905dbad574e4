"""Tumbling windows: spans of one length, side by side, aligned to 1970-01-01T00:00:00Z.

A window holds its start and not its end. It is named by its end, because that is what decides when
it closes and in which order results come out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from datetime import timedelta


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


def tumbling(size: timedelta) -> TumblingWindows:
    """Cuts time into spans of one length, aligned to 1970-01-01T00:00:00Z (UTC).

    >>> from datetime import timedelta
    >>> tumbling(timedelta(hours=1))
    TumblingWindows(size_ms=3600000)
    """
    return TumblingWindows(milliseconds(size, "a window's length", least_ms=1))


def milliseconds(span: timedelta, what: str, *, least_ms: int) -> int:
    """Returns a span in whole milliseconds, the unit of timestamps in the log."""
    whole, rest = divmod(
        span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds, 1000
    )
    if rest or whole < least_ms:
        raise UsageError(
            f"{what} is {span}, but it has to be whole milliseconds, at least {least_ms}",
            hint="For example: timedelta(hours=1)",
        )
    return whole
