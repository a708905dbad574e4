"""`tumbling`, `hopping` and `months`: windows that are where they are whatever the records.

What the user says decides which kind it is: a tumbling window that begins somewhere else than it
would by itself is a hopping one that advances by its own size, and one of whole days in a time zone
is a calendar window.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from zoneinfo import ZoneInfo

from streamlog.processing.declaration import check_count, check_span, plan_error
from streamlog.processing.windows.calendar import DAY_MS, CalendarWindows
from streamlog.processing.windows.hopping import HoppingWindows
from streamlog.processing.windows.tumbling import TumblingWindows

NO_OFFSET: Final = timedelta(0)
WINDOWS_OF_ONE_RECORD_MAX: Final = 1_000
"""Each record is added to all windows that hold it."""


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
    if zone is not None:
        return _calendar_days(size, size, offset, zone)
    size_ms = check_span(size, "a window's length", least_ms=1)
    offset_ms = check_span(offset, "a window's offset", least_ms=None) % size_ms
    if offset_ms:
        return HoppingWindows(size_ms, size_ms, offset_ms)
    return TumblingWindows(size_ms)


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
    if zone is not None:
        return _calendar_days(size, advance, offset, zone)
    size_ms = check_span(size, "a window's length", least_ms=1)
    advance_ms = check_span(advance, "the advance of a window", least_ms=1)
    _check_advance(size_ms, advance_ms, size, advance)
    offset_ms = check_span(offset, "a window's offset", least_ms=None) % advance_ms
    return HoppingWindows(size_ms, advance_ms, offset_ms)


def months(count: int = 1, *, zone: str = "UTC", offset: timedelta = NO_OFFSET) -> CalendarWindows:
    """Cuts time into months, as calendars and clocks in a place show them.

    >>> from streamlog.processing.dsl.windowed import utc
    >>> utc(months(zone="America/New_York").ends(1_362_200_000_000)[0]).isoformat()
    '2013-04-01T04:00:00+00:00'

    Args:
        count: Months in a window: 3 makes quarters, 12 years.
        zone: The time zone; by default UTC.
        offset: Where windows begin, after midnight of the first day of the month.
    """
    example = 'months(3, zone="America/New_York")'
    check_count(count, "the number of months in a window", example=example)
    offset_ms = check_span(offset, "a window's offset", least_ms=0)
    if offset_ms >= 28 * DAY_MS:
        raise plan_error(
            f"a window's offset is {offset}, but the shortest month has 28 days",
            hint="Name the day of the month that is first: offset=timedelta(days=14) is the 15th",
        )
    return CalendarWindows("month", count, count, _known(zone), offset_ms)


def _calendar_days(
    size: timedelta, advance: timedelta, offset: timedelta, zone: str
) -> CalendarWindows:
    """Returns windows of whole days in a time zone; `tumbling` and `hopping` say what they mean."""
    days = _days(size, "a window's length", zone)
    steps = _days(advance, "the advance of a window", zone)
    _check_advance(days, steps, size, advance)
    offset_ms = check_span(offset, "a window's offset", least_ms=None) % (steps * DAY_MS)
    return CalendarWindows("day", days, steps, _known(zone), offset_ms)


def _days(span: timedelta, what: str, zone: str) -> int:
    whole, rest = divmod(check_span(span, what, least_ms=1), DAY_MS)
    if rest:
        raise plan_error(
            f"{what} is {span}, but in a time zone it has to be whole days: there are days in "
            f"{zone} that have an hour more or less",
            hint="Leave out zone=…, and use offset=… to say where windows begin",
        )
    return whole


def _known(zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise plan_error(
            f"there is no time zone {zone!r}",
            hint='Zones have names of the IANA database: "America/New_York", "Europe/Berlin"',
        ) from error
    return zone


def _check_advance(size: int, advance: int, size_said: object, advance_said: object) -> None:
    """Refuses windows with gaps between them, and those of which a record has too many."""
    if advance > size:
        raise plan_error(
            f"windows of {size_said} that advance by {advance_said} leave out what is between them",
            hint="Let them advance by at most their size, and filter what is not wanted",
        )
    if size > advance * WINDOWS_OF_ONE_RECORD_MAX:
        raise plan_error(
            f"windows of {size_said} that advance by {advance_said} put each record into "
            f"{-(-size // advance)} windows, more than {WINDOWS_OF_ONE_RECORD_MAX}",
            hint="Let them advance further, or use sliding(…), whose windows begin and end with "
            "records",
        )
