"""The running state of each aggregate, and the row of them that one key and window has.

Every accumulator gives the same result and the same stored state for the same values in any
order. What that takes is in `exact_sum` for sums and means. `first` and `last` go by event time,
then by the writer; what one writer wrote arrives in the order of its sequence numbers. (Those are
not kept: behind a window they number positions in a log, which another run writes differently.)
`min` and `max` of values that are equal and yet differ (1 and 1.0) keep the one whose `repr` is
smaller, and a NaN wins over everything, as it does in sums.

What a user's selector yielded is stored as it is if it is plain, or a tuple of what is plain. Any
other value needs its type to be read back, which is the type of the result's field.

Here are the kinds that every pipeline uses. `collected`, `distinct`, `fold`, `ranked` and `sketch`
hold one more each, which come with a function that makes them.

The module is written in the typed subset that mypyc compiles; a base class is what makes its calls
direct.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from streamlog.processing.operators.exact_sum import ExactSum, State
from streamlog.serde.formats import encode_msgpack, msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Callable

_PLAIN: Final = frozenset({str, int, float, bool, bytes})
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1

_encode: Final = encode_msgpack
_decode_any: Final = msgspec.msgpack.Decoder().decode


class ValueCodec:
    """How one aggregate's values become storable and come back.

    Args:
        value_type: As `msgspec` takes it; `None` if it is not known.
    """

    __slots__ = ("_decode",)

    def __init__(self, value_type: object) -> None:
        self._decode: Callable[[bytes], object] | None = None
        if value_type is not None:
            self._decode = msgpack_decoder(cast("Any", value_type)).decode

    def check(self, value: object) -> None:
        """Refuses a value that could not be read back, at the record that brings it."""
        if self._decode is None and not _is_plain(value):
            raise TypeError(
                f"{value!r} is to be kept, but its type is not known when the program runs: "
                "annotate the result's field, or write to=…"
            )

    def dump(self, value: object) -> list[object]:
        """Returns the value in a form that MessagePack can hold."""
        if isinstance(value, int) and not _INT_MIN <= value <= _INT_MAX:
            return [2, hex(value)]
        if value.__class__ in _PLAIN:
            return [0, value]
        if self._decode is None:
            assert isinstance(value, tuple)
            return [3, [self.dump(each) for each in value]]
        return [1, _encode(value)]

    def load(self, state: list[object]) -> object:
        """Returns the value that was dumped."""
        if state[0] == 0:
            return state[1]
        if state[0] == 2:
            return int(cast("str", state[1]), 16)
        if state[0] == 3:
            return tuple([self.load(each) for each in cast("list[list[object]]", state[1])])
        assert self._decode is not None
        return self._decode(cast("bytes", state[1]))

    def copy(self, value: object) -> object:
        """Returns the value, or an equal one where it could be changed."""
        return value if value.__class__ in _PLAIN else self.load(self.dump(value))


class Accumulator:
    """What all accumulators can do; never made itself."""

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Takes a value that is not `None`."""
        raise AssertionError

    def merge(self, other: Accumulator) -> None:
        """Takes all that `other` of the same kind was given; ties are as if it came later.

        `other` must not be used any more.
        """
        raise AssertionError

    def remove(self, value: object) -> None:
        """Takes a value back that was added before: only of those kinds that say they can."""
        raise AssertionError

    def result(self) -> object:
        """Returns the aggregate of what was added."""
        raise AssertionError

    def state(self) -> object:
        """Returns what makes the accumulator again."""
        raise AssertionError

    def restore(self, state: object) -> None:
        """Becomes what `state` was taken of."""
        raise AssertionError


class Count(Accumulator):
    """How many values there were."""

    def __init__(self) -> None:
        self.count: int = 0

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Counts one more."""
        self.count += 1

    def merge(self, other: Accumulator) -> None:
        """Adds the other's number."""
        assert isinstance(other, Count)
        self.count += other.count

    def remove(self, value: object) -> None:
        """Counts one less."""
        self.count -= 1

    def result(self) -> object:
        """Returns the number of values."""
        return self.count

    def state(self) -> object:
        """Returns the number of values."""
        return self.count

    def restore(self, state: object) -> None:
        """Takes the number of values."""
        self.count = cast("int", state)


