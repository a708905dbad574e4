"""Spans of time with a row of accumulators each, by key: what sessions and sliding windows keep.

A key's spans are at hand as a list in the order of time; on disk each is a row of its own:

    key        as `token_of` makes it
    start      8 bytes
    end        8 bytes, if the table is of spans whose end is part of what they are

A second table says when to look at a key again:

    due        8 bytes
    key        as `token_of` makes it

What it says is brought up to date at a checkpoint, as a function of the spans and of time, so that
state does not depend on the order of records. Between checkpoints the keys that have changed wait
in memory, and what the table says of them is passed over.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from streamlog.processing.state.row_table import (
    RowTable,
    kept_key,
    key_of,
    time_name,
    time_of,
    token_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_extensions import i64

    from streamlog.processing.operators.accumulators import Row, RowFactory
    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

KEPT_SPANS_MAX: Final = 50_000
"""Spans of keys without changes that are kept to save reads."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


class Span:
    """A span of time and what was aggregated in it.

    Attributes:
        start: Its first moment.
        end: Its last moment; of records in sliding windows: the first end of a window they are in.
        row: The aggregates.
        shown: Starts and ends under which results came out for what it has become.
        stored: Its name on disk, if it has one.
        dirty: Whether it has to be written.
    """

    __slots__ = ("dirty", "end", "row", "shown", "start", "stored")

    def __init__(self, start: int, end: int, row: Row) -> None:
        self.start = start
        self.end = end
        self.row = row
        self.shown: list[tuple[int, int]] = []
        self.stored: bytes | None = None
        self.dirty = True


class KeySpans:
    """The spans of a key, by start and end; change them through `Spans` only."""

    __slots__ = ("edges", "key", "scheduled", "slide", "spans", "stored_due")

    def __init__(self, key: bytes | None) -> None:
        self.key = key
        self.spans: list[Span] = []
        self.edges = 0
        """How many spans have another end than their start, if the operator counts them."""
        self.slide: object = None
        """What the operator keeps to be quick: a function of the spans that are and were."""
        self.scheduled: int | None = None
        """When it will be looked at, if it has changed since the last checkpoint."""
        self.stored_due: int | None = None
        """What the table on disk says."""

    def index(self, start: int, end: int) -> int:
        """Returns where a span stands, or would stand."""
        spans = self.spans
        low: i64 = 0
        high: i64 = len(spans)
        # Most come in order: the last one is looked at first.
        middle: i64 = high - 1
        while low < high:
            span = spans[middle]
            if span.start < start or (span.start == start and span.end < end):
                low = middle + 1
            else:
                high = middle
            middle = (low + high) >> 1
        return low

    def has(self, start: int, end: int) -> bool:
        """Whether there is such a span."""
        index = self.index(start, end)
        if index == len(self.spans):
            return False
        span = self.spans[index]
        return span.start == start and span.end == end

    def from_start(self, start: int) -> int:
        """Returns the index of the first span that starts at a time or later."""
        spans = self.spans
        low: i64 = 0
        high: i64 = len(spans)
        while low < high:
            middle: i64 = (low + high) >> 1
            if spans[middle].start < start:
                low = middle + 1
            else:
                high = middle
        return low


