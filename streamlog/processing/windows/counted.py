"""Windows of a number of records, in the order in which they come."""

from __future__ import annotations

from dataclasses import dataclass

from streamlog.errors import UsageError


@dataclass(frozen=True, slots=True)
class CountWindows:
    """Every `count` records of a key are a window."""

    count: int


def count_windows(count: int) -> CountWindows:
    """Puts every `count` records of a key together, in the order of the log.

    `Windowed.start` and `end` are the earliest and the latest event time among them. No time makes
    such a window close, so none is late; when the input is drained, what is there comes out. If the
    records have to be in the order of their event times, put `.in_order()` in front.

    >>> count_windows(100)
    CountWindows(count=100)
    """
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise UsageError(
            f"a window has {count!r} records, but it has to be a whole number, at least 1",
            hint="For example: count_windows(100)",
        )
    return CountWindows(count)
