"""What stands behind `rewind --to`.

    start                        empty state, all input to be read again
    end                          the last checkpoint; puts the group's offsets right
    @2013-07-01T00:00            before any record of that time or later was processed
    @-2h                         as it was two hours ago
    -3                           three checkpoints back

A time that is a date is meant in the time of the records, a duration on the clock of the wall:
whoever names July 1st means the records of July, also if they were processed today, and whoever
says two hours ago has done something two hours ago. `--by clock` and `--by event` say otherwise.
"""

from __future__ import annotations

import re

from streamlog.cli.offsets import duration_ms, parse_time
from streamlog.errors import UsageError
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime, Target

EXAMPLES = "start, end, @2013-07-01T00:00, @-2h or -3"

_WORDS = {
    **dict.fromkeys(("start", "oldest", "earliest"), Edge.START),
    **dict.fromkeys(("end", "newest", "latest"), Edge.END),
}
_DURATION = re.compile(r"-(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|hr|[hmsd]))+", re.ASCII)
_BACK = re.compile(r"-(\d+)", re.ASCII)


def parse_rewind_target(text: str, now_ms: int, by: str | None = None) -> Target:
    """Parses it.

    Args:
        text: As the user wrote it.
        now_ms: The wall time.
        by: "event" or "clock", to say which time is meant.

    >>> parse_rewind_target("@2013-07-01T00:00", now_ms=0)
    EventTime(time_ms=1372636800000)
    >>> parse_rewind_target("@-2h", now_ms=10_000_000), parse_rewind_target("-3", now_ms=0)
    (ClockTime(time_ms=2800000), Back(checkpoints=3))
    """
    if text in _WORDS:
        return _WORDS[text]
    if match := _BACK.fullmatch(text):
        return Back(int(match[1]))
    if text.startswith("@"):
        if _DURATION.fullmatch(text[1:]):
            at_ms = now_ms + duration_ms(text[1:])
            return EventTime(at_ms) if by == "event" else ClockTime(at_ms)
        moment = parse_time(text[1:], now_ms)
        if moment is not None:
            return ClockTime(moment) if by == "clock" else EventTime(moment)
    raise UsageError(f"--to {text} does not say where to go", hint=f"Write {EXAMPLES}")
