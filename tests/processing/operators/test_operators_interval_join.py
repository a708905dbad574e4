"""Interval joins against loops over all pairs of records."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from join_references import (
    canonical,
    events_of_writers,
    expected_interval,
    mixed_anew,
    run_with_restarts,
)
from operator_harness import Event, Harness

from streamlog.processing.operators.interval_join import IntervalJoin, IntervalJoinSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

How = Literal["inner", "left", "outer"]


def spec_of(
    how: How = "inner",
    before: int = 5,
    after: int = 5,
    grace: int = 0,
    tick: int = 1,
    where: Callable[[Any, Any], object] | None = None,
) -> IntervalJoinSpec:
    return IntervalJoinSpec(
        before_ms=before,
        after_ms=after,
        grace_ms=grace,
        how=how,
        function=lambda left, right: (left, right),
        where=where,
        types=(int, int),
        tick_ms=tick,
    )


def harness_of(spec: IntervalJoinSpec, writers: int = 1) -> Harness:
    return Harness(lambda context: IntervalJoin(context, spec), spec.tick_ms, writers)


events_of = partial(events_of_writers, count_max=30, behind=(0, 0, 1, 4, 15))

specs = st.builds(
    spec_of,
    how=st.sampled_from(["inner", "left", "outer"]),
    before=st.integers(-2, 8),
    after=st.integers(2, 8),
    grace=st.sampled_from([0, 0, 3, 12]),
    tick=st.sampled_from([1, 4]),
    where=st.sampled_from([None, lambda left, right: (left + right) % 3]),
)


@settings(max_examples=150, deadline=None)
@given(specs, events_of(), st.data())
def test_results_are_those_of_a_loop_over_all_pairs(
    spec: IntervalJoinSpec, events: list[Event], data: st.DataObject
) -> None:
    harness = harness_of(spec, writers=3)
    results = run_with_restarts(harness, events, data) + harness.drain()
    wanted, late = expected_interval(spec, events)
    assert canonical(results) == canonical(wanted)
    assert harness.late + harness.operator.late == late
    harness.checkpoint()
    assert not harness.rows.rows


@settings(max_examples=100, deadline=None)
@given(specs, events_of(), st.randoms(use_true_random=False))
def test_neither_results_nor_rows_depend_on_how_writers_are_mixed(
    spec: IntervalJoinSpec, events: list[Event], rng: Random
) -> None:
    one, other = harness_of(spec, writers=3), harness_of(spec, writers=3)
    results = one.send_all(events)
    others = other.send_all(mixed_anew(events, rng))
    assert canonical(results) == canonical(others)
    one.checkpoint()
    other.checkpoint()
    assert one.rows.rows == other.rows.rows


@settings(max_examples=100, deadline=None)
@given(specs, events_of(writers=1))
def test_unmatched_records_come_out_by_deadline(
    spec: IntervalJoinSpec, events: list[Event]
) -> None:
    """However far time moves at once, their order is the same."""
    step, leap = harness_of(spec), harness_of(spec)
    step.send_all(events)
    leap.send_all(events)
    steps = [result for time in range(200) for result in step.move_time(time)]
    assert steps == leap.move_time(199)
    assert not step.drain()


def test_a_match_comes_out_at_once() -> None:
    harness = harness_of(spec_of("outer"))
    assert harness.send(Event(b"a", 1, 10)) == []
    assert harness.send(Event(b"a", 2, 12, port=1)) == [(b"a", (1, 2), 12)]
    assert harness.send(Event(b"a", 3, 9, port=1)) == [(b"a", (1, 3), 10)]


def test_an_unmatched_record_comes_out_when_its_interval_has_passed_by_grace() -> None:
    harness = harness_of(spec_of("left", before=2, after=5, grace=3))
    harness.send(Event(b"a", 1, 10))
    assert harness.move_time(18) == []
    assert harness.move_time(19) == [(b"a", (1, None), 10)]


def test_a_record_joined_with_its_own_stream_meets_itself() -> None:
    harness = harness_of(spec_of())
    for value, timestamp in ((1, 10), (2, 12)):
        for port in (0, 1):
            results = harness.send(Event(b"a", value, timestamp, port=port))
    assert results == [(b"a", (1, 2), 12), (b"a", (2, 2), 12)]


def test_pairs_are_as_far_behind_time_as_the_one_that_waits_longest() -> None:
    assert spec_of("inner", before=6, after=5, grace=3).lag_ms == 9
