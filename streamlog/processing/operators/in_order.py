"""`in_order`: records wait until nothing older can come any more, and leave by event time.

A record waits until stream time has passed its event time by the grace. One that comes later than
that, by the time of its writer, would have to leave behind others that it precedes: it is late,
and leaves by another exit. So everything that is not late leaves in the order of event time, and
of equal times, of key, writer and arrival, however the writers are mixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from streamlog.processing.operators.held import HeldRecords
from streamlog.processing.operators.operator import NOTHING, Operator, Side
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.row_table import RowTable, time_name, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.held import Held
    from streamlog.processing.operators.operator import OperatorContext, Result, Value

LATE: Final = "late"
"""The exit of late records."""

_DRAINED: Final = b"drained through"


@dataclass(frozen=True, slots=True, kw_only=True)
class InOrderStep:
    """What the user said.

    Args:
        grace_ms: How long a record waits for others that are out of order.
        encode: From a value to bytes.
        decode: Back.
    """

    grace_ms: int
    encode: Callable[[Value], bytes | None]
    decode: Callable[[bytes | None], Value]

    @property
    def layout(self) -> str:
        """What its rows look like."""
        return f"in order grace {self.grace_ms} ms"

    def make(self, context: OperatorContext) -> Operator:
        """Returns the operator of a task."""
        return InOrder(self, context)


class InOrder(Operator):
    """Holds records, and lets them out by event time.

    Args:
        step: What it does.
        context: Of its task.
    """

    def __init__(self, step: InOrderStep, context: OperatorContext) -> None:
        self._held = HeldRecords(context)
        self._marks = context.table(1)
        super().__init__([self._held, self._marks])
        self._step = step
        self._drained = _read_mark(self._marks)

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Holds a record, unless it is late."""
        due = timestamp + self._step.grace_ms
        if due < time or due < self.now or timestamp < self._drained:
            self.late += 1
            return ((key, Side(LATE, value), timestamp),)
        self._held.hold(due, timestamp, key, writer, self._step.encode(value))
        self.opened += 1
        return NOTHING

    def advance(self, time: int) -> Sequence[Result]:
        """Lets out what nothing older can precede any more."""
        self.now = max(self.now, time)
        return self._results(self._held.release(self.now))

    def drain(self) -> Sequence[Result]:
        """Lets out everything; what is older and comes all the same is late."""
        released = self._held.release(None)
        if released:
            self._drained = released[-1].timestamp
            self._marks.put(_DRAINED, time_name(self._drained))
        return self._results(released)

    def _results(self, released: Sequence[Held]) -> Sequence[Result]:
        self.opened -= len(released)
        decode = self._step.decode
        return [(held.key, decode(held.item), held.timestamp) for held in released]


def _read_mark(table: RowTable) -> int:
    stored = table.get(_DRAINED)
    return NO_TIME if stored is None else time_of(stored)
