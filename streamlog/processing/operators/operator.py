"""What a stateful step is to a task: it takes records, and gives results at once or as time passes.

Every verb that keeps state but the plain tumbling window is an `Operator`. The fused function calls
`process` for each record, in the order of the log, and sends what it returns through the steps
behind. When the task's stream time passes a multiple of the step's `tick_ms`, the task calls
`advance`, and sends what comes out through the same steps. Nothing else makes an operator act, so
its results are a function of what is in the log and of nothing else: not of how the records are cut
into chunks, nor of when checkpoints are taken.

Two times come in, and they differ behind a repartition topic:

* the *record's* time (`time` of `process`): the stream time of whoever wrote the record. Lateness
  is judged by it, so what is late does not depend on how the writers' records are mixed;
* the *task's* time (`time` of `advance`): the smallest of all writers. What is forgotten or closed
  goes by it. It is never ahead of a record's time.

An operator keeps rows in `RowTable`s. What it caches beside them has to be a function of them: a
task that was restored begins with the rows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.row_table import RowTable
from streamlog.processing.subclassing import mypyc_attr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.state.store import TaskStore

Value: TypeAlias = Any

Result: TypeAlias = tuple["bytes | None", Value, int]
"""Key, value and timestamp of what comes out."""

NOTHING: Final[tuple[Result, ...]] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """A value that leaves by another exit than the results: late records, for example.

    Args:
        exit: A name; the plan has a `SideNode` for each exit that is used, others are dropped.
        value: What goes on there.
    """

    exit: str
    value: Value


class OperatorContext:
    """What an operator is made with, by its node's `make`.

    Args:
        name: Of the step.
        store: The task's state.
        store_id: What the names of the step's rows begin with.
        partition: Of the task.
        is_sure: Whether records come in the order of time, so that whatever is older than a record
            and ever comes in time has come before it; see `OperatorNode.sure_tick_ms`.
    """

    __slots__ = ("is_sure", "name", "partition", "store", "store_id")

    def __init__(
        self, name: str, store: TaskStore, store_id: bytes, partition: int, is_sure: bool = False
    ) -> None:
        self.name = name
        self.store = store
        self.store_id = store_id
        self.partition = partition
        self.is_sure = is_sure

    def table(self, number: int = 0) -> RowTable:
        """Returns one of the operator's tables; the same number is the same rows."""
        return RowTable(self.store, self.store_id, number)


@mypyc_attr(allow_interpreted_subclasses=True)
class Operator:
    """A stateful step of one task; each kind overrides what it needs.

    Attributes:
        now: The last time that `advance` was told; persisted by the task and set again before the
            first record.
        late: Records left out because they came too late, since the operator was made.
        opened: Rows opened less rows closed, since the task last took the number: for the figures.
        notes: Warnings for the user, likewise; each is said once.
    """

    def __init__(self, tables: Sequence[RowTable]) -> None:
        self.tables = tuple(tables)
        self.now = NO_TIME
        self.late = 0
        self.opened = 0
        self.notes: list[str] = []

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes a record; returns what it causes at once.

        Args:
            port: Which of the step's inputs it came by, from 0.
            key: The record's key.
            value: Its value.
            timestamp: Its event time in milliseconds.
            time: The stream time of the record's writer when it was written.
            writer: Who wrote it: for ties between equal timestamps.
        """
        raise AssertionError(f"{self} takes no records")

    def advance(self, time: int) -> Sequence[Result]:
        """The task's time has come to `time`: returns what is due, in an order of its own.

        The order must not depend on the order in which records came: sort by (timestamp, key).
        """
        self.now = max(self.now, time)
        return NOTHING

    def drain(self) -> Sequence[Result]:
        """No more will come: returns all that still waits for time, as `advance` would."""
        return NOTHING

    def tick(self, wall_ms: int) -> Sequence[Result]:
        """The wall clock shows `wall_ms`; only of steps that say so. The decision is logged.

        It may come again with a later time and the same state, after a crash. What it returned
        before must then be the beginning of what it returns.
        """
        return NOTHING

    def next_tick(self) -> int | None:
        """Returns the wall-clock time from which on `tick` has something to do, if there is any."""
        return None

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"
