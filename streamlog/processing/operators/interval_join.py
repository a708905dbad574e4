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

Rows of table 0: the records.

    token of the key | port | time | writer  ->  list of records

Rows of table 1: where to look when time passes, one for all records of a key in a step of time.

    deadline, floored to a tick | port | token of the key  ->  nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from streamlog.processing.operators.join_rows import (
    Waiting,
    encode_row,
    floor,
    waiting_decoder,
    writer_in,
    writer_name,
)
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.state.row_table import kept_key, key_of, time_name, time_of, token_of

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
        """How far behind time the unmatched come out."""
        left, right = self.waits_ms
        return {"inner": 0, "left": left, "outer": max(left, right)}[self.how]

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
        self._rows = context.table(0)
        self._due = context.table(1)
        super().__init__((self._rows, self._due))
        self._function = spec.function
        self._where = spec.where
        self._waits = spec.waits_ms
        self._tick_ms = spec.tick_ms
        self._outer = (spec.how != "inner", spec.how == "outer")
        self._decode = tuple(waiting_decoder(each) for each in spec.types)
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
            matters = self._outer[port] or time > deadline
            entry = Waiting(kept_key(key, token), time, matters and bool(results), value)
            self._keep(port, token, timestamp, writer, entry, deadline)
        elif not results:
            self.late += 1
        return results

    def _meet(
        self, port: int, key: bytes, token: bytes, value: Value, timestamp: int, time: int
    ) -> list[Result]:
        """Returns what comes of the record and of those of the other side that wait for it."""
        other = 1 - port
        prefix = token + _PORTS[other]
        first, last = timestamp + self._earliest[port], timestamp + self._latest[port]
        deadline, wait = timestamp + self._waits[port], self._waits[other]
        results: list[Result] = []
        found = list(self._rows.scan(prefix + time_name(first), prefix + time_name(last + 1)))
        for name, row in found:
            partner_time = time_of(name, len(prefix))
            if time > partner_time + wait:
                continue
            entries = self._decode[other](row)
            changed = False
            for entry in entries:
                if entry.time > deadline:
                    continue
                pair = (value, entry.value) if port == LEFT else (entry.value, value)
                if self._where is not None and not self._where(*pair):
                    continue
                results.append((key, self._function(*pair), max(timestamp, partner_time)))
                if not entry.matched and (self._outer[other] or entry.time > partner_time + wait):
                    entry.matched = changed = True
            if changed:
                self._rows.put(name, encode_row(entries))
        return results

    def _keep(
        self,
        port: int,
        token: bytes,
        timestamp: int,
        writer: int,
        entry: Waiting[Any],
        deadline: int,
    ) -> None:
        name = token + _PORTS[port] + time_name(timestamp) + writer_name(writer)
        row = self._rows.get(name)
        entries = [] if row is None else self._decode[port](row)
        entries.append(entry)
        self._rows.put(name, encode_row(entries))
        due = time_name(floor(deadline, self._tick_ms)) + _PORTS[port] + token
        self._due.put(due, b"")
        self.opened += 1

    def advance(self, time: int) -> Sequence[Result]:
        """Removes what waited for nothing; the unmatched of an outer side come out."""
        super().advance(time)
        return self._expire(time_name(time))

    def drain(self) -> Sequence[Result]:
        """Removes all that waits."""
        return self._expire(time_name(1 << 62))

    def _expire(self, end: bytes) -> list[Result]:
        alone: list[tuple[int, int, int, bytes, Result]] = []
        for due, _ in list(self._due.scan(b"", end)):
            self._due.delete(due)
            port = due[8]
            token = due[9:]
            first = time_of(due) - self._waits[port]
            prefix = token + _PORTS[port]
            begin, stop = time_name(first), time_name(first + self._tick_ms)
            for name, row in list(self._rows.scan(prefix + begin, prefix + stop)):
                self._rows.delete(name)
                timestamp = time_of(name, len(prefix))
                deadline = timestamp + self._waits[port]
                entries = self._decode[port](row)
                self.opened -= len(entries)
                for entry in entries:
                    if entry.matched:
                        continue
                    if entry.time > deadline:
                        self.late += 1
                    elif self._outer[port]:
                        key = key_of(token, entry.key)
                        result = self._alone(port, key, entry.value, timestamp)
                        alone.append(
                            (deadline, port, writer_in(name, len(prefix) + 8), token, result)
                        )
        alone.sort(key=lambda each: each[:4])
        return [each[4] for each in alone]

    def _alone(self, port: int, key: bytes | None, value: Value, timestamp: int) -> Result:
        pair = (value, None) if port == LEFT else (None, value)
        return key, self._function(*pair), timestamp
