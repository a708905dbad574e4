"""Joins two streams: records of one key whose times are within an interval come together.

A left record at time `t` meets right records from `t - before` to `t + after`. Both sides wait in
state. A record's *deadline* is when its interval has passed, by `grace`: for a left one
`t + after + grace`, for a right one `t + before + grace`. Two records come together if their times
are in the interval, and if each of them came before the other's deadline by its own writer's clock.
That says nothing of the order in which the log has them, so neither do the results.

What waits is removed when the task's time has passed its deadline, which is never ahead of a
writer's clock: until then whatever may still meet it has met it. Unmatched records of an outer side
come out at that moment, sorted by deadline. A record that comes behind its own deadline meets what
waits for it; if that is nothing, it is late: counted, and left out.

Matches come out at once. A result has the larger of the two timestamps, so results of matches are
no more out of order than the records are.

Table 0 has the records, see `partner_rows`; table 1 has where to look when time passes, one entry
for all records of a side and key in a step of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from streamlog.processing.operators.agenda import FAR_FUTURE, Agenda
from streamlog.processing.operators.join_rows import Waiting
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.partner_rows import PartnerRows
from streamlog.processing.state.row_table import kept_key, key_of, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

_PORTS = (b"\x00", b"\x01")
LEFT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalJoinSpec:
    """What an interval join does.

    Args:
        before_ms: How much earlier than the left record the right one may be.
        after_ms: How much later.
        grace_ms: How long records that are out of order are waited for.
        how: Whose unmatched records come out.
        function: Makes a result of the two values.
        where: Says whether two records belong together, beyond key and time.
        types: Of the values of both sides.
        tick_ms: How finely time passes.
    """

    before_ms: int
    after_ms: int
    grace_ms: int
    how: Literal["inner", "left", "outer"]
    function: Callable[[Value, Value], Value]
    where: Callable[[Value, Value], object] | None
    types: tuple[RuntimeType, RuntimeType]
    tick_ms: int

    @property
    def waits_ms(self) -> tuple[int, int]:
        """How long behind its time a record of either side waits."""
        return (
            max(self.after_ms, 0) + self.grace_ms,
            max(self.before_ms, 0) + self.grace_ms,
        )

    @property
    def lag_ms(self) -> int:
        """How far behind the task's time what comes out may be: a pair as the one that waited."""
        return max(self.waits_ms)

    @property
    def layout(self) -> str:
        """What the rows depend on."""
        return (
            f"interval join {self.how} before {self.before_ms} after {self.after_ms} grace "
            f"{self.grace_ms} tick {self.tick_ms} ms"
        )


class IntervalJoin(Operator):
    """The join; port 0 is left, port 1 right."""

    def __init__(self, context: OperatorContext, spec: IntervalJoinSpec) -> None:
        self._rows = PartnerRows(context, 0, spec.types)
        self._due = Agenda(context, 1, spec.tick_ms)
        super().__init__((self._rows, self._due))
        self._function = spec.function
        self._where = spec.where
        self._waits = spec.waits_ms
        self._tick_ms = spec.tick_ms
        self._outer = (spec.how != "inner", spec.how == "outer")
        # Of a partner's time, seen from a record of either port.
        self._earliest = (-spec.before_ms, -spec.after_ms)
        self._latest = (spec.after_ms, spec.before_ms)

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Meets what waits on the other side, and waits."""
        if key is None:
            # As in SQL: nothing equals a null, so no match can ever come.
            return (self._alone(port, key, value, timestamp),) if self._outer[port] else NOTHING
        time = max(time, self.now)
        deadline = timestamp + self._waits[port]
        token = token_of(key)
        results = self._meet(port, key, token, value, timestamp, time)
        if deadline >= self.now:
            matched = bool(results) and (self._outer[port] or time > deadline)
            record: Waiting[Any] = Waiting(kept_key(key, token), time, matched, value)
            self._rows.add(port, token, timestamp, writer, record)
            self._due.add(deadline, _PORTS[port] + token)
            self.opened += 1
        elif not results:
            self.late += 1
        return results

    def _meet(
        self, port: int, key: bytes, token: bytes, value: Value, timestamp: int, time: int
    ) -> list[Result]:
        """Returns what comes of the record and of those of the other side that wait for it."""
        other = 1 - port
        first, last = timestamp + self._earliest[port], timestamp + self._latest[port]
        deadline, wait = timestamp + self._waits[port], self._waits[other]
        where, function = self._where, self._function
        results: list[Result] = []
        for partner_time, slot in self._rows.between(other, token, first, last):
            if time > partner_time + wait:
                continue
            for record in slot.records:
                if record.time > deadline:
                    continue
                left, right = (value, record.value) if port == LEFT else (record.value, value)
                if where is not None and not where(left, right):
                    continue
                results.append((key, function(left, right), max(timestamp, partner_time)))
                if not record.matched and (self._outer[other] or record.time > partner_time + wait):
                    record.matched = True
                    self._rows.changed(other, token, slot)
        return results

    def advance(self, time: int) -> Sequence[Result]:
        """Removes what waited for nothing; the unmatched of an outer side come out."""
        super().advance(time)
        return self._expire(time)

    def drain(self) -> Sequence[Result]:
        """Removes all that waits."""
        return self._expire(FAR_FUTURE)

    def _expire(self, until: int) -> list[Result]:
        alone: list[tuple[tuple[int, int, int, bytes], Result]] = []
        for step, name in self._due.take(until):
            port, token = name[0], name[1:]
            first = step - self._waits[port]
            last = first + self._tick_ms - 1
            for timestamp, writer, record in self._rows.take(port, token, first, last):
                self.opened -= 1
                deadline = timestamp + self._waits[port]
                if record.matched:
                    continue
                if record.time > deadline:
                    self.late += 1
                elif self._outer[port]:
                    key = key_of(token, record.key)
                    result = self._alone(port, key, record.value, timestamp)
                    alone.append(((deadline, port, writer, token), result))
        alone.sort(key=itemgetter(0))
        return [result for _, result in alone]

    def _alone(self, port: int, key: bytes | None, value: Value, timestamp: int) -> Result:
        pair = (value, None) if port == LEFT else (None, value)
        return key, self._function(*pair), timestamp
