"""Sliding windows by key: all spans of a length that differ in the records which they hold.

What is kept is not windows but records, those of one key and time made one row: a record's windows
are defined by other records too, and one that comes out of order makes new ones. The value of a
window is merged from the rows in it when it is asked for; from one window to the next, rows enter
at one end and leave at the other, and `_Slide` merges each of them a few times at most.

A record is in a window that holds its time and was open in its writer's time, so what a window
holds does not depend on how writers are mixed. A record that is on the edge is in some windows that
hold its time and not in others: its span's `end` is the earliest end of a window that it is in. It
defines windows likewise: one that ends with it, if it is in that, and one that begins after it.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.windowed import Mark, order_of
from streamlog.processing.operators.windowed_rows import TimedRows
from streamlog.processing.operators.windowed_spans import Span, Spans

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.accumulators import Row
    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.windowed import WindowStep
    from streamlog.processing.operators.windowed_spans import KeySpans
    from streamlog.processing.windows.sliding import SlidingWindows


_ENDS_FEW: Final = 2
_SPANS_FEW: Final = 8
"""Up to so many windows or rows it is quicker to look at all of them."""


class SlidingWindowed(Operator):
    """Aggregates by key and sliding window.

    Args:
        context: Of the task.
        windows: How long they are.
        step: What is aggregated, and when it comes out.
    """

    def __init__(self, context: OperatorContext, windows: SlidingWindows, step: WindowStep) -> None:
        self._factory = step.rows()
        self._spans = Spans(context, 0, self._factory, self._due, named_by_end=True)
        self._pending = TimedRows(context, 2, self._factory, depth=3)
        self._mark = Mark(context)
        super().__init__([self._spans, self._spans.dues, self._pending, self._mark])
        self._span_ms = windows.span_ms
        self._step = step
        self._select = step.selection()
        self._reusable = step.can_merge_again
        self._final = not step.changes and step.interval_ms is None

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Adds a record to the windows that are open for it."""
        # A writer that was taken for idle may come back with a time that is behind.
        time = max(time, self.now)
        step = self._step
        first = max(timestamp, time - step.grace_ms, self._mark.time + 1)
        if first > timestamp + self._span_ms:
            self.late += 1
            return NOTHING
        selected = self._select(value)
        if step.interval_ms is not None:
            times = step.due(time), timestamp, first
            self._pending.row(times, key).add(selected, timestamp, writer)
            return NOTHING
        found = self._spans.of(key)
        span, new = self._at(found, timestamp, first)
        span.row.add(selected, timestamp, writer)
        if self._final:
            return NOTHING
        ends = self._touched(found, span, new)
        return [(key, value, min(end, time)) for end, value in self._results(found, sorted(ends))]

    def advance(self, time: int) -> Sequence[Result]:
        """Gives what is due, and closes the windows that are over."""
        if time <= self.now:
            return NOTHING
        before = self._over()
        results = self._apply(time)
        self.now = time
        over: list[Result] = []
        for found in self._spans.due_through(time):
            over += self._close(found, before, self._over())
            self._spans.reschedule(found)
        over.sort(key=order_of)
        return results + over

    def drain(self) -> Sequence[Result]:
        """Closes all windows; a record that would have been in one of them is late for it."""
        results = self._apply(None)
        over: list[Result] = []
        before = self._over()
        for found in self._spans.all_keys():
            last = found.spans[-1].start
            self._mark.move(last + self._span_ms)
            over += self._close(found, before, last + 2 * self._span_ms)
            found.slide = None
        over.sort(key=order_of)
        return results + over

    def _over(self) -> int:
        """The latest end of a window that is closed."""
        return max(self._step.closed(self.now) - self._step.grace_ms - 1, self._mark.time)

    # What is kept.

    def _at(self, found: KeySpans, timestamp: int, first: int) -> tuple[Span, bool]:
        """Returns where a record is added, and whether it is the first at its time."""
        index = found.index(timestamp, first)
        spans = found.spans
        new = index == 0 or spans[index - 1].start != timestamp
        span: Span | None = None
        if index < len(spans) and spans[index].start == timestamp:
            new = False
            if spans[index].end == first:
                span = spans[index]
        if span is None:
            span = Span(timestamp, first, self._factory.new())
            spans.insert(index, span)
            found.edges += first != timestamp
            self.opened += 1
        span.dirty = True
        self._spans.schedule(found, self._closing(self._first_end(span, self._over())))
        return span, new

    def _first_end(self, span: Span, over: int) -> int:
        """The first end of a window which the records of a span define and that is open."""
        if span.end == span.start and span.start > over:
            return span.start
        return span.start + self._span_ms + 1

    def _closing(self, end: int) -> int:
        return self._step.closing(end + self._step.grace_ms + 1)

    def _due(self, spans: list[Span]) -> int:
        """When the next window of a key closes, or its first row is in none any more."""
        over = self._over()
        end = spans[0].start + self._span_ms + 1
        for span in spans:
            if span.start >= end:
                break
            if span.start > over and span.end == span.start:
                end = span.start
                break
        return self._closing(end)

    # Windows.

    def _touched(self, found: KeySpans, record: Span, new: bool) -> set[int]:
        """The ends of the windows that a record's coming has changed or made."""
        length = self._span_ms
        spans = found.spans
        ends: set[int] = set()
        for index in range(found.from_start(record.start - length - 1), len(spans)):
            span = spans[index]
            if span.start > record.start + length:
                break
            if span.end == span.start:
                ends.add(span.start)
            ends.add(span.start + length + 1)
        touched = {end for end in ends if record.end <= end <= record.start + length}
        made = record.start + length + 1
        if new and not found.has(made, made):
            touched.add(made)
        return touched

    def _results(self, found: KeySpans, ends: list[int]) -> list[tuple[int, Value]]:
        """The values of windows with rising ends, as far as they hold something."""
        results: list[tuple[int, Value]] = []
        if not ends:
            return results
        length = self._span_ms
        spans = found.spans
        first = found.from_start(ends[0] - length)
        if len(ends) <= _ENDS_FEW or found.from_start(ends[-1] + 1) - first <= _SPANS_FEW:
            for end in ends:
                row = self._held(spans, first, end)
                if row is not None:
                    results.append((end, self._step.result(end - length, end, row)))
            return results
        slide = _Slide(length, self._merged)
        edges = [span for span in spans if span.end != span.start] if found.edges else []
        for end in ends:
            row = slide.held(found, edges, end)
            if row is not None:
                results.append((end, self._step.result(end - length, end, row)))
        return results

    def _closing_results(self, found: KeySpans, ends: list[int]) -> list[tuple[int, Value]]:
        """As `_results`, of windows that close: their ends rise from one call to the next.

        What comes from now on is not in windows that have closed. So what was given to the slide
        stays as it is, but for records on the edge, and those are looked at by themselves.
        """
        spans = found.spans
        slide = found.slide
        if not isinstance(slide, _Slide):
            if len(spans) <= _SPANS_FEW or not ends:
                return self._results(found, ends)
            slide = found.slide = _Slide(self._span_ms, self._merged)
        length = self._span_ms
        results: list[tuple[int, Value]] = []
        edges = [span for span in spans if span.end != span.start] if found.edges else []
        for end in ends:
            row = slide.held(found, edges, end)
            if row is not None:
                results.append((end, self._step.result(end - length, end, row)))
        return results

    def _held(self, spans: list[Span], first: int, end: int) -> Row | None:
        """What a window holds, if it holds something; looks at all rows from an index on."""
        start = end - self._span_ms
        only: Row | None = None
        merged: Row | None = None
        count = len(spans)
        index = first
        while index < count:
            span = spans[index]
            index += 1
            if span.start > end:
                break
            if span.start < start or span.end > end:
                continue
            if only is None:
                only = span.row
                continue
            if merged is None:
                merged = self._factory.new()
                merged.merge(self._copied(only))
            merged.merge(self._copied(span.row))
        return only if merged is None else merged

    def _copied(self, row: Row) -> Row:
        """A row that may be used up, which merging may do."""
        return row if self._reusable else self._factory.decode(row.encode())

    def _merged(self, rows: list[Row]) -> Row | None:
        """One row of several in the order of their coming, which stay as they are."""
        if len(rows) < 2:
            return rows[0] if rows else None
        merged = self._factory.new()
        for row in rows:
            merged.merge(self._copied(row))
        return merged

    def _apply(self, through: int | None) -> list[Result]:
        """Adds what was noted for the intervals that are over, and shows changed windows."""
        results: list[Result] = []
        for due, group in groupby(self._pending.times(through), key=lambda times: times[0]):
            changed: dict[bytes | None, list[tuple[Span, bool]]] = {}
            for times in group:
                for key, row in self._pending.take(times):
                    span, new = self._at(self._spans.of(key), times[1], times[2])
                    span.row.merge(row)
                    changed.setdefault(key, []).append((span, new))
            shown: list[tuple[int, Result]] = []
            for key, records in changed.items():
                found = self._spans.of(key)
                ends = {end for each in records for end in self._touched(found, *each)}
                for end, value in self._results(found, sorted(ends)):
                    shown.append((end, (key, value, min(due - 1, end))))
            shown.sort(key=lambda each: (each[0], order_of(each[1])))
            results += [result for _, result in shown]
        return results

    def _close(self, found: KeySpans, before: int, over: int) -> list[Result]:
        """Removes what is in no open window; returns the results of windows that have closed."""
        length = self._span_ms
        spans = found.spans
        results: list[Result] = []
        if self._final:
            key = found.key
            for end, value in self._closing_results(found, self._ends(found, before, over)):
                results.append((key, value, end))
        count = 0
        while count < len(spans) and spans[count].start + length < over:
            span = spans[count]
            self._spans.forget(span)
            found.edges -= span.end != span.start
            count += 1
        if count:
            del spans[:count]
            self.opened -= count
        return results

    def _ends(self, found: KeySpans, before: int, over: int) -> list[int]:
        """The ends of the windows that close as time goes from `before` to `over`, in order."""
        length = self._span_ms
        spans = found.spans
        first, last = found.from_start(before - length), found.from_start(over - length)
        ends = [spans[index].start + length + 1 for index in range(first, last)]
        for index in range(found.from_start(before + 1), found.from_start(over + 1)):
            span = spans[index]
            if span.end == span.start:
                ends.append(span.start)
        return sorted(set(ends)) if len(ends) > 1 else ends


