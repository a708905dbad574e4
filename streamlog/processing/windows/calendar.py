"""Windows that are days or months as clocks in a place show them, across daylight saving.

Days are counted by the date on a clock in the zone, from 1970-01-01. A window begins when that
clock shows midnight, or the offset after midnight. Where the clock is put forward past that moment,
the window begins at the jump; where it shows it twice, it begins at the first time. So no moment is
left out and none is in two windows, and the days of the changes have 23 and 25 hours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import gcd
from zoneinfo import ZoneInfo

DAY_MS = 86_400_000
_QUARTER_MS = 900_000
"""Clocks all over the world differ from UTC by multiples of this, in our times."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_LOCAL = datetime(1970, 1, 1)
_KNOWN_MAX = 10_000


@dataclass(frozen=True, slots=True)
class CalendarWindows:
    """Windows of `size` days or months of which one begins every `advance` of them."""

    unit: str
    """"day" or "month"."""
    size: int
    advance: int
    zone: str
    offset_ms: int = 0
    """By the zone's clocks, after midnight of the first day."""
    _begins: dict[int, int] = field(default_factory=dict, repr=False, compare=False)
    _recent: list[tuple[int, int, int]] = field(
        default_factory=lambda: [(0, 0, 0)], repr=False, compare=False
    )
    """Start, end and number of the day or month that was last asked for; tasks share it."""

    def ends(self, timestamp_ms: int) -> tuple[int, ...]:
        """Returns the ends of the windows that hold a moment, in order."""
        last = self._number_of(timestamp_ms)
        last -= last % self.advance
        count = -(-self.size // self.advance)
        found: list[int] = []
        for start in range(last - (count - 1) * self.advance, last + 1, self.advance):
            end = self._begin_of(start + self.size)
            # A day that a place never had (Samoa's 2011-12-30) ends no window of its own.
            if end > timestamp_ms and (not found or end > found[-1]):
                found.append(end)
        return tuple(found)

    def slot(self, timestamp_ms: int) -> tuple[int, int, tuple[int, ...]]:
        """Returns a span around a moment in which all moments have the same windows, and those."""
        number = self._number_of(timestamp_ms)
        return self._begin_of(number), self._begin_of(number + 1), self.ends(timestamp_ms)

    def start_of(self, end_ms: int) -> int:
        """Returns the start of the window with an end."""
        return self._begin_of(self._number_of(end_ms - 1) + 1 - self.size)

    def closing_ms(self, grace_ms: int) -> tuple[int, bool]:
        """Returns what all times at which windows close are multiples of, nearly always."""
        exact = gcd(_QUARTER_MS, self.offset_ms, grace_ms)
        return (exact, False) if exact >= 60_000 else (60_000, False)

    def _number_of(self, timestamp_ms: int) -> int:
        """The number of the day or month that holds a moment."""
        start, end, number = self._recent[0]
        if start <= timestamp_ms < end:
            return number
        local = (_EPOCH + timedelta(milliseconds=timestamp_ms)).astimezone(ZoneInfo(self.zone))
        shifted = local.replace(tzinfo=None) - timedelta(milliseconds=self.offset_ms)
        if self.unit == "day":
            number = (shifted - _EPOCH_LOCAL).days
        else:
            number = (shifted.year - 1970) * 12 + shifted.month - 1
        # Where a clock is put back it shows moments again that belong to what has begun since.
        while self._begin_of(number + 1) <= timestamp_ms:
            number += 1
        while self._begin_of(number) > timestamp_ms:
            number -= 1
        self._recent[0] = self._begin_of(number), self._begin_of(number + 1), number
        return number

    def _begin_of(self, number: int) -> int:
        """When a day or month begins."""
        found = self._begins.get(number)
        if found is None:
            if len(self._begins) >= _KNOWN_MAX:
                self._begins.clear()
            if self.unit == "day":
                local = _EPOCH_LOCAL + timedelta(days=number)
            else:
                local = datetime(1970 + number // 12, number % 12 + 1, 1)
            local += timedelta(milliseconds=self.offset_ms)
            moment = local.replace(tzinfo=ZoneInfo(self.zone)) - _EPOCH
            found = moment // timedelta(milliseconds=1)
            self._begins[number] = found
        return found
