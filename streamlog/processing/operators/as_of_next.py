"""Joins each record of a stream with the nearest later one of another stream.

(The nearest earlier one is what `versioned_join` finds: the other stream is the table.)

Let `t` be a record's time, and `tolerance` how much later the other one may be. Another record is
*visible* when the task's time has passed its own by `grace`, or, if it was out of order by more,
what its writer's clock was when it came; until then a nearer one may come. The record is settled as
soon as one within its tolerance is visible, and comes out with the nearest of those that are. If
none is by the time that `tolerance` and `grace` have passed since `t`, there is none.

Both times are functions of the records and their writers' clocks alone, and results come out in
their order, however time moves and however the writers' records are mixed.

Rows of table 0, the records that wait, and of table 1, the other stream's:

    token of the key | time | writer                              ->  list of records
    token of the key | time | writer | stream time of the writer  ->  value

Rows of table 2: which keys to look through when time passes.

    time, floored to a tick | token of the key  ->  nothing
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from streamlog.processing.operators.agenda import FAR_FUTURE, Agenda
from streamlog.processing.operators.join_rows import (
    Waiting,
    decoder_of,
    encode_row,
    waiting_decoder,
)
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.state.row_table import (
    kept_key,
    key_of,
    time_name,
    time_of,
    token_of,
    writer_in,
    writer_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

STREAM: Final = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AsOfNextSpec:
    """What the join does.

    Args:
        how: "left" gives `None` in place of a record that there is not.
        tolerance_ms: How much later the other record may be.
        grace_ms: How long records that are out of order are waited for.
        history_ms: How late a record of the stream may be; at least `grace_ms`.
        exact: Whether a record of the very same time counts.
        function: Makes a result of both values.
        types: Of both sides' values.
        tick_ms: How finely time passes.
    """

    how: Literal["inner", "left"]
    tolerance_ms: int
    grace_ms: int
    history_ms: int
    exact: bool
    function: Callable[[Value, Value], Value]
    types: tuple[RuntimeType, RuntimeType]
    tick_ms: int

    @property
    def layout(self) -> str:
        """What the rows depend on."""
        return (
            f"next record {self.how} tolerance {self.tolerance_ms} grace {self.grace_ms} history "
            f"{self.history_ms} tick {self.tick_ms} ms{'' if self.exact else ' not exact'}"
        )


class _Other(NamedTuple):
    """A record of the other stream; they sort from the nearest."""

    timestamp: int
    writer: int
    time: int
    visible: int
    row: bytes


class AsOfNext(Operator):
    """The join; port 0 is the stream, port 1 the other one."""

    def __init__(self, context: OperatorContext, spec: AsOfNextSpec) -> None:
        self._waiting, self._others = context.table(0), context.table(1)
        self._due = Agenda(context, 2, spec.tick_ms)
        super().__init__((self._waiting, self._others, self._due))
        self._spec = spec
        self._first = 0 if spec.exact else 1
        self._decode = waiting_decoder(spec.types[0])
        self._decode_other = decoder_of(spec.types[1])

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Has a record wait, on either side."""
        spec = self._spec
        if key is None:
            if port == STREAM and spec.how == "left":
                return ((None, spec.function(value, None), timestamp),)
            return NOTHING
        time = max(time, self.now)
        token = token_of(key)
        name = token + time_name(timestamp) + writer_name(writer)
        if port == STREAM:
            if timestamp < time - spec.history_ms:
                self.late += 1
                return NOTHING
            row = self._waiting.get(name)
            entries = [] if row is None else self._decode(row)
            entries.append(Waiting(kept_key(key, token), time, False, value))
            self._waiting.put(name, encode_row(entries))
            self.opened += 1
            self._due.add(time, token)
            self._due.add(max(timestamp + spec.tolerance_ms + spec.grace_ms, time), token)
            return NOTHING
        name += time_name(time)
        if self._others.get(name) is None:
            self._others.put(name, encode_row(value))
        visible = max(timestamp + spec.grace_ms, time)
        self._due.add(visible, token)
        self._due.add(max(timestamp + spec.history_ms, visible), token)
        return NOTHING

    def advance(self, time: int) -> Sequence[Result]:
        """Puts out what is settled, and forgets what nothing is old enough for."""
        super().advance(time)
        return self._settle(time)

    def drain(self) -> Sequence[Result]:
        """Puts out all that waits, with what there is, and forgets the other stream."""
        return self._settle(FAR_FUTURE)

    def _settle(self, now: int) -> list[Result]:
        tokens = {token for _, token in self._due.take(now)}
        settled: list[tuple[tuple[int, int, bytes, int], Result]] = []
        for token in tokens:
            others = self._others_of(token)
            for name, row in list(self._waiting.scan_prefix(token)):
                self._settle_row(name, row, token, others, now, settled)
            for each in others:
                if each.visible < now and each.timestamp + self._spec.history_ms < now:
                    self._others.delete(
                        token
                        + time_name(each.timestamp)
                        + writer_name(each.writer)
                        + time_name(each.time)
                    )
        settled.sort(key=lambda each: each[0])
        return [result for _, result in settled]

    def _settle_row(
        self,
        name: bytes,
        row: bytes,
        token: bytes,
        others: list[_Other],
        now: int,
        settled: list[tuple[tuple[int, int, bytes, int], Result]],
    ) -> None:
        """Settles what can be of the records of one key, time and writer."""
        spec = self._spec
        timestamp, writer = time_of(name, len(token)), writer_in(name, len(token) + 8)
        last = timestamp + spec.tolerance_ms
        near = [each for each in others if timestamp + self._first <= each.timestamp <= last]
        left = []
        for entry in self._decode(row):
            given_up = max(last + spec.grace_ms, entry.time)
            found = [each for each in near if each.visible <= given_up]
            moment = max(entry.time, min(each.visible for each in found)) if found else given_up
            if moment >= now:
                left.append(entry)
                continue
            nearest = min((each for each in found if each.visible <= moment), default=None)
            self.opened -= 1
            if nearest is None and spec.how == "inner":
                continue
            value = None if nearest is None else self._decode_other(nearest.row)
            result = key_of(token, entry.key), spec.function(entry.value, value), timestamp
            settled.append(((moment, timestamp, token, writer), result))
        if left:
            self._waiting.put(name, encode_row(left))
        else:
            self._waiting.delete(name)

    def _others_of(self, token: bytes) -> list[_Other]:
        size = len(token)
        found = []
        for name, row in self._others.scan_prefix(token):
            timestamp, time = time_of(name, size), time_of(name, size + 12)
            visible = max(timestamp + self._spec.grace_ms, time)
            found.append(_Other(timestamp, writer_in(name, size + 8), time, visible, row))
        return found
