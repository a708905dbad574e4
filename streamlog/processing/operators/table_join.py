"""Joins two tables by key: the result is a table that changes whenever one of the two does.

The rows of both sides are kept. When one changes, the result is made of the old row and of the new
one, together with what the other side holds, and goes on as a change of the joined table. What
holds in the end depends on the rows alone, however the changes of the two were mixed; in between
there may be states that only this mix has had.

A result holds since the newer of its rows does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from streamlog.processing.dsl.change import Change, nullable_type
from streamlog.processing.operators.agenda import Agenda
from streamlog.processing.operators.newest_rows import STEP_MS, NewestRows
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.state.row_table import token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

LEFT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJoinSpec:
    """What a join of two tables does.

    Args:
        how: Whose rows have a result without one of the other side.
        function: Makes a result of two rows, one of which may be `None`.
        types: Of the rows of both sides.
        by_time: Of either side: whether its values are rows with times, or come from changes.
    """

    how: Literal["inner", "left", "outer"]
    function: Callable[[Value, Value], Value]
    types: tuple[RuntimeType, RuntimeType]
    by_time: tuple[bool, bool]

    @property
    def layout(self) -> str:
        """What the rows depend on; the kind of join does not change them, but what they say."""
        return f"table join {self.how} by time {self.by_time}"


class TableJoin(Operator):
    """The join; port 0 is left, port 1 right. Values are rows, or `None` where one ends."""

    def __init__(self, context: OperatorContext, spec: TableJoinSpec) -> None:
        rows = [context.table(number) for number in (0, 2)]
        ends = [Agenda(context, number, STEP_MS) for number in (1, 3)]
        super().__init__((*rows, *ends))
        self._spec = spec
        self._sides = tuple(
            NewestRows(
                rows[port], ends[port], nullable_type(spec.types[port]), by_time=spec.by_time[port]
            )
            for port in (0, 1)
        )

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes a row of either side, and returns the change that it makes to the result."""
        if key is None:
            return NOTHING
        time = max(time, self.now)
        token = token_of(key)
        held, new = self._sides[port].offer(token, value, timestamp, time, writer)
        if new is None:
            return NOTHING
        other = self._sides[1 - port].get(token, time)
        partner = None if other is None else other.row
        old = self._result(port, None if held is None else held.row, partner)
        result = self._result(port, value, partner)
        if old is None and result is None:
            return NOTHING
        moment = new.timestamp if other is None else max(new.timestamp, other.timestamp)
        return ((key, Change(old, result), moment),)

    def _result(self, port: int, mine: Value, other: Value) -> Value:
        left, right = (mine, other) if port == LEFT else (other, mine)
        if left is None and (right is None or self._spec.how != "outer"):
            return None
        if right is None and self._spec.how == "inner":
            return None
        return self._spec.function(left, right)

    def advance(self, time: int) -> Sequence[Result]:
        """Forgets ends of rows that keep nothing out any more."""
        super().advance(time)
        for side in self._sides:
            side.forget(time)
        return NOTHING
