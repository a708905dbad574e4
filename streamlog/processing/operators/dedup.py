"""`dedup`: of records that are the same within a time, the first goes on.

"First" must not depend on how writers are mixed, so it cannot mean the first to arrive. Each record
has a time at which it is decided about: its writer's stream time when it was written, or its own
event time and the grace, if that is later. Nothing that comes after stream time has passed a moment
is decided about before that moment, so decisions are taken, as stream time passes, in the order of
that time, then of event time, key, writer and arrival, which are the records' own.

A record goes on unless a record of the same key and identity went on before it whose event time is
no further than `within` from its own, and which has not been forgotten: it is when stream time has
passed the moment of its decision by `within`. No record is ever late: one that is very old is
decided about like any other, and finds that its likes have been forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from streamlog.processing.operators.held import HeldRecords
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.state.row_table import NAME_SIZE_MAX, time_name, time_of, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.held import Held
    from streamlog.processing.operators.operator import OperatorContext, Result, Value


class Passed(NamedTuple):
    """A record that went on."""

    timestamp: int
    forgotten: int
    """When it is not remembered any more."""


_END: Final = b"\xff" * (NAME_SIZE_MAX + 1)
_encode = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[Passed]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class DedupStep:
    """What the user said.

    Args:
        within_ms: How far apart in event time two records may be to be the same.
        grace_ms: How long records wait for earlier ones that are out of order.
        by: What of a value makes two records of a key the same; `None`: the key alone.
        encode: From a value to bytes.
        decode: Back.
    """

    within_ms: int
    grace_ms: int
    by: Callable[[Value], object] | None
    encode: Callable[[Value], bytes | None]
    decode: Callable[[bytes | None], Value]

    @property
    def layout(self) -> str:
        """What its rows look like."""
        return f"dedup within {self.within_ms} ms grace {self.grace_ms} ms"

    def make(self, context: OperatorContext) -> Operator:
        """Returns the operator of a task."""
        return Dedup(self, context)


class Dedup(Operator):
    """Holds records until it is their turn, and lets out those that are new.

    Args:
        step: What it does.
        context: Of its task.
    """

    def __init__(self, step: DedupStep, context: OperatorContext) -> None:
        self._held = HeldRecords(context)
        self._passed = context.table(1)
        self._forgetting = context.table(2)
        super().__init__([self._held, self._passed, self._forgetting])
        self._step = step
        self._forgotten: int | None = None
        """All that was to be forgotten before it is, since this operator was made."""
        self._first_forgetting = self._find_first_forgetting()

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Holds a record until it is its turn."""
        step = self._step
        due = max(timestamp + step.grace_ms, time)
        identity = None if step.by is None else encode_plain(step.by(value))
        self._held.hold(due, timestamp, key, writer, (identity, step.encode(value)))
        self.opened += 1
        return NOTHING

    def advance(self, time: int) -> Sequence[Result]:
        """Lets out what is new among those whose turn it is."""
        self.now = max(self.now, time)
        results = self._results(self._held.release(self.now))
        first = self._first_forgetting
        if first is not None and first < self.now:
            for name, _ in list(self._forgetting.scan(time_name(first), time_name(self.now))):
                self._forgetting.delete(name)
                self._forget(name[8:], self.now)
            self._forgotten = self.now
            self._first_forgetting = self._find_first_forgetting()
        return results

    def drain(self) -> Sequence[Result]:
        """Lets out what is new among all."""
        return self._results(self._held.release(None))

    def _results(self, released: Sequence[Held]) -> Sequence[Result]:
        self.opened -= len(released)
        decode = self._step.decode
        results: list[Result] = []
        for held in released:
            identity, value = held.item
            if self._is_new(held, identity):
                results.append((held.key, decode(value), held.timestamp))
        return results

    def _is_new(self, held: Held, identity: bytes | None) -> bool:
        within = self._step.within_ms
        token = token_of(_encode((held.key, identity)))
        known = self._known(token, held.due)
        if any(abs(each.timestamp - held.timestamp) <= within for each in known):
            return False
        passed = Passed(held.timestamp, held.due + within)
        self._passed.put(token, _encode([*known, passed]))
        self._forgetting.put(time_name(passed.forgotten) + token, b"")
        if self._first_forgetting is None or passed.forgotten < self._first_forgetting:
            self._first_forgetting = passed.forgotten
            if self._forgotten is not None:
                self._forgotten = min(self._forgotten, passed.forgotten)
        return True

    def _known(self, token: bytes, time: int) -> list[Passed]:
        """Those that went on and are remembered at a time."""
        row = self._passed.get(token)
        return [] if row is None else [each for each in _decode(row) if each.forgotten >= time]

    def _find_first_forgetting(self) -> int | None:
        # What has been forgotten is passed over: it may still be there, marked as removed.
        begin = b"" if self._forgotten is None else time_name(self._forgotten)
        found = next(self._forgetting.scan(begin, _END), None)
        return None if found is None else time_of(found[0])

    def _forget(self, token: bytes, time: int) -> None:
        known = self._known(token, time)
        if known:
            self._passed.put(token, _encode(known))
        else:
            self._passed.delete(token)
