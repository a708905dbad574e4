"""A histogram of durations: counts under fixed bounds, in constant memory."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Bounds for durations, as Prometheus' own clients have them, from a millisecond on."""


class Histogram:
    """Counts values by the smallest bound that is not below them.

    >>> took = Histogram((0.1, 1.0))
    >>> for value in (0.05, 0.1, 0.5, 3):
    ...     took.observe(value)
    >>> took.counts, took.count
    ([2, 1, 1], 4)
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        assert list(bounds) == sorted(set(bounds)), bounds
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Takes a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value
