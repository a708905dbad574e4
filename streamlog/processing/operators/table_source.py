"""Keeps the newest row of each key, and tells what changes: a stream becomes a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.dsl.change import Change, nullable_type
from streamlog.processing.operators.agenda import Agenda
from streamlog.processing.operators.newest_rows import STEP_MS, NewestRows
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.state.row_table import token_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

LAYOUT = "newest rows"


class TableSource(Operator):
    """A value is its key's row from its time on, a `None` ends the row; see `newest_rows`."""

    def __init__(self, context: OperatorContext, row_type: RuntimeType) -> None:
        rows, ends = context.table(0), Agenda(context, 1, STEP_MS)
        super().__init__((rows, ends))
        self._newest = NewestRows(rows, ends, nullable_type(row_type), by_time=True)
        self._name = context.name

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes a row, and returns the change that it makes."""
        if key is None:
            note = f"{self._name}: records without a key are left out, as rows need one"
            if note not in self.notes:
                self.notes.append(note)
            return NOTHING
        time = max(time, self.now)
        held, new = self._newest.offer(token_of(key), value, timestamp, time, writer)
        old = None if held is None else held.row
        if new is None or (old is None and value is None):
            return NOTHING
        return ((key, Change(old, value), new.timestamp),)

    def advance(self, time: int) -> Sequence[Result]:
        """Forgets ends of rows that keep nothing out any more."""
        super().advance(time)
        self._newest.forget(time)
        return NOTHING
