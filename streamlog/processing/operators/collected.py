"""A bounded list of values in the order of event time.

Entries are kept in the order of event time, then writer, then arrival; what one writer wrote
arrives in its order. So the list, and which values have left it, do not depend on how the writers'
records are mixed. The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import Any, cast

from streamlog.processing.operators.accumulators import Accumulator, ValueCodec

Entry = tuple[int, int, object]
"""Event time, writer, value."""


class Collected(Accumulator):
    """The earliest or the latest values.

    Args:
        codec: How a value is stored.
        limit: How many are kept.
        latest: Whether the earliest leave when there are too many, and not the latest.
    """

    def __init__(self, codec: ValueCodec, limit: int, latest: bool) -> None:
        self.codec = codec
        self.limit = limit
        self.latest = latest
        self.entries: list[Entry] = []

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Puts a value in its place."""
        self.codec.check(value)
        entries = self.entries
        place = len(entries)
        # Almost always a record comes after the ones before it.
        while place > 0:
            before = entries[place - 1]
            if before[0] < timestamp or (before[0] == timestamp and before[1] <= writer):
                break
            place -= 1
        entries.insert(place, (timestamp, writer, value))
        if len(entries) > self.limit:
            if self.latest:
                entries.pop(0)
            else:
                entries.pop()

    def merge(self, other: Accumulator) -> None:
        """Puts the other's values in their places."""
        assert isinstance(other, Collected)
        self.entries = sorted(self.entries + other.entries, key=_order)
        if len(self.entries) > self.limit:
            cut = len(self.entries) - self.limit
            self.entries = self.entries[cut:] if self.latest else self.entries[: self.limit]

    def result(self) -> object:
        """Returns the values, earliest first."""
        return [entry[2] for entry in self.entries]

    def state(self) -> object:
        """Returns the values with their times and writers."""
        return [[at, writer, self.codec.dump(value)] for at, writer, value in self.entries]

    def restore(self, state: object) -> None:
        """Takes the values with their times and writers."""
        self.entries = []
        for each in cast("list[list[Any]]", state):
            self.entries.append((each[0], each[1], self.codec.load(each[2])))


def _order(entry: Entry) -> tuple[int, int]:
    return (entry[0], entry[1])
