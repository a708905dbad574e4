"""Sums are exact, and forget the order of their terms."""

from __future__ import annotations

import math
import random
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamlog.processing.operators.exact_sum import ExactSum, State

finite = st.floats(allow_nan=False, allow_infinity=False)
terms = st.lists(finite | st.integers(-(10**40), 10**40) | st.sampled_from([0.1, 1e16, -1e16]))


def summed(values: list[float]) -> ExactSum:
    total = ExactSum()
    for value in values:
        total.add(value)
    return total


def nearest(values: list[float]) -> float:
    exact = sum(map(Fraction, values), Fraction(0))
    if all(isinstance(value, int) for value in values):
        return sum(values)
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


@given(terms)
@example([1e16, 1.0, -1e16])
@example([1e308, 1e308, -1e308, -1e308, 0.5])
@example([1e308, 1e308])
@example([2**53 + 1, 0.0])
@example([5e-324, 1e290, -1e290])
def test_a_sum_is_the_nearest_number_to_the_exact_one(values: list[float]) -> None:
    assert summed(values).result() == nearest(values)


@given(terms, st.integers(0, 2**32))
def test_equal_terms_in_any_order_leave_equal_states(values: list[float], seed: int) -> None:
    mixed = list(values)
    random.Random(seed).shuffle(mixed)
    assert repr(summed(mixed).state()) == repr(summed(values).state())


@given(terms, terms)
def test_a_stored_sum_goes_on_where_it_was(before: list[float], after: list[float]) -> None:
    total = summed(before)
    restored = ExactSum()
    restored.restore(total.state())
    for value in after:
        restored.add(value)
    assert repr(restored.state()) == repr(summed(before + after).state())
    assert restored.result() == summed(before + after).result()


@pytest.mark.parametrize(
    ("values", "result"),
    [
        ([math.inf, 1.0], math.inf),
        ([-math.inf, 1e308], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan, math.inf], math.nan),
        ([True, True, 1], 3),
        ([], 0),
        ([0.5, 1], 1.5),
    ],
)
def test_special_terms(values: list[float], result: float) -> None:
    found = summed(values).result()
    assert repr(found) == repr(result)
    state: State = summed(values[::-1]).state()
    assert state == summed(values).state()


@pytest.mark.parametrize("term", ["1", None, Fraction(1, 2), 1j])
def test_what_is_no_number_is_refused(term: object) -> None:
    with pytest.raises(TypeError, match="sums take int and float"):
        ExactSum().add(term)


@given(terms, terms)
def test_merging_is_adding_all_terms(mine: list[float], others: list[float]) -> None:
    total = summed(mine)
    total.merge(summed(others))
    assert repr(total.state()) == repr(summed(mine + others).state())


@given(terms, terms, st.integers(0, 2**32))
@example([1e16], [1.0, math.nan, math.inf], 0)
@example([1], [0.5, 1e300], 0)
def test_taking_terms_back_leaves_the_sum_of_the_others(
    kept: list[float], taken: list[float], seed: int
) -> None:
    total = ExactSum()
    mixed = kept + taken
    random.Random(seed).shuffle(mixed)
    for value in mixed:
        total.add(value)
    for value in taken:
        total.remove(value)
    assert repr(total.state()) == repr(summed(kept).state())
