"""Kept snapshots of a task's state: what is in them, when they are taken, which are kept."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog.processing.errors import StateError
from streamlog.processing.state import environment, snapshots
from streamlog.processing.state.keys import DECISIONS_ID
from streamlog.processing.state.lineage import rewound_meta
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.retention import Retention
from streamlog.processing.state.snapshots import (
    SnapshotLimits,
    differences,
    find_snapshots,
    remove_every,
)
from streamlog.processing.state.store import TaskStore, open_task_store
from streamlog.processing.state.view import open_view

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.state.rows import Change

HOUR_MS = 3_600_000


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 100 * HOUR_MS

    def wall_ms(self) -> int:
        return self.now_ms


def opened(folder: Path, clock: Hand | None = None, **limits: int) -> TaskStore:
    retention = Retention(snapshots=SnapshotLimits(**{"every_ms": HOUR_MS, **limits}))
    return open_task_store(folder, "sub", 0, clock=clock, retention=retention, identity="topic")


def commit(store: TaskStore, *changes: Change) -> None:
    number = store.sequence + 1
    meta = msgspec.structs.replace(
        store.meta, sequence=number, positions=(("events", 0, 10 * number),)
    )
    store.commit(changes, meta, None)


def is_copying(store: TaskStore) -> bool:
    return store._copying is not None


def sequences(store: TaskStore) -> list[int]:
    return [each.sequence for each in store.snapshots()]


def test_the_state_goes_back_to_a_snapshot_and_decisions_stay(tmp_path: Path) -> None:
    store = opened(tmp_path)
    commit(store, (b"a", b"1"), (b"b", b"1"), (DECISIONS_ID + b"1", b"old"))
    store.take_snapshot()
    commit(store, (b"a", b"2"), (b"b", None), (b"c", b"2"), (DECISIONS_ID + b"2", b"new"))
    undone = store.undone_to_snapshot(1)
    assert undone.changes == [(b"a", b"1"), (b"b", b"1"), (b"c", None)]
    assert undone.to == store.snapshots()[0].checkpoint
    assert undone.to.positions() == {("events", 0): 10}
    store.rewind(undone, rewound_meta(store.meta, undone.to.meta, "r"), 7)
    assert store.rows() == [
        (b"a", b"1"),
        (b"b", b"1"),
        (DECISIONS_ID + b"1", b"old"),
        (DECISIONS_ID + b"2", b"new"),
    ]
    # The history led to where the state was, and not to here.
    assert [each.sequence for each in store.checkpoints()] == [3]
    assert sequences(store) == [1]
    with pytest.raises(StateError, match="no snapshot of checkpoint 2"):
        store.undone_to_snapshot(2)
    store.close()


rows = st.dictionaries(st.binary(min_size=1, max_size=2), st.binary(max_size=2), max_size=9)


@given(rows, rows)
def test_differences_make_one_of_the_other(
    now: dict[bytes, bytes], then: dict[bytes, bytes]
) -> None:
    changed = list(differences(iter(sorted(now.items())), iter(sorted(then.items()))))
    found = {**now, **dict(changed)}
    assert {name: value for name, value in found.items() if value is not None} == then
    assert all(now.get(name) != value for name, value in changed)


@settings(max_examples=20, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8), st.integers(0, 7))
def test_a_snapshot_is_as_of_its_beginning_whatever_is_written_meanwhile(
    tmp_path_factory: pytest.TempPathFactory, steps: list[dict[bytes, bytes]], begin: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "STEP_ROWS", 2)
        store = opened(tmp_path_factory.mktemp("state"), Hand())
        expected: list[tuple[bytes, bytes]] = []
        number = 0
        for number, step in enumerate([*steps, {b"\x00": b"last"}, *[{}] * 50], 1):
            commit(store, *step.items())
            if number == min(begin, len(steps) - 1) + 1:
                store._begin_snapshot()
                expected = store.rows()
            store.tend_snapshot()
        (found,) = store.snapshots()
        with snapshots.snapshot_rows(found.path) as copied:
            assert list(copied) == expected
        assert found.checkpoint.rows == len(expected)
        assert found.size_bytes == found.path.stat().st_size
        store.close()


def test_one_is_taken_for_each_span_of_the_clock_and_the_newest_are_kept(tmp_path: Path) -> None:
    clock = Hand()
    store = opened(tmp_path, clock, kept=2)
    taken: list[list[int]] = []
    for number in range(16):
        commit(store, (b"a", b"%d" % number))
        store.tend_snapshot()
        taken.append(sequences(store))
        clock.now_ms += HOUR_MS // 4
        if number == 9:
            # Whoever comes next goes on counting.
            store.close()
            store = opened(tmp_path, clock, kept=2)
    assert taken == [*[[]] * 4, *[[5]] * 4, *[[9, 5]] * 4, *[[13, 9]] * 4]
    store.close()


def test_nobody_waits_for_a_span_that_began_before_the_state(tmp_path: Path) -> None:
    limits = SnapshotLimits(every_ms=HOUR_MS)
    assert not limits.is_due(10 * HOUR_MS + 5, 10 * HOUR_MS + 1)
    assert limits.is_due(11 * HOUR_MS, 10 * HOUR_MS + 1)
    assert not SnapshotLimits(every_ms=HOUR_MS, kept=0).is_due(11 * HOUR_MS, 0)
    behind = SnapshotLimits(every_ms=HOUR_MS, lead_ms=10_000)
    assert not behind.is_due(11 * HOUR_MS + 9_999, 10 * HOUR_MS + 10_000)
    assert behind.is_due(11 * HOUR_MS + 10_000, 10 * HOUR_MS + 10_000)


def test_what_is_too_large_is_not_copied_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Hand()
    store = opened(tmp_path, clock, bytes_max=100_000)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            commit(store, (b"a", os.urandom(200_000)))
            store.tend_snapshot()
            clock.now_ms += HOUR_MS * 3 // 4
    assert sequences(store) == []
    assert [each.message.count("snapshots_bytes is 100000") for each in caplog.records] == [1]
    commit(store, (b"a", b"small"))
    store.tend_snapshot()
    clock.now_ms += HOUR_MS
    commit(store)
    store.tend_snapshot()
    assert len(sequences(store)) == 2
    store.close()


def test_all_together_are_bounded(tmp_path: Path) -> None:
    store = opened(tmp_path, bytes_max=1_500_000)
    for number in range(6):
        commit(store, (b"a", os.urandom(500_000)))
        store.take_snapshot()
        total = sum(each.size_bytes for each in store.snapshots())
        assert total <= 1_500_000
        assert sequences(store)[0] == number + 1
    assert len(sequences(store)) == 2
    store.close()


def test_when_the_map_has_to_grow_the_snapshot_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_MAP_SIZE_FIRST", 1 << 20)
    monkeypatch.setattr(snapshots, "STEP_BYTES", 100_000)
    clock = Hand()
    store = opened(tmp_path, clock)
    commit(store, *((b"%d" % number, bytes(50_000)) for number in range(8)))
    clock.now_ms += HOUR_MS
    commit(store)
    store.tend_snapshot()
    assert is_copying(store)
    commit(store, *((b"%d" % number, os.urandom(400_000)) for number in range(8)))
    assert not is_copying(store)
    store.take_snapshot()
    assert sequences(store) == [3]
    store.close()


def test_a_torn_snapshot_is_ignored_and_removed(tmp_path: Path) -> None:
    store = opened(tmp_path)
    commit(store, (b"a", b"1"))
    store.take_snapshot()
    store._begin_snapshot()
    # A crash leaves half a copy, a bad disk a file that is none.
    torn = store.folder / "snapshots" / "7.mdb.new"
    torn.write_bytes(b"half")
    (torn.parent / "9.mdb").write_bytes(bytes(8_192))
    assert sequences(store) == [1]
    store.close()
    store = opened(tmp_path)
    assert not torn.exists()
    commit(store, (b"a", b"2"))
    store.take_snapshot()
    assert sequences(store) == [2, 1]
    assert not [path for path in torn.parent.iterdir() if path.suffix == ".new"]
    remove_every(store.folder)
    assert list(torn.parent.iterdir()) == []
    store.close()


def test_what_goes_wrong_with_a_copy_harms_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Hand()
    store = opened(tmp_path, clock)
    (store.folder / "snapshots").write_text("in the way")
    for number in range(4):
        commit(store, (b"a", b"%d" % number))
        store.tend_snapshot()
        clock.now_ms += HOUR_MS // 2
    assert store.rows() == [(b"a", b"3")]
    assert [each.message.count("was not copied") for each in caplog.records] == [1]
    store.close()


def test_snapshots_of_other_state_are_of_no_use(tmp_path: Path) -> None:
    store = opened(tmp_path)
    commit(store, (b"a", b"1"))
    store.take_snapshot()
    (kept,) = store.snapshots()
    now = store.about

    def usable(**changes: object) -> bool:
        meta = msgspec.structs.replace(now.meta, **changes)
        store.about.meta = meta
        return kept.leads_to(store.about)

    assert usable(sequence=5)
    assert usable(layout={"new": "step"})
    assert usable(topic_ids={"events": "1"})
    assert not usable(sequence=5, timeline="elsewhere")
    assert not usable(sequence=5, timeline="elsewhere", forks=(("", 0),))
    assert usable(sequence=5, timeline="elsewhere", forks=(("", 1),))
    kept.checkpoint.meta.layout["old"] = "one"
    kept.checkpoint.meta.topic_ids["events"] = "1"
    assert usable(layout={"old": "one"}, topic_ids={"events": "1"})
    assert not usable(layout={"old": "two"}, topic_ids={"events": "1"})
    assert not usable(layout={"old": "one"}, topic_ids={"events": "2"})
    store.close()
    store = open_task_store(tmp_path, "sub", 0, identity="made anew")
    assert find_snapshots(store.folder) == []
    store.close()


def test_they_are_seen_from_outside_and_go_when_none_are_wanted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    commit(store, (b"a", b"1"))
    store.take_snapshot()
    home = store.folder
    store.close()
    with open_view(home) as view:
        assert view is not None
        assert [each.sequence for each in view.snapshots()] == [1]
    store = opened(tmp_path, kept=0)
    commit(store, (b"a", b"2"))
    store.tend_snapshot()
    assert find_snapshots(home) == []
    store.close()


def test_an_empty_state_has_snapshots_too(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.commit([], TaskMeta(sequence=1, positions=(("events", 0, 3),)), None)
    store.take_snapshot()
    (kept,) = store.snapshots()
    assert (kept.checkpoint.rows, kept.checkpoint.positions()) == (0, {("events", 0): 3})
    assert store.undone_to_snapshot(1).changes == []
    store.close()
