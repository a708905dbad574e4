"""Rewinds to kept snapshots, where history does not reach."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewind_pipelines import EDIT, PARTITIONS, outcome, results, some_numbers, totals
from rewind_runs import fresh, rewind_somewhere, stands, wander

from streamlog.processing.dsl.pipeline import Pipeline
from streamlog.processing.errors import HistoryError, StateError
from streamlog.processing.rewind.target import Back
from streamlog.testing import Driver, drive
from streamlog.testing.memory_rewind import MemoryRewind

if TYPE_CHECKING:
    from rewind_pipelines import Feed

FORGETFUL = Pipeline(totals.function, "totals", replace(totals.options, history=timedelta(0)), {})
"""The same pipeline, which can take back its last checkpoint and no other."""


@pytest.fixture(autouse=True)
def unedited() -> None:
    EDIT.begins = {}


def copy_some(t: Driver, rng: random.Random) -> None:
    """Takes snapshots of some tasks, whatever the others do."""
    for name in t._worker.task_names:
        if rng.random() < 0.5:
            t._worker.take_snapshot(name)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_rebuild_from_snapshots_and_a_run_to_the_end_are_a_fresh_run(seed: int) -> None:
    rng = random.Random(seed)
    feed = some_numbers(rng, 60)
    expected, expected_drained = fresh(feed)
    with drive(FORGETFUL, partitions=PARTITIONS, seed=seed) as t:
        for _ in range(rng.randrange(1, 5)):
            for _ in range(3):
                wander(t, feed, rng, rng.randrange(15))
                copy_some(t, rng)
            wander(t, feed, rng, rng.randrange(20))
            rewind_somewhere(t, rng)
            if rng.random() < 0.1:
                t.delete_state()
        wander(t, feed, rng, rng.randrange(20))
        feed.send_all(t)
        assert outcome(t) == expected
        t.drain()
        assert outcome(t) == expected_drained


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_drains_that_were_taken_back_stay_taken_back(seed: int) -> None:
    rng = random.Random(seed)
    feed = some_numbers(rng, 60)
    _, expected = fresh(feed)
    with drive(FORGETFUL, partitions=PARTITIONS, seed=seed) as t:
        for _ in range(3):
            wander(t, feed, rng, rng.randrange(12))
            copy_some(t, rng)
            t.run()
            undrained = stands(t)
            t.drain()
            wander(t, feed, rng, rng.randrange(3))
            copy_some(t, rng)
            while any(stand > undrained[partition] for partition, stand in stands(t).items()):
                t.rewind(-rng.randrange(1, 4), rebuild=True)
        feed.send_all(t)
        t.drain()
        found = outcome(t)
        assert (found.rows, found.late) == (expected.rows, expected.late)
        assert expected.results.items() <= found.results.items()


def started(feed: Feed, t: Driver) -> None:
    """Two thirds are processed, with a snapshot after the first and one that is gone."""
    for number in range(4):
        for partition in range(PARTITIONS):
            feed.send(t, partition, 20)
        t.run()
        if number == 0:
            t.snapshot()


def test_what_history_does_not_reach_begins_with_the_newest_snapshot_before() -> None:
    feed = some_numbers(random.Random(4), 100)
    with drive(FORGETFUL, partitions=PARTITIONS) as t:
        started(feed, t)
        first = {name: t._worker.task(name)._store.snapshots()[0] for name in t._worker.task_names}
        with pytest.raises(HistoryError, match="does not reach"):
            t.rewind(-2)
        t.crash()
        decision = MemoryRewind(t._worker).rewind(Back(3), rebuild=True)
        for choice in decision.choices:
            assert (choice.from_snapshot, choice.anew, choice.moved) == (True, False, True)
            assert choice.to == first[choice.name].checkpoint
            assert choice.inputs[0].read_from > 0
            assert t._worker.task(choice.name)._store.meta.positions == choice.to.meta.positions
        kept = [t._worker.task(name)._store.snapshots() for name in t._worker.task_names]
        assert [[each.sequence for each in some] for some in kept] == [
            [each.sequence] for each in first.values()
        ]
        # Once more to the same place, over what was withdrawn already.
        t.run()
        decision = MemoryRewind(t._worker).rewind(Back(3), rebuild=True)
        for choice in decision.choices:
            assert choice.to.meta.positions == first[choice.name].checkpoint.meta.positions


@pytest.mark.parametrize("lost", ["nothing", "state"])
@pytest.mark.parametrize("steps", range(17))
def test_a_rebuild_that_dies_behind_any_step_is_finished(steps: int, lost: str) -> None:
    feed = some_numbers(random.Random(4), 100)
    expected, _ = fresh(copy.deepcopy(feed))
    with drive(FORGETFUL, partitions=PARTITIONS) as t:
        started(feed, t)
        stood = stands(t)
        t.rewind(-3, rebuild=True, steps_max=steps)
        assert MemoryRewind(t._worker).finish() == (0 < steps < 16)
        if lost == "state":
            # The changelogs tell of the snapshots' state.
            t.delete_state()
        assert all(now < stood[each] for each, now in stands(t).items()) == (steps > 0)
        feed.send_all(t)
        found = outcome(t)
        assert (found.rows, found.late, found.closed) == (
            expected.rows,
            expected.late,
            expected.closed,
        )
        assert results(t) == expected.results


def test_a_snapshot_that_goes_while_a_rewind_needs_it_leaves_the_start() -> None:
    feed = some_numbers(random.Random(4), 100)
    expected, _ = fresh(copy.deepcopy(feed))
    with drive(FORGETFUL, partitions=PARTITIONS) as t:
        started(feed, t)
        t.rewind(-3, rebuild=True, steps_max=5)
        for path in t._folder.rglob("snapshots/*.mdb"):
            path.unlink()
        with pytest.raises(StateError, match="has no snapshot") as caught:
            t.run()
        assert "rewind.json" in (caught.value.hint or "")
        (t._folder / "rewind.json").unlink()
        t.rewind("start")
        feed.send_all(t)
        assert outcome(t) == expected


def test_a_snapshot_of_what_was_taken_back_is_of_no_use() -> None:
    feed = some_numbers(random.Random(4), 100)
    with drive(totals, partitions=PARTITIONS) as t:
        started(feed, t)
        t.snapshot()
        t.rewind(-2)
        for name in t._worker.task_names:
            store = t._worker.task(name)._store
            assert len(store.snapshots()) == 1
            assert [path.stem for path in store.folder.glob("snapshots/*")] == [
                str(each.sequence) for each in store.snapshots()
            ]
