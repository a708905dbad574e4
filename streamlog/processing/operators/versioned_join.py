"""Joins a stream with a table by event time: each record meets the row that held when it happened.

A record waits until the task's time has passed its own by `grace`, because until then a version may
come that holds at its time; a record that is out of order waits until time has passed what its
writer's clock was. Where records come in the order of time, and there is no grace, all that counts
has come before, and it does not wait. Then it is looked up (`versions` says what counts) and comes
out with its own timestamp, in the order in which records became due. So every record of the stream
is joined, early or late, unless it is later than the table's history reaches: then it is counted
and left out.

The same serves for the nearest earlier record of a stream, which then is the table.

Rows of tables 0 and 1: the versions; see there. Rows of table 2: the records that wait.

    due time | time | token of the key | writer  ->  list of records
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from streamlog.processing.dsl.moments import utc
from streamlog.processing.operators.agenda import FAR_FUTURE, Agenda, WaitingRows
from streamlog.processing.operators.join_rows import Waiting
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.versions import Versions, forgetting_step
from streamlog.processing.state.row_table import kept_key, key_of, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

STREAM: Final = 0
SURE_TICK_MS: Final = 60_000
"""Where nothing waits, time matters for what is forgotten only."""
MISSES_BEFORE_NOTE: Final = 100
"""Records that only find newer rows, while none finds a row, before that is worth a note."""
UNMET_KEYS_MAX: Final = 1_000
"""Keys of records without a row that are looked out for, for the sake of that note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedJoinSpec:
    """What a join by event time does.

    Args:
        how: "left" gives `None` in place of a row that there is not.
        grace_ms: How long versions that come late are waited for.
        history_ms: How late a record of the stream may be; at least `grace_ms`.
        tolerance_ms: How old a row may be; `None`: as old as it is.
        exact: Whether a row of the very same time counts.
        function: Makes a result of value and row.
        types: Of the stream's values, and of the rows with `None`.
        tick_ms: How finely time passes.
        table: What the user calls the table.
        is_nearest: Whether it is a stream of which the nearest earlier record is looked for.
    """

    how: Literal["inner", "left"]
    grace_ms: int
    history_ms: int
    tolerance_ms: int | None = None
    exact: bool = True
    function: Callable[[Value, Value], Value]
    types: tuple[RuntimeType, RuntimeType]
    tick_ms: int
    table: str
    is_nearest: bool = False

    @property
    def layout(self) -> str:
        """What the rows depend on."""
        tolerance = "" if self.tolerance_ms is None else f" tolerance {self.tolerance_ms}"
        return (
            f"versioned join {self.how} grace {self.grace_ms} history {self.history_ms}"
            f"{tolerance} ms{'' if self.exact else ' not exact'}"
        )


class VersionedJoin(Operator):
    """The join; port 0 is the stream, port 1 the table."""

    def __init__(self, context: OperatorContext, spec: VersionedJoinSpec) -> None:
        reach_ms = spec.history_ms + (0 if spec.exact else 1)
        rows, due = context.table(0), Agenda(context, 1, forgetting_step(reach_ms))
        self._waiting = WaitingRows(context, 2, spec.types[0], spec.tick_ms)
        super().__init__((rows, due, self._waiting))
        tolerance = spec.tolerance_ms
        if tolerance is not None and not spec.exact:
            tolerance -= 1
        self._spec = spec
        self._is_sure: bool = context.is_sure
        self._left: bool = spec.how == "left"
        self._history_ms: int = spec.history_ms
        self._function = spec.function
        self._before: int = 0 if spec.exact else 1
        self._versions = Versions(rows, due, spec.types[1], reach_ms, tolerance)
        self._settled = False
        self._misses = 0
        self._miss = (0, 0)
        self._unmet: dict[bytes, tuple[int, int]] = {}
        """By key, where there is no row yet: how many records found none, and the last one's time.

        Where records come in the order of time, rows that are newer have not come when they would
        be found.
        """

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Has a record wait, or notes a version."""
        if key is None:
            if port == STREAM and self._left:
                return ((None, self._function(value, None), timestamp),)
            return NOTHING
        if time < self.now:
            time = self.now
        if port != STREAM:
            self._versions.put(key, value, timestamp, time, writer)
            if self._unmet:
                self._meet(key, timestamp)
        elif timestamp < time - self._history_ms:
            self.late += 1
        elif self._is_sure:
            return self._found(key, value, timestamp, time)
        else:
            due = max(timestamp + self._spec.grace_ms, time)
            token = token_of(key)
            record: Waiting[Any] = Waiting(kept_key(key, token), time, False, value)
            self._waiting.add(due, timestamp, token, writer, record)
            self.opened += 1
        return NOTHING

    def advance(self, time: int) -> Sequence[Result]:
        """Joins what is due, and forgets versions that nothing is old enough for."""
        super().advance(time)
        results = self._join(time)
        self._versions.forget(time)
        if self._misses >= MISSES_BEFORE_NOTE:
            self._note()
        return results

    def drain(self) -> Sequence[Result]:
        """Joins all that waits."""
        results = self._join(FAR_FUTURE)
        if self._misses:
            self._note()
        return results

    def _join(self, until: int) -> list[Result]:
        results: list[Result] = []
        waiting = self._waiting.take(until)
        self.opened -= len(waiting)
        for due, timestamp, token, _, record in waiting:
            key = key_of(token, record.key)
            assert key is not None
            results += self._found(key, record.value, timestamp, due)
        return results

    def _found(self, key: bytes, value: Value, timestamp: int, due: int) -> Sequence[Result]:
        """Joins a record for which all that counts has come."""
        row = self._versions.held(key, timestamp - self._before, due)
        if row is not None:
            if not self._settled:
                self._settle()
        else:
            self._missed(key, timestamp)
            if not self._left:
                return NOTHING
        return ((key, self._function(value, row), timestamp),)

    def _missed(self, key: bytes, timestamp: int) -> None:
        """Notes a record that found nothing, if it is because it is older than all rows."""
        if self._settled:
            return
        oldest = self._versions.oldest(key)
        if oldest is None:
            missed = self._unmet.get(key)
            if missed is not None or len(self._unmet) < UNMET_KEYS_MAX:
                self._unmet[key] = (1 if missed is None else missed[0] + 1, timestamp)
        elif oldest > timestamp:
            self._misses += 1
            self._miss = (timestamp, oldest)

    def _meet(self, key: bytes, begun: int) -> None:
        """Sees that a row has come for which records have asked before."""
        missed = self._unmet.pop(key, None)
        if missed is not None and begun > missed[1]:
            self._misses += missed[0]
            self._miss = (missed[1], begun)

    def _settle(self) -> None:
        """Forgets all that a note would be about."""
        self._settled, self._misses = True, 0
        self._unmet.clear()

    def _note(self) -> None:
        record, row = (utc(moment).isoformat() for moment in self._miss)
        self._settle()
        table = self._spec.table
        self.notes.append(
            f"no record has found a row of {table} yet, because the rows are newer than the "
            f"records: one of {record} has a row that holds from {row} only. Rows are joined by "
            f"event time. If the times of {table} say when it was loaded and not since when its "
            "rows hold, name the time with Topic(event_time=…)"
            + (
                ""
                if self._spec.is_nearest
                else ", or declare it as a GlobalTable, which has no time"
            )
        )
