"""The set of different values, and how many there are of each, so that they can be taken back.

Two values are the same if their stored forms are: so 1, 1.0 and `True` are three values, which of
them came first never shows, and a value needs no hash. The module is written in the typed subset
that mypyc compiles.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec

from streamlog.processing.operators.accumulators import Accumulator, ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder().decode


class Distinct(Accumulator):
    """The different values.

    Args:
        codec: How a value is stored.
        container: Makes the result of a sorted list.
    """

    def __init__(self, codec: ValueCodec, container: Callable[[list[object]], object]) -> None:
        self.codec = codec
        self.container = container
        self.counts: dict[bytes, int] = {}

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Counts a value."""
        self.codec.check(value)
        stored = self._stored(value)
        self.counts[stored] = self.counts.get(stored, 0) + 1

    def merge(self, other: Accumulator) -> None:
        """Counts the other's values."""
        assert isinstance(other, Distinct)
        for stored, count in other.counts.items():
            self.counts[stored] = self.counts.get(stored, 0) + count

    def remove(self, value: object) -> None:
        """Counts a value back."""
        stored = self._stored(value)
        count = self.counts[stored] - 1
        if count > 0:
            self.counts[stored] = count
        else:
            del self.counts[stored]

    def _stored(self, value: object) -> bytes:
        if isinstance(value, float) and value == 0.0:
            value = 0.0  # There is a negative zero as well.
        return _encode(self.codec.dump(value))

    def result(self) -> object:
        """Returns the values, sorted if they compare with each other."""
        values = [self.codec.load(_decode(stored)) for stored in sorted(self.counts)]
        with suppress(TypeError):
            values = sorted(cast("list[Any]", values))
        return self.container(values)

    def state(self) -> object:
        """Returns the values' stored forms and counts."""
        return [[stored, self.counts[stored]] for stored in sorted(self.counts)]

    def restore(self, state: object) -> None:
        """Takes the values' stored forms and counts."""
        self.counts = {}
        for each in cast("list[list[Any]]", state):
            self.counts[each[0]] = each[1]


class CountDistinct(Distinct):
    """How many different values there are."""

    def result(self) -> object:
        """Returns the number of different values."""
        return len(self.counts)
