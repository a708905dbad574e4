"""The newest row of each key: by event time, or as it comes.

Of rows that come from a topic the one with the newest time holds, whatever the order in which they
come: behind a repartition that is no order. Ties go to the larger writer, then to what came later.
The end of a row is remembered for a day of the task's time, so that an older row which comes behind
it stays out; one that comes more than a day behind it by its writer's clock is a row again, whether
the end has been forgotten yet or not.

Changes of another table are taken as they come: their order is right, since one task makes all of a
key. Their times never go back: a row holds from the newest time that its key has seen.

Rows of the first table: what holds.

    name of the key  ->  time, writer, stream time of the writer (of ends), row or nil

Rows of the second: ends of rows, by when they are forgotten.

    time, floored to a step | name of the key  ->  nothing
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from msgspec import Struct

from streamlog.processing.operators.join_rows import decoder_of, encode_row
from streamlog.processing.state.row_table import floor

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.agenda import Agenda
    from streamlog.processing.state.row_table import RowTable

T = TypeVar("T")

REMEMBERED_MS: Final = 86_400_000
"""How long the end of a row keeps older ones out."""
STEP_MS: Final = 3_600_000


class Newest(Struct, Generic[T], array_like=True, frozen=True):
    """What is kept of a key.

    Attributes:
        timestamp: Since when it holds.
        writer: Who wrote it.
        time: Of an end: the stream time of its writer.
        row: The row, or `None` where one has ended.
    """

    timestamp: int
    writer: int
    time: int
    row: T

    @property
    def forgotten_at(self) -> int:
        """Of an end: until when, by a writer's clock, it keeps older rows out."""
        return max(self.timestamp + REMEMBERED_MS, self.time)


class NewestRows:
    """The newest rows of one table in one task.

    Args:
        rows: Where they are.
        ends: Which ends to forget when, in steps of `STEP_MS`.
        row_type: Of rows, `None` included.
        by_time: Whether the newest time holds, or what came last.
    """

    def __init__(
        self, rows: RowTable, ends: Agenda, row_type: RuntimeType, *, by_time: bool
    ) -> None:
        self._rows = rows
        self._ends = ends
        self._by_time = by_time
        generic: Any = Newest
        self._decode = decoder_of(generic[row_type])

    def get(self, name: bytes, time: int) -> Newest[Any] | None:
        """Returns what holds for a record of a writer whose stream time is `time`."""
        stored = self._rows.get(name)
        if stored is None:
            return None
        held: Newest[Any] = self._decode(stored)
        return None if held.row is None and held.forgotten_at < time else held

    def offer(
        self, name: bytes, row: Value, timestamp: int, time: int, writer: int
    ) -> tuple[Newest[Any] | None, Newest[Any] | None]:
        """Takes a row, or `None` where one ends.

        Returns:
            What held before, and what holds now; the latter is `None` if the row came too late.
        """
        held = self.get(name, time)
        if held is not None:
            if self._by_time and (timestamp, writer) < (held.timestamp, held.writer):
                return held, None
            timestamp = max(timestamp, held.timestamp)
        new = Newest(timestamp, writer, time if row is None else 0, row)
        self._rows.put(name, encode_row(new))
        if row is None:
            self._ends.add(new.forgotten_at, name)
        return held, new

    def forget(self, now: int) -> None:
        """Forgets ends of rows that keep nothing out any more, at the task's time `now`."""
        passed = floor(now, STEP_MS)
        for _, name in self._ends.take(passed):
            stored = self._rows.get(name)
            held: Newest[Any] | None = None if stored is None else self._decode(stored)
            if held is not None and held.row is None and held.forgotten_at < passed:
                self._rows.delete(name)
