"""The values with the largest ranks, in two forms.

`TopK` keeps as many as are wanted. Equal ranks go by event time, then writer, then arrival: the
earlier stands higher. What one writer wrote arrives in its order, so nothing depends on the mix.

`Ranking` keeps all values, so that they can be taken back, as the aggregates of tables need it. A
value that is taken back has no event time, so equal ranks go by the values' stored forms.

A NaN ranks above everything, as it wins in `max_`. The module is written in the typed subset that
mypyc compiles.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from streamlog.processing.operators.accumulators import Accumulator, ValueCodec

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder().decode


def is_above(rank: Any, other: Any) -> bool:  # noqa: ANN401 (whatever compares with its like)
    """Whether a rank is larger than another one."""
    if rank != rank:
        return bool(other == other)
    return bool(rank > other)


class TopEntry:
    """A value in its place."""

    __slots__ = ("rank", "timestamp", "value", "writer")

    def __init__(self, rank: object, timestamp: int, writer: int, value: object) -> None:
        self.rank = rank
        self.timestamp = timestamp
        self.writer = writer
        self.value = value

    def is_before(self, other: TopEntry) -> bool:
        """Whether it stands above an entry that came after it."""
        if is_above(self.rank, other.rank):
            return True
        if is_above(other.rank, self.rank):
            return False
        if self.timestamp != other.timestamp:
            return self.timestamp < other.timestamp
        return self.writer <= other.writer


class TopK(Accumulator):
    """The values with the largest ranks; is given pairs of a rank and a value.

    Args:
        rank_codec: How a rank is stored.
        codec: How a value is stored.
        limit: How many are kept.
    """

    def __init__(self, rank_codec: ValueCodec, codec: ValueCodec, limit: int) -> None:
        self.rank_codec = rank_codec
        self.codec = codec
        self.limit = limit
        self.entries: list[TopEntry] = []

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Puts a value in its place, if it is among the first."""
        rank, item = cast("tuple[object, object]", value)
        if rank is None:
            return
        self._insert(TopEntry(rank, timestamp, writer, item))

    def _insert(self, entry: TopEntry) -> None:
        entries = self.entries
        if len(entries) == self.limit and entries[self.limit - 1].is_before(entry):
            return
        self.rank_codec.check(entry.rank)
        self.codec.check(entry.value)
        place = len(entries)
        while place > 0 and not entries[place - 1].is_before(entry):
            place -= 1
        entries.insert(place, entry)
        if len(entries) > self.limit:
            entries.pop()

    def merge(self, other: Accumulator) -> None:
        """Puts the other's values in their places."""
        assert isinstance(other, TopK)
        for entry in other.entries:
            self._insert(entry)

    def result(self) -> object:
        """Returns the values, largest rank first."""
        return [entry.value for entry in self.entries]

    def state(self) -> object:
        """Returns the values with their ranks, times and writers."""
        return [
            [self.rank_codec.dump(e.rank), e.timestamp, e.writer, self.codec.dump(e.value)]
            for e in self.entries
        ]

    def restore(self, state: object) -> None:
        """Takes the values with their ranks, times and writers."""
        self.entries = []
        for each in cast("list[list[Any]]", state):
            rank, value = self.rank_codec.load(each[0]), self.codec.load(each[3])
            self.entries.append(TopEntry(rank, each[1], each[2], value))


class RankedEntry:
    """A value in its place among all."""

    __slots__ = ("rank", "stored")

    def __init__(self, rank: object, stored: bytes) -> None:
        self.rank = rank
        self.stored = stored

    def is_before(self, other: RankedEntry) -> bool:
        """Whether it stands above another entry."""
        if is_above(self.rank, other.rank):
            return True
        if is_above(other.rank, self.rank):
            return False
        return self.stored < other.stored


class Ranking(Accumulator):
    """All values by their ranks; the first of them are the result.

    Args:
        rank_codec: How a rank is stored.
        codec: How a value is stored.
        limit: How many are in the result; 0: the first alone, or `None`.
        smallest: Whether small ranks come first.
        paired: Whether it is given pairs of a rank and a value; else the value is the rank.
    """

    def __init__(
        self,
        rank_codec: ValueCodec,
        codec: ValueCodec,
        limit: int,
        smallest: bool,
        paired: bool,
    ) -> None:
        self.rank_codec = rank_codec
        self.codec = codec
        self.limit = limit
        self.smallest = smallest
        self.paired = paired
        self.entries: list[RankedEntry] = []
        """From the largest to the smallest."""

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Puts a value in its place."""
        entry = self._entry(value)
        if entry is not None:
            self.entries.insert(self._place(entry), entry)

    def remove(self, value: object) -> None:
        """Takes a value out."""
        entry = self._entry(value)
        if entry is not None:
            place = self._place(entry)
            assert self.entries[place].stored == entry.stored
            self.entries.pop(place)

    def _entry(self, value: object) -> RankedEntry | None:
        rank, item = value, value
        if self.paired:
            rank, item = cast("tuple[object, object]", value)
            if rank is None:
                return None
        self.rank_codec.check(rank)
        self.codec.check(item)
        dumped = None if item is None else self.codec.dump(item)
        return RankedEntry(rank, _encode([self.rank_codec.dump(rank), dumped]))

    def _place(self, entry: RankedEntry) -> int:
        """The first place whose entry does not stand above."""
        low, high = 0, len(self.entries)
        while low < high:
            middle = (low + high) // 2
            if self.entries[middle].is_before(entry):
                low = middle + 1
            else:
                high = middle
        return low

    def merge(self, other: Accumulator) -> None:
        """Puts the other's values in their places."""
        assert isinstance(other, Ranking)
        for entry in other.entries:
            self.entries.insert(self._place(entry), entry)

    def result(self) -> object:
        """Returns the first values, or the first alone."""
        count = max(self.limit, 1)
        taken = self.entries[:count]
        if self.smallest and self.entries and self.entries[0].rank == self.entries[0].rank:
            taken = self.entries[-count:][::-1]
        values: list[object] = []
        for entry in taken:
            dumped = cast("list[Any]", _decode(entry.stored))[1]
            values.append(None if dumped is None else self.codec.load(dumped))
        if self.limit > 0:
            return values
        return values[0] if values else None

    def state(self) -> object:
        """Returns all values, in order."""
        return [entry.stored for entry in self.entries]

    def restore(self, state: object) -> None:
        """Takes all values, in order."""
        self.entries = []
        for stored in cast("list[bytes]", state):
            rank = self.rank_codec.load(cast("list[Any]", _decode(stored))[0])
            self.entries.append(RankedEntry(rank, stored))
