"""Windows that are where they are whatever the records, in every way of emission.

Those are hopping windows, days of a place, and tumbling windows that do more than to give one
result at their end.

A record is added to the row of each window that holds it and is open for it. With emission at
intervals it is added to a row of the interval first: such rows are merged into the window's own
when the interval is over, and tell which windows have changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.dsl.moments import utc
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.windowed import Mark
from streamlog.processing.operators.windowed_rows import TimedRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.windowed import WindowStep
    from streamlog.processing.operators.windowed_rows import Rows, Times
    from streamlog.processing.windows.kinds import ClockWindows


class ClockWindowed(Operator):
    """Aggregates by key and window.

    Args:
        context: Of the task.
        windows: How time is cut.
        step: What is aggregated, and when it comes out.
    """

    def __init__(self, context: OperatorContext, windows: ClockWindows, step: WindowStep) -> None:
        factory = step.rows()
        self._rows = TimedRows(context, 0, factory)
        self._pending = TimedRows(context, 1, factory, depth=2)
        self._mark = Mark(context)
        super().__init__([self._rows, self._pending, self._mark])
        self._windows = windows
        self._step = step
        self._select = step.selection()
        self._begin = self._end = 0
        """Between these, moments have the same windows."""
        self._ends: tuple[int, ...] = ()
        self._slot: list[tuple[int, Times, Rows]] = []
        self._edition = -1
        """Of the rows, when the slot was made."""

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Adds a record to its windows."""
        # A writer that was taken for idle may come back with a time that is behind.
        time = max(time, self.now)
        step = self._step
        if not self._begin <= timestamp < self._end:
            self._begin, self._end, self._ends = self._windows.slot(timestamp)
            self._edition = -1
        over = max(time - step.grace_ms, self._mark.time + 1)
        if self._ends[-1] <= over:
            self.late += 1
            return NOTHING
        selected = self._select(value)
        if step.interval_ms is not None:
            due = step.due(time)
            for end in self._ends:
                if end > over:
                    self._pending.row((due, end), key).add(selected, timestamp, writer)
            return NOTHING
        rows = self._rows
        if self._edition != rows.edition:
            self._slot = [(end, (end,), rows.window((end,))) for end in self._ends]
            self._edition = rows.edition
        results: list[Result] = []
        for end, times, window in self._slot:
            if end <= over:
                continue
            row = window.get(key)
            if row is None:
                row = rows.touch(times, key)
                self._count()
            row.add(selected, timestamp, writer)
            if step.changes:
                result = step.result(self._windows.start_of(end), end, row)
                results.append((key, result, min(end - 1, time)))
        return results

    def advance(self, time: int) -> Sequence[Result]:
        """Gives what is due, and closes the windows that are over."""
        if time <= self.now:
            return NOTHING
        self.now = time
        results = self._show(time)
        return results + self._close(self._step.closed(time) - self._step.grace_ms)

    def drain(self) -> Sequence[Result]:
        """Closes all windows; what comes for one of them later is late."""
        results = self._show(None)
        ends = [end for (end,) in self._rows.times()]
        if ends:
            self._mark.move(ends[-1] - 1)
            results += self._close(ends[-1])
        return results

    def _show(self, through: int | None) -> list[Result]:
        """Adds what was noted for the intervals that are over to the windows, and shows them."""
        results: list[Result] = []
        for due, end in self._pending.times(through):
            for key, change in self._pending.take((due, end)):
                row = self._rows.row((end,), key)
                row.merge(change)
                result = self._step.result(self._windows.start_of(end), end, row)
                results.append((key, result, min(due, end) - 1))
        self._count()
        return results

    def _close(self, through: int) -> list[Result]:
        """Removes the windows that end at or before a time; returns results if they are final."""
        step = self._step
        final = not step.changes and step.interval_ms is None
        results: list[Result] = []
        for times in self._rows.times(through):
            (end,) = times
            rows = self._rows.take(times)
            if final:
                first, last, build = utc(self._windows.start_of(end)), utc(end), step.build
                results += [
                    (key, Windowed(first, last, build(row.results())), end - 1) for key, row in rows
                ]
        self._count()
        return results

    def _count(self) -> None:
        self.opened += self._rows.opened
        self._rows.opened = 0
