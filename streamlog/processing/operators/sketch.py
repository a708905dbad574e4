"""Quantiles of numbers from counts in bins whose width grows with the numbers.

It is a sketch in the manner of DDSketch (Masson, Rim, Lee 2019): a number is known by its bin, and
the bins are so narrow that every number in one is within the promised relative error of what the
bin stands for. Counts can be added and taken back, so sketches merge exactly, and nothing depends
on an order.

DDSketch cuts at powers of one base, and needs logarithms, which differ in the last bit from one
machine to the next. Here each octave (from a power of two to the next) is cut into bins of equal
width instead. With n of them the error is at most 1/(2n + 1), and finding the bin takes only
operations whose results IEEE 754 fixes. It needs 1.4 times as many bins for the same error.

Bins are numbered as the numbers are ordered: 0 is the number 0, negative numbers have negative
bins, and the infinities have the outermost. Numbers from 0.001 to 1,000,000,000 fill 2,000 bins at
an accuracy of 1%; there can never be more than 210,000. The module is written in the typed subset
that mypyc compiles.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any, Final, cast

from streamlog.processing.operators.accumulators import Accumulator

_EXPONENT_MIN: Final = -1074
_EXPONENT_MAX: Final = 1024
"""Of `math.frexp`, for all floats but 0 and the infinities."""


def bins_per_octave(accuracy: float) -> int:
    """Returns how many bins an octave needs for a relative error.

    >>> bins_per_octave(0.01), bins_per_octave(0.001)
    (50, 500)
    """
    return math.ceil((1 / accuracy - 1) / 2)


class Sketch(Accumulator):
    """The counts, and the quantiles that are asked of them.

    Args:
        bins: In each octave; see `bins_per_octave`.
        quantiles: From 0 (the smallest) to 1 (the largest).
        single: Whether the result is that of the only quantile, and not a list.
    """

    def __init__(self, bins: int, quantiles: list[float], single: bool) -> None:
        self.bins = bins
        self.quantiles = quantiles
        self.single = single
        self.counts: dict[int, int] = {}
        self.count: int = 0
        self.nans: int = 0
        # For who asks after each number: where the last results were found.
        self._places: list[int] = []
        """The bins in order; empty if nobody has asked since they were read or merged."""
        self._at: list[int] = []
        """Of each quantile: the index of its bin."""
        self._below: list[int] = []
        """Of each quantile: how many numbers are in the bins before that."""

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Counts a number in its bin."""
        self._count(value, 1)

    def remove(self, value: object) -> None:
        """Counts a number back."""
        self._count(value, -1)

    def _count(self, value: object, sign: int) -> None:
        if not isinstance(value, (float, int)):
            raise TypeError(f"quantiles take int and float, this is {value!r}")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf if value > 0 else -math.inf
        if number != number:
            self.nans += sign
            return
        self.count += sign
        place = self._bin_of(number)
        count = self.counts.get(place, 0) + sign
        if count > 0:
            self.counts[place] = count
        else:
            del self.counts[place]
        if self._places:
            self._follow(place, sign, count)

    def _follow(self, place: int, sign: int, count: int) -> None:
        """Keeps up what results are found by: a bin has `count` numbers now."""
        places = self._places
        index = bisect_left(places, place)
        moved = 0
        if count == 0:
            del places[index]
            moved = -1
        elif count == 1 and sign > 0:
            places.insert(index, place)
            moved = 1
        for number in range(len(self._at)):
            if index < self._at[number]:
                self._at[number] += moved
                self._below[number] += sign

    def _bin_of(self, number: float) -> int:
        if number == 0.0:
            return 0
        size = abs(number)
        if size == math.inf:
            place = (_EXPONENT_MAX - _EXPONENT_MIN + 1) * self.bins + 1
        else:
            mantissa, exponent = math.frexp(size)
            # Rounding must not lead out of the octave.
            within = min(int((2.0 * mantissa - 1.0) * self.bins), self.bins - 1)
            place = (exponent - _EXPONENT_MIN) * self.bins + within + 1
        return place if number > 0.0 else -place

    def _number_of(self, place: int) -> float:
        """What a bin stands for: as far from its ends, relative to them."""
        if place == 0:
            return 0.0
        octave, within = divmod(abs(place) - 1, self.bins)
        exponent = octave + _EXPONENT_MIN
        if exponent > _EXPONENT_MAX:
            size = math.inf
        else:
            low = 1.0 + within / self.bins
            high = 1.0 + (within + 1) / self.bins
            size = math.ldexp(low * high / (low + high), exponent)
        return size if place > 0 else -size

    def merge(self, other: Accumulator) -> None:
        """Adds the other's counts."""
        assert isinstance(other, Sketch)
        self.count += other.count
        self.nans += other.nans
        for place, count in other.counts.items():
            self.counts[place] = self.counts.get(place, 0) + count
        self._places = []

    def result(self) -> object:
        """Returns the quantiles; `None` of nothing, and NaN if there is a NaN."""
        if self.count + self.nans == 0:
            return None
        found = self._found() if self.nans == 0 else [math.nan for _ in self.quantiles]
        return found[0] if self.single else found

    def _found(self) -> list[float]:
        counts = self.counts
        if not self._places:
            self._places = sorted(counts)
            self._at = [0 for _ in self.quantiles]
            self._below = [0 for _ in self.quantiles]
        places = self._places
        numbers: list[float] = []
        for number, quantile in enumerate(self.quantiles):
            rank = int(quantile * (self.count - 1))
            index, below = self._at[number], self._below[number]
            while below > rank:
                index -= 1
                below -= counts[places[index]]
            while below + counts[places[index]] <= rank:
                below += counts[places[index]]
                index += 1
            self._at[number], self._below[number] = index, below
            numbers.append(self._number_of(places[index]))
        return numbers

    def state(self) -> object:
        """Returns the counts by bin."""
        return [self.nans, [[place, self.counts[place]] for place in sorted(self.counts)]]

    def restore(self, state: object) -> None:
        """Takes the counts by bin."""
        nans, counts = cast("list[Any]", state)
        self.nans = nans
        self.counts = {}
        self.count = 0
        self._places = []
        for place, count in cast("list[list[int]]", counts):
            self.counts[place] = count
            self.count += count
