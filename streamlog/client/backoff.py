"""Exponential back-off with jitter, so that many clients do not come back at the same moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

JITTER = 0.2
"""As Kafka's: a wait is between 80 and 120 % of the nominal one."""


class Backoff:
    """Waits that double from the first to the largest; `reset` after a success.

    >>> import random
    >>> backoff = Backoff(100, 1_000, random.Random(1))
    >>> [backoff.next_ms() for _ in range(5)]
    [85, 228, 442, 722, 998]
    """

    def __init__(self, first_ms: float, largest_ms: float, rng: random.Random) -> None:
        self._first_ms = first_ms
        self._largest_ms = largest_ms
        self._rng = rng
        self.failures = 0

    def next_ms(self) -> int:
        """Counts a failure and returns how long to wait after it."""
        nominal = min(self._largest_ms, self._first_ms * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return round(nominal * self._rng.uniform(1 - JITTER, 1 + JITTER))

    def reset(self) -> None:
        """Begins again with the first wait."""
        self.failures = 0