class Sum(Accumulator):
    """The exact sum."""

    def __init__(self) -> None:
        self.sum = ExactSum()

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Adds a number."""
        self.sum.add(value)

    def merge(self, other: Accumulator) -> None:
        """Adds the other's sum."""
        assert isinstance(other, Sum)
        self.sum.merge(other.sum)

    def remove(self, value: object) -> None:
        """Takes a number away."""
        self.sum.remove(value)

    def result(self) -> object:
        """Returns the sum; 0 of nothing."""
        return self.sum.result()

    def state(self) -> object:
        """Returns the sum's state."""
        return self.sum.state()

    def restore(self, state: object) -> None:
        """Takes the sum's state."""
        self.sum.restore(_sum_state(state))


class Mean(Accumulator):
    """The exact sum and the number of values."""

    def __init__(self) -> None:
        self.sum = ExactSum()
        self.count: int = 0

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Adds a number."""
        self.sum.add(value)
        self.count += 1

    def merge(self, other: Accumulator) -> None:
        """Adds the other's sum and number."""
        assert isinstance(other, Mean)
        self.sum.merge(other.sum)
        self.count += other.count

    def remove(self, value: object) -> None:
        """Takes a number away."""
        self.sum.remove(value)
        self.count -= 1

    def result(self) -> object:
        """Returns the mean; `None` of nothing."""
        if self.count == 0:
            return None
        total = self.sum.result()
        try:
            return total / self.count
        except OverflowError:
            return math.inf if total > 0 else -math.inf

    def state(self) -> object:
        """Returns the number of values and the sum's state."""
        return [self.count, self.sum.state()]

    def restore(self, state: object) -> None:
        """Takes the number of values and the sum's state."""
        count, sum_state = cast("list[Any]", state)
        self.count = count
        self.sum.restore(_sum_state(sum_state))


class Extreme(Accumulator):
    """The smallest or the largest value."""

    def __init__(self, codec: ValueCodec, largest: bool) -> None:
        self.codec = codec
        self.largest = largest
        self.value: Any = None

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Compares a value with the best so far."""
        self._compare(value)

    def merge(self, other: Accumulator) -> None:
        """Compares the other's best with the best so far."""
        assert isinstance(other, Extreme)
        if other.value is not None:
            self._compare(other.value)

    def _compare(self, value: Any) -> None:  # noqa: ANN401 (whatever compares with its like)
        if isinstance(value, float) and value != value:
            # There are many NaNs, of which the row holds one: which came first must not show.
            value = math.nan
        best = self.value
        if best is None:
            self.codec.check(value)
            self.value = value
        elif best != best:
            return
        elif (value > best) if self.largest else (value < best):
            self.codec.check(value)
            self.value = value
        elif value is best or ((value < best) if self.largest else (value > best)):
            return
        elif value != value or repr(value) < repr(best):
            # Equal and yet another, or not to be compared.
            self.value = value

    def result(self) -> object:
        """Returns the best value; `None` of nothing."""
        return self.value

    def state(self) -> object:
        """Returns the best value in its stored form."""
        return None if self.value is None else self.codec.dump(self.value)

    def restore(self, state: object) -> None:
        """Takes the best value."""
        self.value = None if state is None else self.codec.load(cast("list[object]", state))


