"""All kinds of windows, and what can be said of each without state."""

from __future__ import annotations

from typing import TypeAlias

from streamlog.processing.windows.calendar import CalendarWindows
from streamlog.processing.windows.counted import CountWindows
from streamlog.processing.windows.hopping import HoppingWindows
from streamlog.processing.windows.sessions import SessionWindows
from streamlog.processing.windows.sliding import SlidingWindows
from streamlog.processing.windows.tumbling import TumblingWindows

ClockWindows: TypeAlias = HoppingWindows | CalendarWindows
"""Windows that are where they are whatever the records; their end does not belong to them."""
TimeWindows: TypeAlias = ClockWindows | SlidingWindows | SessionWindows
"""Windows that close as time passes, so that records can be late."""
Windows: TypeAlias = TumblingWindows | TimeWindows | CountWindows
KINDS = (TumblingWindows, HoppingWindows, CalendarWindows, SlidingWindows, SessionWindows)
ALL_KINDS = (*KINDS, CountWindows)


def last_moment(windows: TimeWindows, timestamp_ms: int) -> int:
    """Returns until when, in its writer's time, a record at a moment has a window to go to.

    A record is late when its writer's time is past this by more than the grace.
    """
    match windows:
        case SlidingWindows():
            return timestamp_ms + windows.span_ms
        case SessionWindows():
            return timestamp_ms
        case _:
            return windows.ends(timestamp_ms)[-1] - 1


def drained_through(windows: TimeWindows, timestamp_ms: int) -> int:
    """Returns what is over when the input ends with a record at a moment.

    After it, a record is late if its `last_moment` is not later than this.
    """
    if isinstance(windows, SessionWindows):
        return timestamp_ms + windows.gap_ms
    return last_moment(windows, timestamp_ms)
