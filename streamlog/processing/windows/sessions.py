"""Sessions: what happens to a key without a pause longer than a gap.

A session begins with its first event and ends with its last. Events that come out of order make it
longer, or join two of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.declaration import check_span

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class SessionWindows:
    """Events at most `gap_ms` apart are of one session."""

    gap_ms: int


def sessions(gap: timedelta) -> SessionWindows:
    """Puts together what happens to a key without a pause longer than `gap`.

    `Windowed.start` is the time of the first event and `end` that of the last, as in Kafka Streams;
    Flink's end is later by the gap.

    What is one session does not depend on the order in which events come. So a session is over when
    no event in time can make it longer: when stream time has passed its last event by the gap and
    the grace. An event is late if it is more than the grace behind stream time; unless the grace is
    given, it is as long as the gap. (Kafka Streams takes an event of any age, if it happens to
    touch a session that is still there.)

    >>> from datetime import timedelta
    >>> sessions(timedelta(minutes=30))
    SessionWindows(gap_ms=1800000)
    """
    return SessionWindows(check_span(gap, "the gap between sessions", least_ms=1))
