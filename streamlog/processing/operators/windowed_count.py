"""Windows of a number of records of a key, in the order in which they come.

On disk a key has one row, named by the key: how many records there are, their earliest and latest
time, and the aggregates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.windowed import order_of
from streamlog.processing.state.row_table import RowTable, kept_key, key_of, token_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.operators.accumulators import Row, RowFactory
    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.windowed import WindowStep
    from streamlog.processing.state.rows import Change
    from streamlog.processing.windows.counted import CountWindows

KEPT_MAX: Final = 50_000
"""Unchanged windows that are kept to save reads."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode


class CountWindowed(Operator):
    """Aggregates every so many records of a key.

    Args:
        context: Of the task.
        windows: How many.
        step: What is aggregated, and when it comes out.
    """

    def __init__(self, context: OperatorContext, windows: CountWindows, step: WindowStep) -> None:
        self._open = OpenWindows(context, step.rows())
        super().__init__([self._open])
        self._count = windows.count
        self._step = step
        self._select = step.selection()

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Adds a record to the window of its key; the last of a window closes it."""
        selected = self._select(value)
        window = self._open.of(key)
        if window.count == 0:
            self.opened += 1
            window.start = window.end = timestamp
        else:
            window.start = min(window.start, timestamp)
            window.end = max(window.end, timestamp)
        window.count += 1
        window.row.add(selected, timestamp, writer)
        full = window.count == self._count
        results = [self._result(key, window)] if full or self._step.changes else NOTHING
        if full:
            self._open.close(key)
            self.opened -= 1
        return results

    def drain(self) -> Sequence[Result]:
        """Gives the windows that are not full."""
        results = []
        for key, window in self._open.take_all():
            self.opened -= 1
            if not self._step.changes:
                results.append(self._result(key, window))
        return sorted(results, key=order_of)

    def _result(self, key: bytes | None, window: OpenWindow) -> Result:
        result = self._step.result(window.start, window.end, window.row)
        return key, result, window.end


class OpenWindow:
    """A window that is not full."""

    __slots__ = ("count", "end", "row", "start")

    def __init__(self, row: Row) -> None:
        self.count = 0
        self.start = self.end = 0
        self.row = row


class OpenWindows(RowTable):
    """The windows of all keys that are not full.

    Args:
        context: Of the operator.
        factory: Makes rows.
    """

    def __init__(self, context: OperatorContext, factory: RowFactory) -> None:
        super().__init__(context.store, context.store_id, 0)
        self._factory = factory
        self._dirty: dict[bytes | None, OpenWindow | None] = {}
        self._kept: dict[bytes | None, OpenWindow | None] = {}

    def of(self, key: bytes | None) -> OpenWindow:
        """Returns the window of a key, to be changed."""
        found = self._dirty.get(key)
        if found is None:
            if key not in self._dirty:
                found = self._kept.pop(key) if key in self._kept else self._load(key)
            if found is None:
                found = OpenWindow(self._factory.new())
            self._dirty[key] = found
        return found

    def close(self, key: bytes | None) -> None:
        """Removes a window that is full."""
        self._dirty[key] = None

    def take_all(self) -> list[tuple[bytes | None, OpenWindow]]:
        """Removes all windows; returns them in no order."""
        for name, stored in list(self.scan_prefix(b"")):
            key = key_of(name, cast("list[Any]", _decode(stored))[0])
            if key not in self._dirty:
                self.of(key)
        found = [(key, window) for key, window in self._dirty.items() if window is not None]
        for key, _ in found:
            self.close(key)
        return found

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        for key, window in self._dirty.items():
            token = token_of(key)
            if window is None:
                self.delete(token)
                continue
            contents = [
                kept_key(key, token),
                window.count,
                window.start,
                window.end,
                window.row.encode(),
            ]
            self.put(token, _encode(contents))
        return super().changes()

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        # Windows are kept as objects, not as bytes.
        self._changed.clear()
        self._clean.clear()
        self._kept.update(self._dirty)
        self._dirty = {}
        if len(self._kept) > KEPT_MAX:
            self._kept.clear()

    def _load(self, key: bytes | None) -> OpenWindow | None:
        stored = self.get(token_of(key))
        if stored is None:
            return None
        _, count, start, end, row = cast("list[Any]", _decode(stored))
        window = OpenWindow(self._factory.decode(row))
        window.count, window.start, window.end = count, start, end
        return window
