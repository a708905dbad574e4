"""Records that come too late for a windowed step, as a stream of their own.

Whether a record is late depends on its time and its writer's alone (and on the task's, if its
writer was taken for idle), so this step finds the same ones as the windows do, beside them. What it
has to keep is how far a drain of the input went.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.windowed import Mark
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.row_table import RowTable, time_name, time_of
from streamlog.processing.windows.kinds import drained_through, last_moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.state.rows import Change
    from streamlog.processing.windows.kinds import TimeWindows

_REACH: Final = b"reach"


class LateRecords(Operator):
    """Lets through what is late.

    Args:
        context: Of the task.
        windows: For which it is late.
        grace_ms: How long after their end those wait.
    """

    def __init__(self, context: OperatorContext, windows: TimeWindows, grace_ms: int) -> None:
        self._reach = Reach(context)
        self._mark = Mark(context)
        super().__init__([self._reach, self._mark])
        self._windows = windows
        self._grace_ms = grace_ms

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Passes a record on if no window is open for it any more."""
        last = last_moment(self._windows, timestamp)
        if last < max(time, self.now) - self._grace_ms or last <= self._mark.time:
            return [(key, value, timestamp)]
        reach = drained_through(self._windows, timestamp)
        if reach > self._reach.time:
            self._reach.time = reach
        return NOTHING

    def drain(self) -> Sequence[Result]:
        """The windows that began are over."""
        self._mark.move(self._reach.time)
        return NOTHING


class Reach(RowTable):
    """How far windows reach that began; written at checkpoints.

    Args:
        context: Of the operator.
    """

    def __init__(self, context: OperatorContext) -> None:
        super().__init__(context.store, context.store_id, 0)
        stored = self.get(_REACH)
        self._stored = NO_TIME if stored is None else time_of(stored)
        self.time = self._stored

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        if self.time != self._stored:
            self.put(_REACH, time_name(self.time))
        return super().changes()

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        self._stored = self.time
        super().committed()
