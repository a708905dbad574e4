"""Joins by event time against a search through all versions."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from join_references import (
    KEYS,
    canonical,
    events_of_writers,
    expected_versioned,
    mixed_anew,
    run_with_restarts,
)
from operator_harness import Event, Harness

from streamlog.processing.operators.versioned_join import VersionedJoin, VersionedJoinSpec

if TYPE_CHECKING:
    from random import Random

STREAM, TABLE = 0, 1


def spec_of(
    how: Literal["inner", "left"] = "inner",
    grace: int = 0,
    history: int = 20,
    tolerance: int | None = None,
    tick: int = 1,
    *,
    exact: bool = True,
) -> VersionedJoinSpec:
    return VersionedJoinSpec(
        how=how,
        grace_ms=grace,
        history_ms=max(history, grace),
        tolerance_ms=tolerance,
        exact=exact,
        function=lambda value, row: (value, row),
        types=(int, int | None),
        tick_ms=tick,
        table="prices",
    )


def harness_of(spec: VersionedJoinSpec, writers: int = 1) -> Harness:
    return Harness(lambda context: VersionedJoin(context, spec), spec.tick_ms, writers)


events_of = partial(events_of_writers, has_tombstones=True)

specs = st.builds(
    spec_of,
    how=st.sampled_from(["inner", "left"]),
    grace=st.sampled_from([0, 0, 4]),
    history=st.sampled_from([0, 5, 20]),
    tolerance=st.sampled_from([None, None, 3, 10]),
    tick=st.sampled_from([1, 4]),
    exact=st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(specs, events_of(), st.data())
def test_results_are_those_of_a_search_through_all_versions(
    spec: VersionedJoinSpec, events: list[Event], data: st.DataObject
) -> None:
    harness = harness_of(spec, writers=3)
    results = run_with_restarts(harness, events, data) + harness.drain()
    wanted, late = expected_versioned(spec, events)
    assert canonical(results) == canonical(wanted)
    assert harness.late + harness.operator.late == late


@settings(max_examples=100, deadline=None)
@given(specs, events_of(), st.randoms(use_true_random=False))
def test_neither_results_nor_rows_depend_on_how_writers_are_mixed(
    spec: VersionedJoinSpec, events: list[Event], rng: Random
) -> None:
    one, other = harness_of(spec, writers=3), harness_of(spec, writers=3)
    results = one.send_all(events)
    others = other.send_all(mixed_anew(events, rng))
    # Which versions are forgotten goes by ticks: to compare rows, one that is the same for both.
    assert canonical([*results, *one.move_time(500)]) == canonical([*others, *other.move_time(500)])
    one.checkpoint()
    other.checkpoint()
    assert one.rows.rows == other.rows.rows


@settings(max_examples=100, deadline=None)
@given(specs, events_of(writers=1))
def test_results_come_out_as_they_become_due(spec: VersionedJoinSpec, events: list[Event]) -> None:
    """However far time moves at once, their order is the same."""
    step, leap = harness_of(spec), harness_of(spec)
    step.send_all(events)
    leap.send_all(events)
    assert [r for time in range(300) for r in step.move_time(time)] == leap.move_time(299)


@settings(max_examples=50, deadline=None)
@given(specs, events_of(writers=2))
def test_of_what_is_old_one_row_of_each_key_is_left(
    spec: VersionedJoinSpec, events: list[Event]
) -> None:
    harness = harness_of(spec, writers=2)
    harness.send_all(events)
    harness.move_time(1_000)
    harness.checkpoint()
    rows_with_a_key = 0 if spec.tolerance_ms is not None else len(KEYS)
    assert len(harness.rows.rows) <= rows_with_a_key


def test_a_record_meets_the_row_of_its_time() -> None:
    harness = harness_of(spec_of())
    harness.send(Event(b"a", 10, 100, TABLE))
    harness.send(Event(b"a", 20, 110, TABLE))
    assert harness.send(Event(b"a", 1, 105)) == []
    assert harness.send(Event(b"a", 2, 111)) == [(b"a", (1, 10), 105)]
    assert harness.drain() == [(b"a", (2, 20), 111)]


def test_grace_waits_for_rows_that_come_late() -> None:
    harness = harness_of(spec_of("left", grace=5))
    harness.send(Event(b"a", 1, 100))
    harness.send(Event(b"b", 2, 104))
    harness.send(Event(b"a", 10, 99, TABLE))
    assert harness.move_time(105) == []
    assert harness.move_time(106) == [(b"a", (1, 10), 100)]


def test_a_join_that_finds_only_newer_rows_says_what_to_do() -> None:
    harness = harness_of(spec_of())
    harness.send(Event(b"a", 10, 1_000, TABLE, writer=0))
    for number in range(3):
        harness.send(Event(b"a", number, 990 + number))
    assert not harness.drain()
    (note,) = harness.operator.notes
    assert "prices" in note
    assert "event_time" in note
    assert "GlobalTable" in note


def test_nothing_is_said_where_some_records_find_rows() -> None:
    harness = harness_of(spec_of())
    harness.send(Event(b"b", 10, 980, TABLE))
    harness.send(Event(b"b", 1, 985))
    harness.send(Event(b"a", 10, 1_000, TABLE))
    harness.send(Event(b"a", 2, 990))
    assert harness.drain() == [(b"b", (1, 10), 985)] or harness.operator.notes == []
    assert harness.operator.notes == []
