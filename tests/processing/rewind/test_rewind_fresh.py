"""After a rewind to anywhere and a run to the end, all is as if it had been run once."""

from __future__ import annotations

import copy
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewind_pipelines import (
    EDIT,
    PARTITIONS,
    outcome,
    results,
    some_numbers,
    totals,
)
from rewind_runs import fresh, rewind_somewhere, stands, wander

from streamlog.errors import RefusedError
from streamlog.processing.errors import HistoryError
from streamlog.processing.rewind.target import Back
from streamlog.processing.worker.placement import TaskName
from streamlog.testing import Driver, drive
from streamlog.testing.memory_rewind import MemoryRewind


@pytest.fixture(autouse=True)
def unedited() -> None:
    EDIT.begins = {}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_rewind_to_anywhere_and_a_run_to_the_end_are_a_fresh_run(seed: int) -> None:
    rng = random.Random(seed)
    feed = some_numbers(rng, 60)
    expected, expected_drained = fresh(feed)
    with drive(totals, partitions=PARTITIONS, seed=seed) as t:
        for _ in range(rng.randrange(1, 4)):
            wander(t, feed, rng, rng.randrange(40))
            rewind_somewhere(t, rng)
            if rng.random() < 0.2:
                t.delete_state()
        wander(t, feed, rng, rng.randrange(20))
        feed.send_all(t)
        assert outcome(t) == expected
        t.drain()
        assert outcome(t) == expected_drained


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_drain_behind_the_target_is_undone(seed: int) -> None:
    rng = random.Random(seed)
    feed = some_numbers(rng, 60)
    expected, expected_drained = fresh(feed)
    with drive(totals, partitions=PARTITIONS, seed=seed) as t:
        wander(t, feed, rng, rng.randrange(30))
        t.run()
        undrained = stands(t)
        t.drain()
        wander(t, feed, rng, rng.randrange(5))
        while any(stand > undrained[partition] for partition, stand in stands(t).items()):
            t.rewind(-1, rebuild=True)
        feed.send_all(t)
        found = outcome(t)
        assert (found.rows, found.late, found.closed) == (
            expected.rows,
            expected.late,
            expected.closed,
        )
        assert expected.results.items() <= found.results.items()
        t.drain()
        drained = outcome(t)
        assert (drained.rows, drained.late) == (expected_drained.rows, expected_drained.late)
        assert expected_drained.results.items() <= drained.results.items()


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1 << 32))
def test_edited_functions_hold_from_where_each_source_was_rewound_to(seed: int) -> None:
    rng = random.Random(seed)
    feed = some_numbers(rng, 60)
    whole = copy.deepcopy(feed)
    EDIT.begins = {}
    with drive(totals, partitions=PARTITIONS, seed=seed) as t:
        wander(t, feed, rng, rng.randrange(60))
        if rng.random() < 0.3:
            t.run()
        t.crash()
        target = Back(rng.randrange(4))
        decision = MemoryRewind(t._worker).rewind(target, rebuild=True)
        moved = {each.name: each for each in decision.choices}
        sources = [TaskName("numbers", partition) for partition in range(PARTITIONS)]
        EDIT.begins = {name.partition: moved[name].inputs[0].read_from for name in sources}
        if rng.random() < 0.3:
            # Whoever restores from the changelogs alone knows of the rewind as well.
            t.delete_state()
        wander(t, feed, rng, rng.randrange(30))
        feed.send_all(t)
        found = outcome(t)
        early = {number: moved[name].touched for number, name in enumerate(sources)}
    with drive(totals, partitions=PARTITIONS) as t:
        whole.send_all(t)
        expected = outcome(t)
    if all(early.values()):
        assert (found.rows, found.late, found.closed) == (
            expected.rows,
            expected.late,
            expected.closed,
        )
        assert expected.results.items() <= found.results.items()


def test_rewinding_says_when_the_history_does_not_reach() -> None:
    feed = some_numbers(random.Random(1), 40)
    with drive(totals, partitions=PARTITIONS) as t:
        feed.send_all(t)
        t.run()
        t.delete_state()
        with pytest.raises(HistoryError, match=r"numbers\[0\], numbers\[1\]"):
            t.rewind(-1)
        expected = outcome(t)
        t.rewind(-1, rebuild=True)
        assert outcome(t) == expected


@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("steps", range(18))
def test_a_rewind_that_dies_behind_any_step_is_finished(steps: int, *, lost: bool) -> None:
    feed = some_numbers(random.Random(4), 80)
    expected, _ = fresh(feed)
    with drive(totals, partitions=PARTITIONS) as t:
        for _ in range(3):
            for partition in range(PARTITIONS):
                feed.send(t, partition, 20)
            t.run()
        stood = stands(t)
        t.rewind(-1, steps_max=steps)
        intent = (t._folder / "rewind.json").exists()
        assert intent == (0 < steps < 16)
        worker = t._worker
        if lost:
            lose_intent(t, at_risk=1 < steps < 13)
            return
        assert MemoryRewind(worker).finish() == intent
        now = stands(t)
        assert all(now[each] < stood[each] for each in stood) == (steps > 0)
        for name in worker.task_names:
            (place, offset) = next(iter(worker.task(name).positions().items()))
            committed = t.log.committed.get(place)
            assert committed is None or committed[0] == offset
            assert committed is None or "rewind" not in committed[1]
        feed.send_all(t)
        found = outcome(t)
        assert (found.rows, found.late, found.closed) == (
            expected.rows,
            expected.late,
            expected.closed,
        )
        assert results(t) == expected.results


def lose_intent(t: Driver, *, at_risk: bool) -> None:
    """Nothing goes on where some tasks went back and others did not, but from the start."""
    (t._folder / "rewind.json").unlink(missing_ok=True)
    if not at_risk:
        t.run()
        return
    expected = r"rewind was cut short"
    with pytest.raises(RefusedError, match=expected):
        t.run()
    with pytest.raises(HistoryError, match=expected):
        t.rewind(-1)
    t.rewind("start")
    t.run()
