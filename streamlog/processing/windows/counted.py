"""Windows of a number of records, in the order in which they come."""

from __future__ import annotations

from dataclasses import dataclass

from streamlog.processing.declaration import check_count


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
    check_count(count, "the number of records in a window", example="count_windows(100)")
    return CountWindows(count)
