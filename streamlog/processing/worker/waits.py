"""What a worker waits with because a record failed: partitions that rest, tasks to be taken again.

Times are those of the worker's clock, in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")


class Waits(Generic[K]):
    """Things by the time until which they wait.

    >>> waits = Waits[str]()
    >>> waits.add("a", 2.0)
    >>> waits.add("b", 1.0)
    >>> waits.next_at()
    1.0
    >>> waits.due(1.5), waits.due(1.5), waits.next_at()
    (['b'], [], 2.0)
    """

    def __init__(self) -> None:
        self._until: dict[K, float] = {}

    def add(self, thing: K, until: float) -> None:
        """It waits until then."""
        self._until[thing] = until

    def forget(self, thing: K) -> None:
        """It is nobody's business any more."""
        self._until.pop(thing, None)

    def __contains__(self, thing: K) -> bool:
        return thing in self._until

    def next_at(self) -> float | None:
        """Returns when the first of them has waited long enough."""
        return min(self._until.values(), default=None)

    def due(self, now: float) -> list[K]:
        """Returns those that have waited long enough, and forgets them."""
        due = [thing for thing, until in self._until.items() if until <= now]
        for thing in due:
            del self._until[thing]
        return due
