"""A sum of numbers that is exact, so that the order of its terms never shows.

Whole numbers are added as Python's integers. Floats are added as Shewchuk's partials: floats that
do not overlap and whose exact sum is the exact sum of all terms (Shewchuk 1997, "Adaptive Precision
Floating-Point Arithmetic"; `math.fsum` does the same for terms that are at hand all at once).
Almost always one partial is enough, so the largest is kept apart, and the list of others is empty.

Floats so large that a partial could overflow are whole numbers, and go to the integer. Infinities
and NaN are counted apart: their sum is what IEEE 754 says of any order of addition.

What is stored is canonical: the partials are rounded off from the top, so equal sums have equal
bytes however they came about. The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Final

HUGE: Final = 1e290
"""Above this a float is added as an integer; 10^17 terms below it do not overflow a partial."""
_EXACT_INT_MAX: Final = 2**53
_STORED_INT_MAX: Final = 2**63 - 1

State = tuple[int | str, list[float], int, int, int, int]
"""Whole part (as text beyond 64 bits), partials, how many terms were floats, were inf, -inf, NaN.

How many were, and not whether any was: taking terms away again leaves what adding the others does.
"""


class ExactSum:
    """The sum of the terms so far."""

    __slots__ = ("floats", "high", "low", "nans", "negative", "positive", "whole")

    def __init__(self) -> None:
        self.whole: int = 0
        self.high: float = 0.0
        self.low: list[float] = []
        self.floats: int = 0
        self.positive: int = 0
        self.negative: int = 0
        self.nans: int = 0

    def add(self, term: object) -> None:
        """Adds an int or a float."""
        if isinstance(term, float):
            self.add_float(term)
        elif isinstance(term, int):
            self.whole += term
        else:
            raise TypeError(f"sums take int and float, this is {term!r}")

    def add_float(self, term: float) -> None:
        """Adds a float."""
        self.floats += 1
        if not -HUGE < term < HUGE:
            self._count_rare(term, 1)
            return
        high = self.high
        total = high + term
        part = total - high
        error = (high - (total - part)) + (term - part)
        if error == 0.0 and not self.low:
            self.high = total
        else:
            self._add_to_partials(term)

    def remove(self, term: object) -> None:
        """Takes an int or a float away that was added before."""
        if isinstance(term, float):
            self.floats -= 1
            if not -HUGE < term < HUGE:
                self._count_rare(term, -1)
            else:
                self._add_to_partials(-term)
        elif isinstance(term, int):
            self.whole -= term
        else:
            raise TypeError(f"sums take int and float, this is {term!r}")

    def merge(self, other: ExactSum) -> None:
        """Adds all terms of another sum."""
        self.whole += other.whole
        self.floats += other.floats
        self.positive += other.positive
        self.negative += other.negative
        self.nans += other.nans
        for partial in other.low:
            self._add_to_partials(partial)
        if other.high != 0.0:
            self._add_to_partials(other.high)

    def _count_rare(self, term: float, sign: int) -> None:
        if math.isnan(term):
            self.nans += sign
        elif math.isinf(term):
            if term > 0:
                self.positive += sign
            else:
                self.negative += sign
        else:
            self.whole += sign * int(term)

    def _add_to_partials(self, term: float) -> None:
        """Shewchuk's grow-expansion; `low` is in growing order, `high` above it."""
        kept: list[float] = []
        for partial in self.low:
            total = term + partial
            part = total - term
            error = (term - (total - part)) + (partial - part)
            if error != 0.0:
                kept.append(error)
            term = total
        high = self.high
        total = term + high
        part = total - term
        error = (term - (total - part)) + (high - part)
        if error != 0.0:
            kept.append(error)
        self.high = total
        self.low = kept

    def result(self) -> int | float:
        """Returns the sum: an int if all terms were, else the nearest float."""
        if self.floats == 0:
            return self.whole
        if self.nans or (self.positive and self.negative):
            return math.nan
        if self.positive:
            return math.inf
        if self.negative:
            return -math.inf
        if -_EXACT_INT_MAX <= self.whole <= _EXACT_INT_MAX:
            return math.fsum([float(self.whole), self.high, *self.low])
        exact = sum((Fraction(each) for each in self.low), Fraction(self.high) + self.whole)
        try:
            return float(exact)
        except OverflowError:
            return math.inf if exact > 0 else -math.inf

    def state(self) -> State:
        """Returns what makes the sum again; equal for equal sums."""
        partials = [self.high, *self.low]
        canonical: list[float] = []
        rounded = math.fsum(partials)
        while rounded != 0.0:
            canonical.append(rounded)
            partials.append(-rounded)
            rounded = math.fsum(partials)
        whole: int | str = self.whole
        if not -_STORED_INT_MAX <= self.whole <= _STORED_INT_MAX:
            whole = hex(self.whole)
        return (whole, canonical, self.floats, self.positive, self.negative, self.nans)

    def restore(self, state: State) -> None:
        """Becomes what `state` was taken of."""
        whole, canonical, self.floats, self.positive, self.negative, self.nans = state
        self.whole = int(whole, 16) if isinstance(whole, str) else whole
        self.high = canonical[0] if canonical else 0.0
        self.low = canonical[:0:-1]
