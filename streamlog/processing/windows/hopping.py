"""Hopping windows: spans of one length that begin at even distances and may overlap.

One that advances by its own size is a tumbling window; here those are the ones with an offset.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import TYPE_CHECKING

from streamlog.errors import UsageError
from streamlog.processing.windows.tumbling import NO_OFFSET, milliseconds

if TYPE_CHECKING:
    from datetime import timedelta

    from streamlog.processing.windows.calendar import CalendarWindows

WINDOWS_OF_ONE_RECORD_MAX = 1_000
"""Each record is added to all windows that hold it."""


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


def hopping(
    size: timedelta,
    *,
    advance: timedelta,
    offset: timedelta = NO_OFFSET,
    zone: str | None = None,
) -> HoppingWindows | CalendarWindows:
    """Cuts time into spans of one length that overlap; each record is in `size / advance` of them.

    >>> from datetime import timedelta
    >>> hopping(timedelta(hours=1), advance=timedelta(minutes=5))
    HoppingWindows(size_ms=3600000, advance_ms=300000, offset_ms=0)

    Args:
        size: The length of a window.
        advance: The distance between the starts of two windows, at most `size`.
        offset: Where windows begin; as of `tumbling`.
        zone: The time zone whose whole days they are; as of `tumbling`.
    """
    from streamlog.processing.windows.calendar import calendar_days

    if zone is not None:
        return calendar_days(size, advance, offset, zone)
    size_ms = milliseconds(size, "a window's length", least_ms=1)
    advance_ms = milliseconds(advance, "the advance of a window", least_ms=1)
    check_advance(size_ms, advance_ms, size, advance)
    offset_ms = milliseconds(offset, "a window's offset", least_ms=None) % advance_ms
    return HoppingWindows(size_ms, advance_ms, offset_ms)


def check_advance(size: int, advance: int, size_said: object, advance_said: object) -> None:
    """Refuses windows with gaps between them, and those of which a record has too many."""
    if advance > size:
        raise UsageError(
            f"windows of {size_said} that advance by {advance_said} leave out what is between them",
            hint="Let them advance by at most their size, and filter what is not wanted",
        )
    if size > advance * WINDOWS_OF_ONE_RECORD_MAX:
        raise UsageError(
            f"windows of {size_said} that advance by {advance_said} put each record into "
            f"{-(-size // advance)} windows, more than {WINDOWS_OF_ONE_RECORD_MAX}",
            hint="Let them advance further, or use sliding(…), whose windows begin and end with "
            "records",
        )
