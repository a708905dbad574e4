"""The nearest later record of another stream, against a search through all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from join_references import (
    canonical,
    events_of_writers,
    expected_next,
    mixed_anew,
    run_with_restarts,
)
from operator_harness import Event, Harness

from streamlog.processing.operators.as_of_next import AsOfNext, AsOfNextSpec

if TYPE_CHECKING:
    from random import Random

STREAM, OTHER = 0, 1


def spec_of(
    how: Literal["inner", "left"] = "inner",
    tolerance: int = 10,
    grace: int = 0,
    history: int = 20,
    tick: int = 1,
    *,
    exact: bool = True,
) -> AsOfNextSpec:
    return AsOfNextSpec(
        how=how,
        tolerance_ms=tolerance,
        grace_ms=grace,
        history_ms=max(history, grace),
        exact=exact,
        function=lambda value, other: (value, other),
        types=(int, int),
        tick_ms=tick,
    )


def harness_of(spec: AsOfNextSpec, writers: int = 1) -> Harness:
    return Harness(lambda context: AsOfNext(context, spec), spec.tick_ms, writers)


specs = st.builds(
    spec_of,
    how=st.sampled_from(["inner", "left"]),
    tolerance=st.sampled_from([0, 3, 10, 30]),
    grace=st.sampled_from([0, 0, 4]),
    history=st.sampled_from([0, 5, 20]),
    tick=st.sampled_from([1, 4]),
    exact=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(specs, events_of_writers(), st.data())
def test_results_are_those_of_a_search_through_all_records(
    spec: AsOfNextSpec, events: list[Event], data: st.DataObject
) -> None:
    harness = harness_of(spec, writers=3)
    results = run_with_restarts(harness, events, data) + harness.drain()
    wanted, late = expected_next(spec, events)
    assert canonical(results) == canonical(wanted)
    assert harness.late + harness.operator.late == late
    harness.checkpoint()
    assert not harness.rows.rows


@settings(max_examples=100, deadline=None)
@given(specs, events_of_writers(), st.randoms(use_true_random=False))
def test_results_do_not_depend_on_how_writers_are_mixed(
    spec: AsOfNextSpec, events: list[Event], rng: Random
) -> None:
    one, other = harness_of(spec, writers=3), harness_of(spec, writers=3)
    results = one.send_all(events)
    others = other.send_all(mixed_anew(events, rng))
    assert canonical([*results, *one.move_time(500)]) == canonical([*others, *other.move_time(500)])
    for harness in (one, other):
        harness.checkpoint()
        assert not harness.rows.rows


@settings(max_examples=100, deadline=None)
@given(specs, events_of_writers(writers=1))
def test_results_come_out_as_they_are_settled(spec: AsOfNextSpec, events: list[Event]) -> None:
    """However far time moves at once, their order is the same."""
    step, leap = harness_of(spec), harness_of(spec)
    step.send_all(events)
    leap.send_all(events)
    assert [r for time in range(300) for r in step.move_time(time)] == leap.move_time(299)


def test_a_record_meets_the_next_one_as_soon_as_none_can_be_nearer() -> None:
    harness = harness_of(spec_of(grace=2))
    harness.send(Event(b"a", 1, 10))
    harness.send(Event(b"a", 20, 13, OTHER))
    assert harness.send(Event(b"a", 30, 12, OTHER)) == []
    assert harness.move_time(14) == []
    assert harness.move_time(15) == [(b"a", (1, 30), 10)]