class _Slide:
    """The value of one window after the other, by end.

    `_rows` are those that are in the window, from `_low` on. Those before `_middle` are kept merged
    with all that follow up to there, so that the first can leave; those behind it are merged as
    they enter. So each row is merged three times, however many windows it is in.

    Args:
        length: Of the windows.
        merged: Makes one row of several, which stay as they are.
    """

    def __init__(self, length: int, merged: Callable[[list[Row]], Row | None]) -> None:
        self._rows: list[tuple[int, Row]] = []
        self._length = length
        self._merged = merged
        self._passed: int | None = None
        """Up to where rows have entered."""
        self._low = self._middle = 0
        self._front: list[Row | None] = []
        self._back: list[Row] = []

    def held(self, found: KeySpans, edges: list[Span], end: int) -> Row | None:
        """Returns what the window with this end holds, if it holds something; ends must rise.

        Args:
            found: The spans of the key.
            edges: Those of them that are not in all windows which hold their time: they are few,
                and looked at one by one.
            end: Of the window.
        """
        start = end - self._length
        spans = found.spans
        index = 0 if self._passed is None else found.from_start(self._passed + 1)
        while index < len(spans) and spans[index].start <= end:
            span = spans[index]
            if span.end == span.start:
                self._rows.append((span.start, span.row))
                self._back.append(span.row)
            index += 1
        self._passed = end
        while self._low < len(self._rows) and self._rows[self._low][0] < start:
            if self._low == self._middle:
                self._turn()
            self._low += 1
            self._front.pop()
        if len(self._back) > 1:
            self._back = [row for row in [self._merged(self._back)] if row is not None]
        front = [row for row in self._front[-1:] if row is not None]
        held = [edge.row for edge in edges if start <= edge.start and edge.end <= end]
        return self._merged([*front, *self._back, *held])

    def _turn(self) -> None:
        """Makes the rows from `_low` on the front; nothing is behind it then."""
        del self._rows[: self._low]
        self._low = 0
        self._front = []
        merged: Row | None = None
        for _, row in reversed(self._rows):
            merged = self._merged([row] if merged is None else [row, merged])
            self._front.append(merged)
        self._middle = len(self._rows)
        self._back = []
