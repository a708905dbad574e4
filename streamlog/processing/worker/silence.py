"""When is a source partition silent, and what follows from it? Asked now and then by the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.repartition.position import NO_TIME

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at the clock yields.

    Attributes:
        fell_idle: Whether the partition is idle from now on: others need not wait for it.
        time: To where stream time goes on without a record, if it does.
    """

    fell_idle: bool = False
    time: int | None = None


class Silence:
    """Follows one source partition that was read to its end; silence begins at the first look.

    Args:
        idle: After how long others go on without it; `None`: never.
        quiet: After how long its time goes on as the clock does; `None`: never.
    """

    def __init__(self, idle: timedelta | None, quiet: timedelta | None) -> None:
        self._idle_ms = _milliseconds(idle)
        self._quiet_ms = _milliseconds(quiet)
        self._since_ms: int | None = None
        self._time_then = NO_TIME
        self._told = False

    def heard(self) -> None:
        """Records have come."""
        self._since_ms = None
        self._told = False

    def look(self, now_ms: int, time: int, *, caught_up: bool) -> Verdict:
        """Says what follows from the time on the wall clock.

        Args:
            now_ms: The wall clock.
            time: The partition's stream time.
            caught_up: Whether all that is in the log has been read.
        """
        if not caught_up:
            self.heard()
            return Verdict()
        if self._since_ms is None:
            self._since_ms, self._time_then = now_ms, time
        silent_ms = now_ms - self._since_ms
        fell_idle = self._idle_ms is not None and silent_ms >= self._idle_ms and not self._told
        self._told = self._told or fell_idle
        goes_on = self._quiet_ms is not None and silent_ms >= self._quiet_ms
        moved = self._time_then + silent_ms
        if goes_on and self._time_then != NO_TIME and moved > time:
            return Verdict(fell_idle, moved)
        return Verdict(fell_idle)


def _milliseconds(span: timedelta | None) -> int | None:
    return None if span is None else round(span.total_seconds() * 1000)
