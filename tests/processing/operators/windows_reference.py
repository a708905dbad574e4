"""Windows by sets and loops over all records, against which the operators are compared.

A record is judged by its own time and by its writer's when it was written; nothing else matters but
for the order in which changes come out. Nothing here is shared with the engine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

Identity = tuple[bytes | None, int, int]
"""A key, and the start and the end of a window as results have them."""


@dataclass(frozen=True)
class Sent:
    """A record as it was sent: `number` is its place among all, `time` that of its writer."""

    key: bytes | None
    at: int
    amount: float | None
    writer: int
    number: int
    time: int


def values_of(records: list[Sent]) -> dict[str, Any]:
    """What the aggregates of the tests make of some records."""
    ordered = sorted(records, key=lambda r: (r.at, r.writer, r.number))
    amounts = [each.amount for each in ordered if each.amount is not None]
    return {
        "events": len(records),
        "total": math.fsum(amounts) if amounts else 0,
        "oldest": amounts[0] if amounts else None,
        "newest": amounts[-1] if amounts else None,
    }


class Reference(Protocol):
    """One kind of windows."""

    def windows(self, records: list[Sent]) -> dict[Identity, list[Sent]]:
        """All windows of some records, and which of them each holds."""

    def is_late(self, record: Sent) -> bool:
        """Whether a record is in no window."""

    def last(self, identity: Identity) -> int:
        """The last moment of a window."""


def keyed(records: list[Sent]) -> dict[bytes | None, list[Sent]]:
    groups: dict[bytes | None, list[Sent]] = defaultdict(list)
    for each in records:
        groups[each.key].append(each)
    return groups


@dataclass(frozen=True)
class Hopping:
    size: int
    advance: int
    offset: int
    grace: int

    def _spans(self, record: Sent) -> list[tuple[int, int]]:
        return [
            (start, start + self.size)
            for start in range(record.at - self.size + 1, record.at + 1)
            if (start - self.offset) % self.advance == 0
            and start + self.size + self.grace > record.time
        ]

    def windows(self, records: list[Sent]) -> dict[Identity, list[Sent]]:
        found: dict[Identity, list[Sent]] = defaultdict(list)
        for record in records:
            for start, end in self._spans(record):
                found[record.key, start, end].append(record)
        return found

    def is_late(self, record: Sent) -> bool:
        return not self._spans(record)

    def last(self, identity: Identity) -> int:
        return identity[2] - 1


@dataclass(frozen=True)
class Sliding:
    span: int
    grace: int

    def _is_open(self, end: int, record: Sent) -> bool:
        return end + 1 + self.grace > record.time

    def windows(self, records: list[Sent]) -> dict[Identity, list[Sent]]:
        found: dict[Identity, list[Sent]] = {}
        for key, mine in keyed(records).items():
            ends = {r.at for r in mine if self._is_open(r.at, r)}
            ends |= {
                r.at + self.span + 1
                for r in mine
                if self._is_open(r.at + self.span, r) and self._is_open(r.at + self.span + 1, r)
            }
            for end in ends:
                held = [r for r in mine if end - self.span <= r.at <= end and self._is_open(end, r)]
                if held:
                    found[key, end - self.span, end] = held
        return found

    def is_late(self, record: Sent) -> bool:
        return not self._is_open(record.at + self.span, record)

    def last(self, identity: Identity) -> int:
        return identity[2]


@dataclass(frozen=True)
class Sessions:
    gap: int
    grace: int

    def windows(self, records: list[Sent]) -> dict[Identity, list[Sent]]:
        found: dict[Identity, list[Sent]] = {}
        for key, mine in keyed([r for r in records if not self.is_late(r)]).items():
            ordered = sorted(mine, key=lambda r: r.at)
            parts = [[ordered[0]]]
            for before, after in pairwise(ordered):
                if after.at - before.at > self.gap:
                    parts.append([])
                parts[-1].append(after)
            for part in parts:
                found[key, part[0].at, part[-1].at] = part
        return found

    def is_late(self, record: Sent) -> bool:
        return record.at + self.grace < record.time

    def last(self, identity: Identity) -> int:
        return identity[2]


@dataclass(frozen=True)
class Counted:
    count: int

    def windows(self, records: list[Sent]) -> dict[Identity, list[Sent]]:
        # Two windows of a key may have the same start and end, so their place is in the key here.
        found: dict[Any, list[Sent]] = {}
        for key, mine in keyed(records).items():
            for number in range(0, len(mine), self.count):
                part = mine[number : number + self.count]
                times = [each.at for each in part]
                found[(key, number), min(times), max(times)] = part
        return found

    def is_late(self, record: Sent) -> bool:
        return False

    def last(self, identity: Identity) -> int:
        return identity[2]