class Edge(Accumulator):
    """The value of the earliest or the latest record."""

    def __init__(self, codec: ValueCodec, latest: bool) -> None:
        self.codec = codec
        self.latest = latest
        self.empty = True
        self.timestamp: int = 0
        self.writer: int = 0
        self.value: object = None

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Compares a record's time and position with the best so far."""
        if not self.empty:
            if timestamp != self.timestamp:
                later = timestamp > self.timestamp
            elif writer != self.writer:
                later = writer > self.writer
            else:
                # What one writer wrote arrives in the order of its sequence numbers.
                later = True
            if later is not self.latest:
                return
        self.codec.check(value)
        self.empty = False
        self.timestamp = timestamp
        self.writer = writer
        self.value = value

    def merge(self, other: Accumulator) -> None:
        """Compares the other's record with the best so far."""
        assert isinstance(other, Edge)
        if not other.empty:
            self.add(other.value, other.timestamp, other.writer)

    def result(self) -> object:
        """Returns the value; `None` of nothing."""
        return self.value

    def state(self) -> object:
        """Returns the value with its time and position."""
        if self.empty:
            return None
        return [self.timestamp, self.writer, self.codec.dump(self.value)]

    def restore(self, state: object) -> None:
        """Takes the value with its time and position."""
        if state is not None:
            self.timestamp, self.writer, dumped = cast("list[Any]", state)
            self.value = self.codec.load(dumped)
            self.empty = False


class Row:
    """The accumulators of one key and window, side by side."""

    __slots__ = ("accumulators",)

    def __init__(self, accumulators: list[Accumulator]) -> None:
        self.accumulators = accumulators

    def add(self, values: tuple[object, ...], timestamp: int, writer: int) -> None:
        """Takes one value for each accumulator; those that get `None` are left as they are."""
        for index, value in enumerate(values):
            if value is not None:
                self.accumulators[index].add(value, timestamp, writer)

    def merge(self, other: Row) -> None:
        """Takes all that another row of the same step was given; that row is used up.

        It is as if the other row's values were added after this one's, which shows only where
        one writer's records of the same event time are in both.
        """
        for index, each in enumerate(other.accumulators):
            self.accumulators[index].merge(each)

    def remove(self, values: tuple[object, ...]) -> None:
        """Takes values back that were added before, `None` likewise standing for nothing."""
        for index, value in enumerate(values):
            if value is not None:
                self.accumulators[index].remove(value)

    def results(self) -> list[object]:
        """Returns each accumulator's result."""
        return [each.result() for each in self.accumulators]

    def encode(self) -> bytes:
        """Returns the row as it is stored; equal for equal contents."""
        return _encode([each.state() for each in self.accumulators])


class RowFactory:
    """Makes the rows of one step.

    Args:
        kinds: Which accumulators a row has.
        value_types: Of what each of them keeps, `None` where it is not known.
        makers: For each of them what makes it, or `None` if it is one of this module's.
    """

    __slots__ = ("_codecs", "_kinds", "_makers")

    def __init__(
        self,
        kinds: list[str],
        value_types: list[object],
        makers: list[Callable[[], Accumulator] | None] | None = None,
    ) -> None:
        self._kinds = kinds
        self._makers = makers
        # A type is this module's business only where its kind is.
        self._codecs = [
            ValueCodec(each if makers is None or makers[index] is None else None)
            for index, each in enumerate(value_types)
        ]

    def new(self) -> Row:
        """Returns an empty row."""
        accumulators: list[Accumulator] = []
        for index, kind in enumerate(self._kinds):
            make = None if self._makers is None else self._makers[index]
            if make is None:
                accumulators.append(_accumulator(kind, self._codecs[index]))
            else:
                accumulators.append(make())
        return Row(accumulators)

    def decode(self, data: bytes) -> Row:
        """Returns the row that was stored."""
        row = self.new()
        states: list[object] = _decode_any(data)
        for accumulator, state in zip(row.accumulators, states, strict=True):
            accumulator.restore(state)
        return row


def _accumulator(kind: str, codec: ValueCodec) -> Accumulator:
    if kind == "count":
        return Count()
    if kind == "sum":
        return Sum()
    if kind == "mean":
        return Mean()
    if kind == "min" or kind == "max":
        return Extreme(codec, kind == "max")
    assert kind == "first" or kind == "last", kind
    return Edge(codec, kind == "last")


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple) and value.__class__ is tuple:
        return all(_is_plain(each) for each in value)
    return value.__class__ in _PLAIN


def _sum_state(state: object) -> State:
    """A stored sum's state; MessagePack reads tuples as lists."""
    whole, partials, floats, positive, negative, nans = cast("list[Any]", state)
    return (whole, partials, floats, positive, negative, nans)
