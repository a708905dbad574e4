"""The difference between two sets of results, each in the order of their identities.

Both are walked side by side, so nothing but the figures and a few samples is kept. A result counts
if it lies in the *compared part* of time: after what a replay has left out at its beginning, and up
to where both sides have put out all that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final

from streamlog.processing.replay.result import Result, equal_values

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NEVER: Final = -(2**62)
ALWAYS: Final = 2**62


@dataclass(frozen=True, slots=True)
class Part:
    """The part of time in which results are compared."""

    after_ms: int = NEVER
    """Excluded: results that begin here or before may lack records that were not replayed."""
    through_ms: int = ALWAYS
    """Included: what ends later may not have been put out yet by both sides."""

    def covers(self, result: Result) -> bool:
        """Whether a result counts."""
        return self.after_ms < result.first_ms and result.last_ms <= self.through_ms


class Change(Enum):
    """How a result differs."""

    CHANGED = "changed"
    MISSING = "missing"
    """The live topic has it, the version does not."""
    EXTRA = "extra"
    """The version has it, the live topic does not."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A result that is not the same on both sides."""

    change: Change
    live: Result | None
    version: Result | None

    @property
    def result(self) -> Result:
        """One of the two, for its key and window."""
        result = self.live or self.version
        assert result is not None
        return result


@dataclass(slots=True)
class Comparison:
    """What comparing one topic has found."""

    topic: str
    version_topic: str
    part: Part
    same: int = 0
    changed: int = 0
    missing: int = 0
    extra: int = 0
    outside: int = 0
    """Results that lie outside the compared part, on either side."""
    sample: list[Difference] = field(default_factory=list)
    """The first differences, in the order of key and window."""

    @property
    def differs(self) -> bool:
        """Whether there is any difference."""
        return bool(self.changed or self.missing or self.extra)

    def count(self, difference: Difference | None, sample_max: int) -> None:
        """Takes a pair of results that count: what differs, or nothing if they are the same."""
        if difference is None:
            self.same += 1
            return
        if difference.change is Change.CHANGED:
            self.changed += 1
        elif difference.change is Change.MISSING:
            self.missing += 1
        else:
            self.extra += 1
        if len(self.sample) < sample_max:
            self.sample.append(difference)


Pair = tuple[Result | None, Result | None]
"""What the live topic and the version have of one identity; a removed result counts as none."""


def pairs(
    live: Iterable[tuple[bytes, Result]], version: Iterable[tuple[bytes, Result]]
) -> Iterator[Pair]:
    """Yields what both sides have of each identity that any has, in the order of identities.

    Args:
        live: Identities and newest results, in ascending order.
        version: Likewise.
    """
    ours, theirs = iter(live), iter(version)
    one, other = next(ours, None), next(theirs, None)
    while one is not None or other is not None:
        left: Result | None = None
        right: Result | None = None
        name = min(each[0] for each in (one, other) if each is not None)
        if one is not None and one[0] == name:
            left, one = one[1], next(ours, None)
        if other is not None and other[0] == name:
            right, other = other[1], next(theirs, None)
        if left is not None and left.value is None:
            left = None
        if right is not None and right.value is None:
            right = None
        if left is not None or right is not None:
            yield left, right


def difference_of(pair: Pair) -> Difference | None:
    """Returns how the two sides of a pair differ, or nothing if they do not."""
    live, version = pair
    if live is None:
        return Difference(Change.EXTRA, None, version)
    if version is None:
        return Difference(Change.MISSING, live, None)
    if equal_values(live.value, version.value):
        return None
    return Difference(Change.CHANGED, live, version)


def compare(found: Iterable[Pair], comparison: Comparison, sample_max: int) -> None:
    """Counts pairs; those outside the compared part only as such."""
    for pair in found:
        # Where the sides disagree about time (a window of another size), both must count.
        if all(comparison.part.covers(each) for each in pair if each is not None):
            comparison.count(difference_of(pair), sample_max)
        else:
            comparison.outside += 1
