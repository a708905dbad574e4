"""Joins two tables by a key that is in the rows of the left one: orders with their customers.

Neither table is where the other one's keys are, so it takes three steps, with a topic between each:

1. `Subscribe` stands where the left rows are. When a row comes, it goes to where its foreign key is
   and subscribes there; when that key changes or the row ends, the old place is told.
2. `ForeignSide` keeps the right rows, and for each the left rows that have subscribed. Each
   subscription is answered with what holds, and so is every change of a right row, to all of its
   subscribers.
3. `Resolve` stands where the left keys are again. It gets the answers, which may come from several
   places in any order, and knows which one counts: each change of a left row has a number, larger
   than all before it, every answer bears the number of its subscription, and an answer of a smaller
   number than one that was seen is stale.

The left row travels along with its subscription and back, so that no step has to wait for another.
Answers of one subscription come from one place and so in order: the last one holds.

The end of a left row is remembered by the third step until no stale answer can come any more. That
is so when the task's time has passed that of the end: whoever has an older subscription is told of
the end before its own time has passed it, and writes no stale answer from then on. A day is added.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar

from msgspec import Struct

from streamlog.processing.dsl.change import Change, nullable_type
from streamlog.processing.operators.agenda import Agenda
from streamlog.processing.operators.join_rows import decoder_of, encode_row
from streamlog.processing.operators.newest_rows import REMEMBERED_MS, STEP_MS, NewestRows
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.state.row_table import floor, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.operator import OperatorContext, Result

T = TypeVar("T")
U = TypeVar("U")

SUBSCRIPTIONS: Final = 0
TOKEN_SIZE_MAX: Final = 200
_COUNTER: Final = b"number"


class Subscription(Struct, Generic[T], array_like=True, frozen=True):
    """What a place of a foreign key is told of a left row.

    Attributes:
        primary: The left row's key.
        number: Of the change of the left row.
        time: The stream time when it changed.
        foreign: The foreign key, `None` if the row has none.
        row: The left row; `None`: it is here no more.
        ended: Whether it is nowhere any more, so that this has to be answered.
    """

    primary: bytes
    number: int
    time: int
    foreign: bytes | None
    row: T | None
    ended: bool


class Answer(Struct, Generic[T, U], array_like=True, frozen=True):
    """What a place of a foreign key has for a left row; without `left` that has ended."""

    primary: bytes
    number: int
    time: int
    left: T | None
    right: U | None


class Subscribed(Struct, Generic[T], array_like=True, frozen=True):
    """What a place of a foreign key keeps of a subscription."""

    primary: bytes
    number: int
    time: int
    timestamp: int
    row: T


class Resolved(Struct, Generic[T, U], array_like=True, frozen=True):
    """What holds for a left row; without `left` it has ended."""

    number: int
    time: int
    timestamp: int
    left: T | None
    right: U | None

    @property
    def forgotten_at(self) -> int:
        """Of an end: from when on no stale answer comes any more."""
        return max(self.time, self.timestamp) + REMEMBERED_MS


def subscription_type(row_type: RuntimeType) -> RuntimeType:
    """Returns the type of subscriptions of left rows of a type."""
    generic: Any = Subscription
    return generic[row_type]


def answer_type(left: RuntimeType, right: RuntimeType) -> RuntimeType:
    """Returns the type of answers."""
    generic: Any = Answer
    return generic[left, right]


class Subscribe(Operator):
    """Tells the places of foreign keys of the left rows; its input are changes.

    Args:
        context: Where it runs.
        foreign_key: From a left row to its foreign key.
    """

    def __init__(self, context: OperatorContext, foreign_key: Callable[[Value], object]) -> None:
        self._state = context.table(0)
        super().__init__((self._state,))
        self._foreign_key = foreign_key

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes a change of a left row."""
        old, new = value.old, value.new
        if key is None or (old is None and new is None):
            return NOTHING
        number = int.from_bytes(self._state.get(_COUNTER) or b"") + 1
        self._state.put(_COUNTER, number.to_bytes(8))
        before = None if old is None else encode_plain(self._foreign_key(old))
        after = None if new is None else encode_plain(self._foreign_key(new))
        told: list[Result] = []
        if old is not None and (new is None or before != after):
            gone = Subscription[Any](key, number, time, before, None, new is None)
            told.append((key, gone, timestamp))
        if new is not None:
            told.append((key, Subscription(key, number, time, after, new, False), timestamp))
        return told