class Spans(RowTable):
    """The spans of all keys of a step.

    Args:
        context: Of the operator.
        number: Of the table; the next number is that of the table of dues.
        factory: Makes rows.
        due: When a key is due, of its spans, of which there is one at least.
        named_by_end: Whether two spans may have the same start.
    """

    def __init__(
        self,
        context: OperatorContext,
        number: int,
        factory: RowFactory,
        due: Callable[[list[Span]], int],
        *,
        named_by_end: bool = False,
    ) -> None:
        super().__init__(context.store, context.store_id, number)
        self.dues = context.table(number + 1)
        """Has to stand behind this one among the operator's tables."""
        self.factory = factory
        self._due = due
        self._named_by_end = named_by_end
        self._dirty: dict[bytes | None, KeySpans] = {}
        self._kept: dict[bytes | None, KeySpans] = {}
        self._kept_count = 0
        self._heap: list[int] = []
        self._waiting: dict[int, list[KeySpans]] = {}
        self._removed: list[bytes] = []
        self._passed: int | None = None
        """What is due up to here on disk has been taken since the operator was made."""
        self._next_due = b""
        """No row of dues that has not been taken has a name before it."""

    def of(self, key: bytes | None) -> KeySpans:
        """Returns the spans of a key, to be changed."""
        found = self._dirty.get(key)
        if found is None:
            found = self._kept.pop(key, None)
            if found is None:
                found = self._load(key)
            else:
                self._kept_count -= len(found.spans)
            self._dirty[key] = found
        return found

    def schedule(self, found: KeySpans, due: int) -> None:
        """Has a changed key looked at when time has come to `due`, or before."""
        if found.scheduled is None or due < found.scheduled:
            found.scheduled = due
            waiting = self._waiting.get(due)
            if waiting is None:
                self._waiting[due] = [found]
                heappush(self._heap, due)
            else:
                waiting.append(found)

    def due_through(self, time: int) -> list[KeySpans]:
        """Returns the keys that may be due at a time; each has to be scheduled again."""
        found: dict[bytes | None, KeySpans] = {}
        end = time_name(time + 1)
        if end > self._next_due:
            begin = b"" if self._passed is None else time_name(self._passed + 1)
            rows = list(self.dues.scan(begin, end))
            for name, row in rows:
                each = self._of_due(name, row)
                found[each.key] = each
            if not rows:
                self._next_due = self.dues.next_name(end)
        self._passed = time
        while self._heap and self._heap[0] <= time:
            for each in self._waiting.pop(heappop(self._heap)):
                # One that was scheduled again for an earlier time has been looked at since.
                if each.scheduled is not None and each.scheduled <= time:
                    found[each.key] = each
        for each in found.values():
            each.scheduled = None
        return list(found.values())

    def reschedule(self, found: KeySpans) -> None:
        """Has a key that was looked at looked at again when it is due."""
        if found.spans:
            self.schedule(found, self._due(found.spans))

    def all_keys(self) -> list[KeySpans]:
        """Returns the keys that have spans, in no order."""
        for name, row in list(self.dues.scan_prefix(b"")):
            self._of_due(name, row)
        return [each for each in self._dirty.values() if each.spans]

    def _of_due(self, name: bytes, row: bytes) -> KeySpans:
        found = self.of(key_of(name[8:], _decode(row)))
        found.stored_due = time_of(name)
        return found

    def forget(self, span: Span) -> None:
        """Has a span's row removed; the caller takes it from its key's spans."""
        if span.stored is not None:
            self._removed.append(span.stored)

    # Disk.

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        prefix = self._prefix
        changes: list[Change] = []
        for found in self._dirty.values():
            token = token_of(found.key)
            changes += [
                (prefix + self._name(token, span), _contents(span))
                for span in found.spans
                if span.dirty
            ]
            due = self._due(found.spans) if found.spans else None
            if due != found.stored_due:
                if found.stored_due is not None:
                    self.dues.delete(time_name(found.stored_due) + token)
                if due is not None:
                    self.dues.put(time_name(due) + token, _encode(kept_key(found.key, token)))
                found.stored_due = due
        # A row may have been removed and made again.
        return [(prefix + name, None) for name in self._removed] + changes

    def _name(self, token: bytes, span: Span) -> bytes:
        """The name under which a span is written; the one that it had is removed."""
        name = token + time_name(span.start)
        if self._named_by_end:
            name += time_name(span.end)
        if span.stored != name:
            self.forget(span)
            span.stored = name
        return name

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        self._removed = []
        for key, found in self._dirty.items():
            found.scheduled = None
            for span in found.spans:
                span.dirty = False
            if found.spans:
                self._kept[key] = found
                self._kept_count += len(found.spans)
        self._dirty = {}
        self._heap = []
        self._waiting = {}
        self._passed = None
        self._next_due = b""
        while self._kept_count > KEPT_SPANS_MAX:
            # Those that changed longest ago go first.
            self._kept_count -= len(self._kept.pop(next(iter(self._kept))).spans)

    def _load(self, key: bytes | None) -> KeySpans:
        found = KeySpans(key)
        for name, row in self.scan_prefix(token_of(key)):
            start, end, shown, contents = cast("list[Any]", _decode(row))
            span = Span(start, end, self.factory.decode(contents))
            span.shown = [(first, last) for first, last in shown]
            span.stored = name
            span.dirty = False
            found.spans.append(span)
            found.edges += end != start
        if found.spans:
            found.stored_due = self._due(found.spans)
        return found


def _contents(span: Span) -> bytes:
    return _encode([span.start, span.end, span.shown, span.row.encode()])
