"""Sessions by key: events no further apart than a gap, whatever the order in which they come.

An event in time joins every session that it touches, and may so make one of several. Which events
are in time is decided by each event and its writer's time alone, and a session is kept until no
event in time can touch it. So the sessions are those of all events in time, in any order.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.windowed import Mark, order_of
from streamlog.processing.operators.windowed_rows import TimedRows
from streamlog.processing.operators.windowed_spans import Span, Spans

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.windowed import WindowStep
    from streamlog.processing.operators.windowed_spans import KeySpans
    from streamlog.processing.windows.sessions import SessionWindows


class SessionWindowed(Operator):
    """Aggregates by key and session.

    Args:
        context: Of the task.
        windows: What a session is.
        step: What is aggregated, and when it comes out.
    """

    def __init__(self, context: OperatorContext, windows: SessionWindows, step: WindowStep) -> None:
        self._factory = step.rows()
        self._spans = Spans(context, 0, self._factory, self._due)
        self._pending = TimedRows(context, 2, self._factory, depth=2)
        self._mark = Mark(context)
        super().__init__([self._spans, self._spans.dues, self._pending, self._mark])
        self._gap_ms = windows.gap_ms
        self._wait_ms = windows.gap_ms + step.grace_ms + 1
        self._step = step
        self._select = step.selection()
        self._final = not step.changes and step.interval_ms is None

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Adds an event to its session."""
        # A writer that was taken for idle may come back with a time that is behind.
        time = max(time, self.now)
        step = self._step
        if timestamp < time - step.grace_ms or timestamp <= self._mark.time:
            self.late += 1
            return NOTHING
        selected = self._select(value)
        if step.interval_ms is not None:
            self._pending.row((step.due(time), timestamp), key).add(selected, timestamp, writer)
            return NOTHING
        found = self._spans.of(key)
        span = self._join(found, timestamp)
        span.row.add(selected, timestamp, writer)
        return [self._show(key, span, span.end)] if step.changes else NOTHING

    def advance(self, time: int) -> Sequence[Result]:
        """Gives what is due, and closes the sessions that are over."""
        if time <= self.now:
            return NOTHING
        self.now = time
        results = self._apply(time)
        closed = self._step.closed(time)
        over: list[Result] = []
        for found in self._spans.due_through(time):
            over += self._close(found, closed - self._wait_ms)
            self._spans.reschedule(found)
        over.sort(key=order_of)
        return results + over

    def drain(self) -> Sequence[Result]:
        """Closes all sessions; an event that would have touched one of them is late."""
        results = self._apply(None)
        over: list[Result] = []
        for found in self._spans.all_keys():
            last = found.spans[-1].end
            self._mark.move(last + self._gap_ms)
            over += self._close(found, last)
        over.sort(key=order_of)
        return results + over

    def _join(self, found: KeySpans, timestamp: int) -> Span:
        """Returns the session of an event: a new one, one that is there, or several made one."""
        gap = self._gap_ms
        spans = found.spans
        # Most events come last of their key.
        high = len(spans)
        if high and spans[-1].start > timestamp + gap:
            high = found.from_start(timestamp + gap + 1)
        low = high
        while low and spans[low - 1].end + gap >= timestamp:
            low -= 1
        if low == high:
            span = Span(timestamp, timestamp, self._factory.new())
            spans.insert(low, span)
            self.opened += 1
        else:
            span = spans[low]
            for other in spans[low + 1 : high]:
                span.row.merge(other.row)
                span.shown = sorted(span.shown + other.shown)
                span.end = max(span.end, other.end)
                self._spans.forget(other)
                self.opened -= 1
            del spans[low + 1 : high]
            span.start = min(span.start, timestamp)
            span.end = max(span.end, timestamp)
            span.dirty = True
        if found.scheduled is None or low == 0:
            self._spans.schedule(found, self._due(spans))
        return span

    def _due(self, spans: list[Span]) -> int:
        """When the first session of a key is over."""
        return self._step.closing(spans[0].end + self._wait_ms)

    def _apply(self, through: int | None) -> list[Result]:
        """Adds what was noted for the intervals that are over to sessions, and shows those."""
        results: list[Result] = []
        for due, group in groupby(self._pending.times(through), key=lambda times: times[0]):
            events: list[tuple[bytes | None, int]] = []
            for times in group:
                for key, row in self._pending.take(times):
                    self._join(self._spans.of(key), times[1]).row.merge(row)
                    events.append((key, times[1]))
            changed: dict[int, tuple[bytes | None, Span]] = {}
            for key, timestamp in events:
                found = self._spans.of(key)
                span = found.spans[found.from_start(timestamp + 1) - 1]
                changed[id(span)] = key, span
            shown = [
                self._show(key, span, min(due - 1, span.end)) for key, span in changed.values()
            ]
            results += sorted(shown, key=_order_shown)
        return results

    def _show(self, key: bytes | None, span: Span, timestamp: int) -> Result:
        """Returns what comes out of a session that goes on."""
        now = span.start, span.end
        replaced = [each for each in span.shown if each != now]
        span.shown = [now]
        span.dirty = True
        return key, self._step.result(span.start, span.end, span.row, replaced), timestamp

    def _close(self, found: KeySpans, through: int) -> list[Result]:
        """Removes a key's sessions that end at a time or before; returns results if final."""
        spans = found.spans
        count = 0
        while count < len(spans) and spans[count].end <= through:
            count += 1
        over = spans[:count]
        del spans[:count]
        self.opened -= count
        results: list[Result] = []
        for span in over:
            self._spans.forget(span)
            if self._final:
                result = self._step.result(span.start, span.end, span.row)
                results.append((found.key, result, span.end))
        return results


def _order_shown(result: Result) -> tuple[object, ...]:
    key, value, timestamp = result
    return timestamp, value.end, key is not None, key or b""