class ForeignSide(Operator):
    """Answers subscriptions; port 0 takes them, port 1 the right rows, `None` where one ends.

    Args:
        context: Where it runs.
        types: Of left and right rows.
        by_time: Whether right rows come with times, or from changes.
    """

    def __init__(
        self, context: OperatorContext, types: tuple[RuntimeType, RuntimeType], *, by_time: bool
    ) -> None:
        self._subscribed, rows = context.table(0), context.table(1)
        ends = Agenda(context, 2, STEP_MS)
        super().__init__((self._subscribed, rows, ends))
        self._rights = NewestRows(rows, ends, nullable_type(types[1]), by_time=by_time)
        generic: Any = Subscribed
        self._decode = decoder_of(generic[types[0]])

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Answers a subscription, or tells the subscribers of a right row that it has changed."""
        time = max(time, self.now)
        if port == SUBSCRIPTIONS:
            return self._take(value, timestamp, time)
        if key is None:
            return NOTHING
        token = token_of(key)
        held, new = self._rights.offer(token, value, timestamp, time, writer)
        if new is None or (value is None and (held is None or held.row is None)):
            return NOTHING
        results: list[Result] = []
        for _, row in self._subscribed.scan_prefix(_short(token)):
            each: Subscribed[Any] = self._decode(row)
            answer = Answer(each.primary, each.number, each.time, each.row, value)
            results.append((each.primary, answer, max(each.timestamp, new.timestamp)))
        return results

    def _take(self, value: Subscription[Any], timestamp: int, time: int) -> Sequence[Result]:
        primary, number, asked = value.primary, value.number, value.time
        if value.foreign is None:
            # Nothing equals a null, so there is nothing to keep.
            if value.row is None and not value.ended:
                return NOTHING
            return ((primary, Answer(primary, number, asked, value.row, None), timestamp),)
        token = token_of(value.foreign)
        name = _short(token) + _short(token_of(primary))
        if value.row is None:
            self._subscribed.delete(name)
            if not value.ended:
                return NOTHING
            gone = Answer[Any, Any](primary, number, asked, None, None)
            return ((primary, gone, timestamp),)
        kept = Subscribed(primary, number, asked, timestamp, value.row)
        self._subscribed.put(name, encode_row(kept))
        held = self._rights.get(token, time)
        right, moment = (None, timestamp) if held is None else (held.row, held.timestamp)
        answer = Answer(primary, number, asked, value.row, right)
        return ((primary, answer, max(timestamp, moment)),)

    def advance(self, time: int) -> Sequence[Result]:
        """Forgets ends of right rows that keep nothing out any more."""
        super().advance(time)
        self._rights.forget(time)
        return NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveSpec:
    """What the last step of a join by foreign key does.

    Args:
        how: "left" gives `None` in place of a right row that there is not.
        function: Makes a result of both rows.
        types: Of left and right rows.
    """

    how: Literal["inner", "left"]
    function: Callable[[Value, Value], Value]
    types: tuple[RuntimeType, RuntimeType]


class Resolve(Operator):
    """Makes the joined table of answers."""

    def __init__(self, context: OperatorContext, spec: ResolveSpec) -> None:
        self._rows, self._ends = context.table(0), Agenda(context, 1, STEP_MS)
        super().__init__((self._rows, self._ends))
        self._spec = spec
        generic: Any = Resolved
        self._decode = decoder_of(generic[spec.types])

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes an answer, unless it is stale, and returns the change that it makes."""
        token = token_of(value.primary)
        stored = self._rows.get(token)
        held: Resolved[Any, Any] | None = None if stored is None else self._decode(stored)
        if held is not None:
            if value.number < held.number:
                return NOTHING
            timestamp = max(timestamp, held.timestamp)
        new = Resolved(value.number, value.time, timestamp, value.left, value.right)
        self._rows.put(token, encode_row(new))
        if new.left is None:
            self._ends.add(new.forgotten_at, token)
        old_result, result = self._result(held), self._result(new)
        if old_result is None and result is None:
            return NOTHING
        return ((value.primary, Change(old_result, result), timestamp),)

    def _result(self, held: Resolved[Any, Any] | None) -> Value:
        if held is None or held.left is None:
            return None
        if held.right is None and self._spec.how == "inner":
            return None
        return self._spec.function(held.left, held.right)

    def advance(self, time: int) -> Sequence[Result]:
        """Forgets ends of left rows of which nothing stale can come any more."""
        super().advance(time)
        passed = floor(time, STEP_MS)
        for _, token in self._ends.take(passed):
            stored = self._rows.get(token)
            held: Resolved[Any, Any] | None = None if stored is None else self._decode(stored)
            if held is not None and held.left is None and held.forgotten_at < passed:
                self._rows.delete(token)
        return NOTHING


def _short(token: bytes) -> bytes:
    """A token that leaves room for another one in a name."""
    if len(token) <= TOKEN_SIZE_MAX:
        return token
    return b"\x03" + blake2b(token, digest_size=32).digest()
