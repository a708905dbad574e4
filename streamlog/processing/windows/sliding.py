"""Sliding windows, as Kafka Streams has them: of one length, wherever records begin or end them.

Of all the spans of `span` (both ends belong to it) only those count that differ in what they hold:
one that ends at a record, and one that begins a millisecond after a record has left. So a record at
`t` makes the windows `[t - span, t]` and, if it holds something, `[t + 1, t + 1 + span]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.declaration import check_span

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class SlidingWindows:
    """Records at most `span_ms` apart are together in some window."""

    span_ms: int


def sliding(span: timedelta) -> SlidingWindows:
    """Looks at all that happens within a span of time, wherever it lies.

    There is a window for each record, which ends with it, and one for each record that has just
    been left behind: as many as there are different sets of neighbouring records. `Windowed.start`
    and `end` both belong to the window, as in Kafka Streams.

    Each record makes up to two results, so filter what comes out, or use `hopping` for regular
    ones.

    >>> from datetime import timedelta
    >>> sliding(timedelta(minutes=5))
    SlidingWindows(span_ms=300000)
    """
    return SlidingWindows(check_span(span, "the span of sliding windows", least_ms=1))
