"""What to look at when time passes, and what waits: rows by time, in memory until a checkpoint.

Most of what waits for time waits for less than a checkpoint takes to come, so it is written down
only if it is still there then. Both tables go by steps of time, at whose multiples they are asked.
"""

from __future__ import annotations

from heapq import heappop, heappush
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.operators.join_rows import Waiting, encode_row, waiting_decoder
from streamlog.processing.state.row_table import (
    RowTable,
    floor,
    time_name,
    time_of,
    writer_in,
    writer_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.dsl.nodes import RuntimeType
    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

FAR_FUTURE: Final = 1 << 62

Due: TypeAlias = tuple[int, int, bytes, int, Waiting[Any]]
"""When it is due, its time, the token of its key, its writer, and the record."""


class _TimedRows(RowTable):
    """Rows whose names begin with a time; those of a time that has passed are taken out."""

    def __init__(self, context: OperatorContext, number: int) -> None:
        super().__init__(context.store, context.store_id, number)
        self._first = b""
        self._next = b""
        """No row has a name before it, as far as `_first` has not passed it already."""

    def _note(self, rows: Mapping[bytes, bytes]) -> None:
        if rows:
            self.put_all(rows)
            least = min(rows)
            self._first = min(self._first, least)
            self._next = min(self._next, least)

    def _take(self, until: int) -> list[tuple[bytes, bytes]]:
        """Takes the rows of times before `until` out.

        What was taken before is not looked through again: it stays on the disk until a checkpoint.
        """
        end = time_name(until)
        if end <= self._next:
            return []
        found = list(self.scan(self._first, end))
        if until < FAR_FUTURE:
            self._first = end
            if not found:
                self._next = self.next_name(end)
        self.delete_all([name for name, _ in found])
        return found


class Agenda(_TimedRows):
    """Names to look at when a time has passed.

        time, floored to a step | name  ->  nothing

    Args:
        context: Where the operator runs.
        number: Of the table.
        step_ms: Multiples of it are when it is asked.
    """

    def __init__(self, context: OperatorContext, number: int, step_ms: int) -> None:
        super().__init__(context, number)
        self._step_ms = step_ms
        self._fresh: dict[int, set[bytes]] = {}
        self._steps: list[int] = []
        """A heap of those of `_fresh`."""

    def add(self, time: int, name: bytes) -> None:
        """Has a name looked at when a time has passed."""
        step = floor(time, self._step_ms)
        names = self._fresh.get(step)
        if names is None:
            self._fresh[step] = {name}
            heappush(self._steps, step)
        else:
            names.add(name)

    def take(self, until: int) -> list[tuple[int, bytes]]:
        """Returns steps that begin before a time, with what to look at, in order; each once."""
        found = {(time_of(name), name[8:]) for name, _ in self._take(until)}
        steps = self._steps
        while steps and steps[0] < until:
            step = heappop(steps)
            for name in self._fresh.pop(step):
                found.add((step, name))
        return sorted(found)

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        rows: dict[bytes, bytes] = {}
        for step, names in self._fresh.items():
            begin = time_name(step)
            for name in names:
                rows[begin + name] = b""
        self._note(rows)
        self._fresh.clear()
        self._steps.clear()
        return super().changes()

    def _remember(self, name: bytes, row: bytes | None) -> None:
        """Nothing: a row is read once."""


class WaitingRows(_TimedRows):
    """Records that wait until they are due.

        due time | time | token of the key | writer  ->  list of records

    Args:
        context: Where the operator runs.
        number: Of the table.
        value_type: Of the records' values.
        step_ms: Multiples of it are when it is asked.
    """

    def __init__(
        self, context: OperatorContext, number: int, value_type: RuntimeType, step_ms: int
    ) -> None:
        super().__init__(context, number)
        self._decode = waiting_decoder(value_type)
        self._step_ms = step_ms
        self._fresh: dict[int, list[Due]] = {}
        self._steps: list[int] = []
        """A heap of those of `_fresh`."""

    def add(
        self, due: int, timestamp: int, token: bytes, writer: int, record: Waiting[Any]
    ) -> None:
        """Has a record wait until a time has passed."""
        step = due - due % self._step_ms
        records = self._fresh.get(step)
        if records is None:
            records = self._fresh[step] = []
            heappush(self._steps, step)
        records.append((due, timestamp, token, writer, record))

    def take(self, until: int) -> list[Due]:
        """Takes out the records that are due before a time.

        They are in the order of their due times, whatever is asked for at once.
        """
        found: list[Due] = []
        for name, row in self._take(until):
            due, timestamp = time_of(name), time_of(name, 8)
            token, writer = name[16:-4], writer_in(name, len(name) - 4)
            found += [(due, timestamp, token, writer, each) for each in self._decode(row)]
        steps = self._steps
        while steps and steps[0] < until:
            found += self._fresh.pop(heappop(steps))
        if len(found) > 1:
            # Sorting is stable: what is equal stays in the order in which it came.
            found.sort(key=itemgetter(0, 1, 2, 3))
        return found

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        rows: dict[bytes, list[Waiting[Any]]] = {}
        for records in self._fresh.values():
            for due, timestamp, token, writer, record in records:
                name = time_name(due) + time_name(timestamp) + token + writer_name(writer)
                rows.setdefault(name, []).append(record)
        encoded: dict[bytes, bytes] = {}
        for name, waiting in rows.items():
            row = self.get(name)
            if row is not None:
                waiting = [*self._decode(row), *waiting]
            encoded[name] = encode_row(waiting)
        self._note(encoded)
        self._fresh.clear()
        self._steps.clear()
        return super().changes()
