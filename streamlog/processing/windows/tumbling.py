"""Tumbling windows: spans of one length, side by side, aligned to 1970-01-01T00:00:00Z.

A window holds its start and not its end. It is named by its end, because that is what decides when
it closes and in which order results come out.

`tumbling` also makes the windows that begin somewhere else, or are days of a place: those are
hopping windows that advance by their own size, and calendar windows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.processing.windows.calendar import CalendarWindows
    from streamlog.processing.windows.hopping import HoppingWindows

NO_OFFSET = timedelta(0)


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


def tumbling(
    size: timedelta, *, offset: timedelta = NO_OFFSET, zone: str | None = None
) -> TumblingWindows | HoppingWindows | CalendarWindows:
    """Cuts time into spans of one length, side by side.

    >>> tumbling(timedelta(hours=1))
    TumblingWindows(size_ms=3600000)

    Args:
        size: The length of a window.
        offset: Where windows begin. Without it one begins at 1970-01-01T00:00:00Z, a Thursday:
            `tumbling(timedelta(days=7), offset=timedelta(days=4))` are weeks from Monday.
        zone: A time zone such as "America/New_York", in which windows are whole days as clocks
            there show them: 23 and 25 hours long when those are put forward and back. `offset`
            is then by those clocks as well: six hours are days from six in the morning.
    """
    from streamlog.processing.windows.calendar import calendar_days
    from streamlog.processing.windows.hopping import HoppingWindows

    if zone is not None:
        return calendar_days(size, size, offset, zone)
    size_ms = milliseconds(size, "a window's length", least_ms=1)
    offset_ms = milliseconds(offset, "a window's offset", least_ms=None) % size_ms
    if offset_ms:
        return HoppingWindows(size_ms, size_ms, offset_ms)
    return TumblingWindows(size_ms)


def milliseconds(span: timedelta, what: str, *, least_ms: int | None) -> int:
    """Returns a span in whole milliseconds, the unit of timestamps in the log."""
    if not isinstance(span, timedelta):
        raise UsageError(
            f"{what} is {span!r}, but it has to be a timedelta",
            hint="For example: timedelta(hours=1)",
        )
    whole, rest = divmod(
        span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds, 1000
    )
    if rest or (least_ms is not None and whole < least_ms):
        least = "" if least_ms is None else f", at least {least_ms}"
        raise UsageError(
            f"{what} is {span}, but it has to be whole milliseconds{least}",
            hint="For example: timedelta(hours=1)",
        )
    return whole
