"""Runs one operator without a task: records in, results out, time as a task would tell it.

Rows are kept in a sorted dictionary in place of LMDB. `restart` makes the operator anew from the
rows of the last checkpoint alone, as a crash and a restore do; the records since then come again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from sortedcontainers import SortedDict

from streamlog.processing.operators.operator import OperatorContext
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.keys import store_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from streamlog.processing.operators.operator import Operator, Result, Value


class MemoryRows:
    """What an operator sees of a task's state."""

    def __init__(self) -> None:
        self.rows: SortedDict[bytes, bytes] = SortedDict()

    def get(self, name: bytes) -> bytes | None:
        return self.rows.get(name)  # type: ignore[no-any-return]

    def scan_range(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for name in list(self.rows.irange(begin, end, inclusive=(True, False))):
            yield name, self.rows[name]


class Event(NamedTuple):
    """A record on its way into an operator."""

    key: bytes | None
    value: Value
    timestamp: int
    port: int = 0
    writer: int = 0


class Harness:
    """One operator, and the time of the writers that feed it.

    Args:
        make: Makes the operator, as its node does.
        tick_ms: As its node says; `None`: time is never told.
        writers: How many writers there are; the task's time is the smallest of theirs.
    """

    def __init__(
        self,
        make: Callable[[OperatorContext], Operator],
        tick_ms: int | None = 1,
        writers: int = 1,
    ) -> None:
        self.rows = MemoryRows()
        self.times = [NO_TIME] * writers
        self.late = 0
        self._make = make
        self._tick_ms = tick_ms
        self._saved = (NO_TIME, list(self.times), 0)
        self.operator = self._new()

    def _new(self) -> Operator:
        context = OperatorContext("step", self.rows, store_id("step"), 0)  # type: ignore[arg-type]
        return self._make(context)

    def send(self, event: Event) -> list[Result]:
        """Passes one record, time first; returns all that comes out."""
        time = max(self.times[event.writer], event.timestamp)
        self.times[event.writer] = time
        results = self._advance()
        results += self.operator.process(
            event.port, event.key, event.value, event.timestamp, time, event.writer
        )
        self.late += self.operator.late
        self.operator.late = 0
        return results

    def send_all(self, events: Sequence[Event]) -> list[Result]:
        """Passes records one after the other."""
        return [result for event in events for result in self.send(event)]

    def _advance(self) -> list[Result]:
        smallest = min(self.times)
        if self._tick_ms is None or smallest == NO_TIME:
            return []
        time = smallest - smallest % self._tick_ms
        return list(self.operator.advance(time)) if time > self.operator.now else []

    def move_time(self, time: int) -> list[Result]:
        """All writers say that their time is `time`."""
        self.times = [max(each, time) for each in self.times]
        return self._advance()

    def drain(self) -> list[Result]:
        """No more will come."""
        return list(self.operator.drain())

    def checkpoint(self) -> None:
        """Writes the changes."""
        for table in self.operator.tables:
            for name, row in table.changes():
                if row is None:
                    self.rows.rows.pop(name, None)
                else:
                    self.rows.rows[name] = row
            table.committed()
        self._saved = (self.operator.now, list(self.times), self.late)

    def restart(self) -> None:
        """Goes on from the last checkpoint with an operator that knows its rows only."""
        now, times, self.late = self._saved
        self.times = list(times)
        self.operator = self._new()
        self.operator.now = now
