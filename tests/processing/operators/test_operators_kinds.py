"""The larger aggregates: what they promise of order, merging, taking back and storing."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mixing import mixed

from streamlog.processing.dsl.aggregates import (
    Aggregate,
    collect,
    count_distinct,
    distinct,
    fold,
    max_,
    min_,
    quantile,
    quantiles,
    reduce_,
    top_k,
)
from streamlog.processing.errors import PlanError
from streamlog.processing.operators.specs import row_factory

if TYPE_CHECKING:
    from streamlog.processing.operators.accumulators import Row

Seen = tuple[float, int, int]
"""Value, timestamp, writer."""

numbers = st.sampled_from([0, -0.0, 1, 1.0, 2.5, -3, 700, 1e300, math.nan, math.inf, True])
seen = st.lists(
    st.tuples(
        numbers | st.floats() | st.integers(-(10**6), 10**6), st.integers(0, 5), st.integers(0, 3)
    )
)
finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)


class Moments(msgspec.Struct):
    count: int = 0
    square: int = 0


def add_moment(state: Moments, value: float) -> Moments:
    state.count += 1
    state.square += int(value * value) if abs(value) < 1e6 else 1
    return state


def remove_moment(state: Moments, value: float) -> Moments:
    state.count -= 1
    state.square -= int(value * value) if abs(value) < 1e6 else 1
    return state


def merge_moments(one: Moments, other: Moments) -> Moments:
    return Moments(one.count + other.count, one.square + other.square)


def identity(value: float) -> float:
    return value


KINDS: list[tuple[Aggregate[float], object]] = [
    (collect(limit=3), list[float]),
    (collect(limit=3, latest=True), list[float]),
    (distinct(identity), list[float]),
    (count_distinct(identity), int),
    (quantile(identity, 0.5), float),
    (quantiles(identity, 0, 0.25, 0.9, 1, accuracy=0.05), list[float]),
    (top_k(3), list[float]),
    (top_k(2, str, by=identity), list[str]),
    (fold(Moments, add_moment, merge=merge_moments, remove=remove_moment), Moments),
    (fold(0, lambda s, v: s + 1, merge=lambda a, b: a + b, remove=lambda s, v: s - 1), int),
]
FACTORY = row_factory([each.spec(str(n), kept) for n, (each, kept) in enumerate(KINDS)])

TAKING: list[tuple[Aggregate[float], object]] = [
    *[(each, kept) for each, kept in KINDS if each.can_remove],
    (min_(identity), float),
    (max_(identity), float),
]
TAKING_FACTORY = row_factory(
    [each.spec(str(n), kept, takes_back=True) for n, (each, kept) in enumerate(TAKING)]
)


def selected(kinds: list[tuple[Aggregate[float], object]], value: float) -> tuple[object, ...]:
    return tuple(value if each.selector is None else each.selector(value) for each, _ in kinds)


def row_of(records: list[Seen]) -> Row:
    row = FACTORY.new()
    for value, timestamp, writer in records:
        if not math.isnan(value) or writer:  # Most rows shall have no NaN.
            row.add(selected(KINDS, value), timestamp, writer)
    return row


@given(seen, st.integers(0, 2**32))
def test_any_order_of_the_writers_gives_the_same_row(records: list[Seen], seed: int) -> None:
    one, other = row_of(records), row_of(mixed(records, itemgetter(2), random.Random(seed)))
    assert repr(one.results()) == repr(other.results())
    assert one.encode() == other.encode()


@given(seen, st.integers(0, 20))
def test_a_stored_row_goes_on_where_it_was(records: list[Seen], cut: int) -> None:
    row = FACTORY.decode(row_of(records[:cut]).encode())
    row.merge(row_of(records[cut:]))
    whole = row_of(records)
    assert repr(row.results()) == repr(whole.results())
    assert row.encode() == whole.encode()


@given(st.lists(numbers | finite), st.lists(numbers | finite), st.integers(0, 2**32))
def test_what_is_taken_back_leaves_no_trace(
    kept: list[float], taken: list[float], seed: int
) -> None:
    both = kept + taken
    random.Random(seed).shuffle(both)
    row = TAKING_FACTORY.new()
    for value in both:
        row.add(selected(TAKING, value), 0, 0)
    row = TAKING_FACTORY.decode(row.encode())
    for value in taken:
        row.remove(selected(TAKING, value))
    others = TAKING_FACTORY.new()
    for value in kept:
        others.add(selected(TAKING, value), 0, 0)
    assert repr(row.results()) == repr(others.results())
    if kept:
        assert row.encode() == others.encode()


@given(st.lists(finite, min_size=1), st.floats(0, 1), st.sampled_from([0.3, 0.01, 0.001]))
@example([5e-324], 0.5, 0.01)
@example([1.7976931348623157e308], 0.5, 0.01)
def test_quantiles_are_as_near_as_they_promise(
    values: list[float], q: float, accuracy: float
) -> None:
    row = row_factory([quantile(identity, q, accuracy=accuracy).spec("", None)]).new()
    for value in values:
        row.add((value,), 0, 0)
    (found,) = row.results()
    assert isinstance(found, float)
    true = sorted(map(float, values))[int(q * (len(values) - 1))]
    # Numbers next to zero have no digits left to be near with.
    assert abs(found - true) <= accuracy * abs(true) * (1 + 1e-12) + 5e-324


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 2)), max_size=12))
def test_top_k_and_collect_agree_with_sorting(records: list[Seen]) -> None:
    aggregates: list[Aggregate[float]] = [top_k(3), collect(limit=4), collect(limit=4, latest=True)]
    row = row_factory([each.spec("", list[int]) for each in aggregates]).new()
    for value, timestamp, writer in records:
        row.add(((value, value), value, value), timestamp, writer)
    top, earliest, latest = row.results()
    ranked = sorted(records, key=lambda r: (-r[0], r[1], r[2]))
    timed = [record[0] for record in sorted(records, key=lambda r: r[1:])]
    assert top == [record[0] for record in ranked[:3]]
    assert earliest == timed[:4]
    assert latest == timed[-4:]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans())))
def test_a_ranking_agrees_with_sorting(changes: list[tuple[int, bool]]) -> None:
    aggregates: list[Aggregate[float]] = [min_(identity), max_(identity), top_k(2)]
    row = row_factory(
        [
            each.spec("", kept, takes_back=True)
            for each, kept in zip(aggregates, (int, int, list[int]), strict=True)
        ]
    ).new()
    left: Counter[int] = Counter()
    for value, added in changes:
        if added:
            row.add((value, value, (value, value)), 0, 0)
            left[value] += 1
        elif left[value]:
            row.remove((value, value, (value, value)))
            left[value] -= 1
        values = sorted(left.elements())
        expected = [values[0], values[-1]] if values else [None, None]
        assert row.results() == [*expected, values[::-1][:2]]


def test_of_nothing() -> None:
    assert FACTORY.new().results() == [[], [], [], 0, None, None, [], [], Moments(), 0]


def test_a_set_where_the_field_says_so() -> None:
    row = row_factory([distinct(identity).spec("", set[float])]).new()
    row.add((2.5,), 0, 0)
    assert row.results() == [{2.5}]


@dataclass(frozen=True)
class Point:
    x: int
    y: int


def test_values_of_a_known_type_come_back_as_they_were() -> None:
    a, b = Point(1, 2), Point(3, 4)
    aggregates: list[Aggregate[Point]] = [
        collect(limit=9),
        top_k(2, by=lambda p: (p.x, p.y)),
        distinct(lambda p: p),
    ]
    factory = row_factory([each.spec("", list[Point] | None) for each in aggregates])
    row = factory.new()
    for timestamp, point in enumerate([a, b]):
        row.add((point, ((point.x, point.y), point), point), timestamp, 0)
    restored = factory.decode(row.encode())
    first, top, different = restored.results()
    assert (first, top) == ([a, b], [b, a])
    assert isinstance(different, list)
    assert sorted(different, key=repr) == [a, b]


def test_reduce_begins_with_the_first_value() -> None:
    row = row_factory([reduce_(lambda a, b: Point(a.x + b.x, a.y)).spec("", Point)]).new()
    assert row.results() == [None]
    for x in (1, 2, 3):
        row.add((Point(x, x),), 0, 0)
    assert row.results() == [Point(6, 1)]


def test_a_result_of_a_fold_does_not_change_afterwards() -> None:
    def append(state: list[int], value: int) -> list[int]:
        state.append(value)
        return state

    row = row_factory([fold(list, append, state=list[int]).spec("", None)]).new()
    row.add((1,), 0, 0)
    (before,) = row.results()
    row.add((2,), 0, 0)
    assert (before, row.results()) == ([1], [[1, 2]])


def test_a_zero_that_is_a_value_is_not_shared() -> None:
    def bump(state: Moments, value: int) -> Moments:
        state.count += value
        return state

    factory = row_factory([fold(Moments(), bump).spec("", None)])
    for _ in range(2):
        row = factory.new()
        row.add((1,), 0, 0)
        assert row.results() == [Moments(count=1)]


def test_a_fold_that_forgets_to_return_is_told() -> None:
    def forgetful(state: int, value: int) -> Any:  # noqa: ANN401 (it lies to the checker)
        state += value

    row = row_factory([fold(0, forgetful).spec("", None)]).new()
    with pytest.raises(TypeError, match="return the state"):
        row.add((1,), 0, 0)


def test_a_state_of_unknown_type_is_refused_when_it_is_declared() -> None:
    with pytest.raises(PlanError, match=r"state.*not known.*\n?.*"):
        fold(list, lambda state, value: [*state, value])
    with pytest.raises(PlanError, match="cannot be read back"):
        fold(object(), lambda state, value: state, state=complex)


@pytest.mark.parametrize(
    "declare",
    [
        lambda: collect(limit=0),
        lambda: top_k(True),
        lambda: quantiles(identity),
        lambda: quantile(identity, 99),
        lambda: quantile(identity, 0.5, accuracy=0),
        lambda: top_k(3, by="delay"),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_refused_when_it_is_declared(declare: object) -> None:
    assert callable(declare)
    with pytest.raises(PlanError):
        declare()
