"""The local state: transactions, history, ownership, layout."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog import Stream, pipeline
from streamlog.processing.errors import LayoutChangedError, StateError, StateInUseError
from streamlog.processing.state import history, keys
from streamlog.processing.state.history import HistoryLimits
from streamlog.processing.state.lineage import rewound_meta
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.retention import Retention
from streamlog.processing.state.store import TaskStore, open_task_store

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.state.rows import Change


@pipeline
def copying(events: Stream[str]) -> None:
    events.to("copies")


SUB: SubTopologyPlan = copying.plan().sub_topologies[0]


def meta(sequence: int, offset: int = 0) -> TaskMeta:
    return TaskMeta(sequence=sequence, positions=(("events", 0, offset or sequence * 10),))


class Hand:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms


def kept(store: TaskStore) -> list[int]:
    return [each.sequence for each in store.checkpoints()]


def commit(store: TaskStore, changes: list[Change], position: int | None = None) -> None:
    store.commit(changes, meta(store.sequence + 1), position)


def test_what_was_committed_is_there_after_reopening(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 3)
    assert (store.sequence, store.positions(), store.changelog_position) == (0, {}, 0)
    commit(store, [(b"a", b"1"), (b"b", b"2")], 17)
    commit(store, [(b"a", None), (b"c", b"3")])
    store.close()
    store.close()
    store = open_task_store(tmp_path, SUB.name, 3)
    assert store.rows() == [(b"b", b"2"), (b"c", b"3")]
    assert store.get(b"a") is None
    assert store.sequence == 2
    assert store.positions() == {("events", 0): 20}
    assert store.changelog_position == 17
    store.close()


def test_tasks_do_not_share_state(tmp_path: Path) -> None:
    one, two = open_task_store(tmp_path, SUB.name, 0), open_task_store(tmp_path, SUB.name, 1)
    commit(one, [(b"a", b"1")])
    assert two.rows() == []
    one.close()
    two.close()


rows = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c"]), st.none() | st.binary(max_size=3), max_size=3
)


@settings(max_examples=30, deadline=None)
@given(st.lists(rows, min_size=1, max_size=6), st.data())
def test_undo_goes_back_to_any_checkpoint(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[dict[bytes, bytes | None]],
    data: st.DataObject,
) -> None:
    store = open_task_store(tmp_path_factory.mktemp("state"), SUB.name, 0)
    seen = [(0, store.rows())]
    for step in steps:
        commit(store, list(step.items()))
        seen.append((store.sequence, store.rows()))
    assert kept(store) == [n for n, _ in reversed(seen)]
    newest, last = dict(store.rows()), store.sequence
    sequence, before = data.draw(st.sampled_from(seen))
    store.undo(sequence)
    assert store.rows() == before
    assert store.sequence == last + 1
    assert store.positions() == ({("events", 0): sequence * 10} if sequence else {})
    changed = {k for k in (b"a", b"b", b"c") if dict(before).get(k) != newest.get(k)}
    assert changed <= store.rewrites
    # What is below can still be undone, whatever comes on top.
    commit(store, [(b"a", b"on top")])
    below, rows_below = data.draw(st.sampled_from([s for s in seen if s[0] <= sequence]))
    if below < sequence:
        store.undo(below)
        assert store.rows() == rows_below
    store.close()


def test_an_undo_is_told_to_the_changelog_by_the_next_checkpoint(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    commit(store, [(b"a", b"1")])
    commit(store, [(b"a", b"2"), (b"b", b"2")])
    store.undo(1)
    assert store.rewrites == {b"a", b"b"}
    store.close()
    store = open_task_store(tmp_path, SUB.name, 0)
    assert store.rewrites == {b"a", b"b"}
    commit(store, [])
    assert store.rewrites == set()
    store.close()


def test_a_rewind_that_the_changelog_knows_leaves_nothing_to_tell(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    commit(store, [(b"a", b"1")], 3)
    commit(store, [(b"a", b"2"), (b"b", b"2")], 6)
    undone = store.undone(1)
    store.rewind(undone, rewound_meta(store.meta, undone.to.meta, "r"), 9)
    assert (store.rewrites, store.changelog_position, store.meta.timeline) == (set(), 9, "r")
    assert (store.meta.forks, kept(store)) == ((("", 1),), [3, 0])
    store.close()


def test_an_emptied_state_may_have_another_layout(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    store.agree({"a": "one"}, "")
    commit(store, [(b"a", b"1")])
    nothing = store.emptied()
    assert nothing.changes == [(b"a", None)]
    store.rewind(nothing, rewound_meta(store.meta, TaskMeta()), 5)
    assert (store.rows(), store.positions(), kept(store)) == ([], {}, [2])
    store.agree({"a": "two"}, "")
    store.close()


def test_the_epoch_does_not_go_back(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    store.commit([], TaskMeta(sequence=1, epoch=4), None)
    store.commit([], TaskMeta(sequence=2, epoch=9), None)
    store.undo(1)
    assert store.epoch == 9
    store.close()


def test_history_is_bounded_in_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "STEPS_MAX", 3)
    store = open_task_store(tmp_path, SUB.name, 0)
    for number in range(10):
        commit(store, [(b"a", b"%d" % number)])
    assert kept(store) == [10, 9, 8, 7]
    with pytest.raises(StateError, match="does not reach back to 6"):
        store.undone(6)
    store.undo(7)
    assert store.rows() == [(b"a", b"6")]
    store.close()


def test_history_is_bounded_in_bytes(tmp_path: Path) -> None:
    store = open_task_store(
        tmp_path, SUB.name, 0, retention=Retention(history=HistoryLimits(bytes_max=3_000))
    )
    for _ in range(10):
        commit(store, [(b"a", bytes(1_000))])
    assert kept(store) == [10, 9, 8]
    store.close()


def test_history_is_bounded_in_time(tmp_path: Path) -> None:
    clock = Hand()
    store = open_task_store(
        tmp_path,
        SUB.name,
        0,
        clock=clock,
        retention=Retention(history=HistoryLimits(span_ms=60_000)),
    )
    for _ in range(10):
        clock.now_ms += 20_000
        commit(store, [(b"a", bytes(1_000))])
    assert [(each.sequence, each.time_ms) for each in store.checkpoints()] == [
        (number, 1_000_000 + number * 20_000) for number in (10, 9, 8, 7, 6)
    ]
    store.close()


def test_checkpoints_of_one_millisecond_or_behind_a_clock_set_back_are_told_apart(
    tmp_path: Path,
) -> None:
    clock = Hand()
    store = open_task_store(tmp_path, SUB.name, 0, clock=clock)
    for move_ms in (5, 0, 0, -3_000, 9_000):
        clock.now_ms += move_ms
        commit(store, [(b"a", b"1")])
    times = [each.time_ms - 1_000_000 for each in store.checkpoints()]
    assert times[:-1] == [6_005, 8, 7, 6, 5]
    store.close()


@settings(max_examples=15, deadline=None)
@given(st.lists(rows, min_size=150, max_size=150), st.data())
def test_what_is_older_is_kept_more_coarsely_and_is_right(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[dict[bytes, bytes | None]],
    data: st.DataObject,
) -> None:
    clock = Hand()
    store = open_task_store(tmp_path_factory.mktemp("state"), SUB.name, 0, clock=clock)
    seen = {0: store.rows()}
    for step in steps:
        clock.now_ms += 60_000
        commit(store, list(step.items()))
        seen[store.sequence] = store.rows()
    left = kept(store)
    assert len(left) < 150
    assert left[-1] == 0
    assert left[:3] == [150, 149, 148]
    sequence = data.draw(st.sampled_from(left))
    store.undo(sequence)
    assert store.rows() == seen[sequence]
    store.close()


def test_rows_that_came_and_went_leave_no_trace(tmp_path: Path) -> None:
    clock = Hand()
    store = open_task_store(tmp_path, SUB.name, 0, clock=clock)
    for number in range(600):
        clock.now_ms += 1_000
        window = [(b"%d" % number, bytes(500)), (b"%d" % (number - 2), None)]
        commit(store, [*window, (b"total", b"%d" % number)])
    steps = store._past
    assert len(steps) < 200
    assert max(step.size for step in steps) < 3_000
    oldest = store.undone(kept(store)[-2])
    assert [name for name, _ in oldest.changes] == [b"598", b"599", b"7", b"8", b"total"]
    store.close()


@pytest.mark.parametrize(
    ("local", "fork", "kept_after"),
    [
        (5, 5, [9, 5, 4, 3, 2, 1, 0]),
        (5, 7, [9, 5, 4, 3, 2, 1, 0]),
        (5, 3, [9, 3, 2, 1, 0]),
        (5, 0, [9]),
    ],
)
def test_what_another_owner_took_back_is_no_past(
    tmp_path: Path, local: int, fork: int, kept_after: list[int]
) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    for _ in range(local):
        commit(store, [(b"a", b"%d" % store.sequence)])
    there = rewound_meta(meta(8), meta(fork), "there")
    store.apply([(b"a", b"new")], there, 40, set(), time_ms=77)
    assert (kept(store), store.checkpoints()[0].time_ms) == (kept_after, 77)
    assert store.rows() == [(b"a", b"new")]
    if len(kept_after) > 1:
        store.undo(kept_after[1])
        before = kept_after[1] - 1
        assert store.rows() == ([(b"a", b"%d" % before)] if before >= 0 else [])
    store.close()


def test_two_forks_away_the_past_that_is_shared_is_kept(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    for _ in range(5):
        commit(store, [(b"a", b"1")])
    first = rewound_meta(meta(8), meta(2), "first")
    second = rewound_meta(msgspec.structs.replace(first, sequence=15), first, "second")
    store.apply([(b"a", b"new"), (b"b", b"new")], second, 40, set())
    assert kept(store) == [16, 2, 1, 0]
    store.undo(2)
    assert store.rows() == [(b"a", b"1")]
    store.close()


def test_where_the_fork_itself_is_not_kept_there_is_no_past(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    for _ in range(2):
        commit(store, [(b"a", b"%d" % store.sequence)])
    mine = rewound_meta(meta(5), meta(2), "mine")
    store.apply([], mine, 20, set())
    later = msgspec.structs.replace(mine, sequence=9)
    store.apply([(b"a", b"9")], later, 30, set())
    other = rewound_meta(meta(12), msgspec.structs.replace(mine, sequence=8), "other")
    store.apply([(b"a", b"8")], other, 40, set())
    assert kept(store) == [13]
    store.close()


def test_what_came_behind_a_fork_is_undone_too(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    for _ in range(5):
        commit(store, [(b"a", b"%d" % store.sequence)])
    there = rewound_meta(meta(8), meta(3), "there")
    on_top = msgspec.structs.replace(there, sequence=12)
    store.apply([(b"a", b"2"), (b"b", b"on top")], on_top, 40, set())
    assert kept(store) == [12, 3, 2, 1, 0]
    store.undo(3)
    assert store.rows() == [(b"a", b"2")]
    store.close()


def test_the_map_grows_as_the_state_does(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    large = os.urandom(1 << 20)
    for number in range(40):
        commit(store, [(b"%d" % number, large)])
    assert len(store.rows()) == 40
    store.close()
    store = open_task_store(tmp_path, SUB.name, 0)
    assert store.get(b"39") == large
    commit(store, [(b"more", large)])
    store.close()


def test_a_failed_transaction_leaves_everything_as_it_was(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    commit(store, [(b"a", b"1")], 5)
    with pytest.raises(StateError, match="BAD_VALSIZE"):
        commit(store, [(b"a", b"2"), (bytes(600), b"name too long")], 9)
    assert (store.rows(), store.sequence, store.changelog_position) == ([(b"a", b"1")], 1, 5)
    commit(store, [(b"a", b"3")])
    assert store.rows() == [(b"a", b"3")]
    store.close()


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    with pytest.raises(StateInUseError, match=f"in use by process {os.getpid()}"):
        open_task_store(tmp_path, SUB.name, 0)
    store.close()
    open_task_store(tmp_path, SUB.name, 0).close()


def test_another_process_is_refused_too(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    program = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); "
        "fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    lock = tmp_path / SUB.name / "0" / "owner.lock"
    done = subprocess.run([sys.executable, "-c", program, str(lock)], capture_output=True)
    assert b"BlockingIOError" in done.stderr
    store.close()
    subprocess.run([sys.executable, "-c", program, str(lock)], check=True)


def test_state_of_topics_that_are_gone_is_cleared(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0, identity="topic-1")
    commit(store, [(b"a", b"1")], 7)
    store.close()
    store = open_task_store(tmp_path, SUB.name, 0, identity="topic-1")
    assert store.rows()
    store.close()
    store = open_task_store(tmp_path, SUB.name, 0, identity="topic-2")
    assert (store.rows(), store.sequence, store.changelog_position) == ([], 0, 0)
    store.close()


def test_a_changed_layout_is_refused_and_a_new_step_is_not(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    store.agree({"delays": "tumbling(10 ms) count"}, "")
    commit(store, [(b"a", b"1")])
    store.agree({"delays": "tumbling(10 ms) count", "more": "tumbling(5 ms) sum"}, "")
    with pytest.raises(
        LayoutChangedError, match=r"written as tumbling.10 ms. count, but the step is"
    ):
        store.agree({"delays": "tumbling(20 ms) count", "more": "tumbling(5 ms) sum"}, "")
    with pytest.raises(LayoutChangedError, match=r'"more" .* not in the pipeline any more'):
        store.agree({"delays": "tumbling(10 ms) count"}, "")
    # A new name makes a new step, and the old one is missed all the same.
    with pytest.raises(LayoutChangedError, match=r'"more" .* not in the pipeline') as caught:
        store.agree({"delays": "tumbling(10 ms) count", "less": "tumbling(9 ms) sum"}, "")
    assert caught.value.hint is not None
    assert "--to start" in caught.value.hint
    store.close()


def test_damaged_state_is_named(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    commit(store, [(b"a", b"1")])
    store.close()
    (tmp_path / SUB.name / "0" / "data.mdb").write_bytes(b"garbage" * 4096)
    with pytest.raises(StateError, match="remove the folder"):
        open_task_store(tmp_path, SUB.name, 0)


names = st.none() | st.binary(max_size=keys.KEY_SIZE_MAX + 50)


@given(names, st.integers(-(2**62), 2**62), st.binary())
def test_a_row_is_found_again_by_its_name(key: bytes | None, end: int, row: bytes) -> None:
    prefix = keys.window_prefix(keys.store_id("delays"), end)
    name = keys.row_name(prefix, key)
    assert name.startswith(prefix)
    assert len(name) <= 420
    assert keys.end_of(name) == end
    assert keys.split_row(name, keys.row_value(key, row)) == (key, row)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_windows_are_ordered_by_time(one: int, other: int) -> None:
    store = keys.store_id("delays")
    assert (one < other) == (keys.window_prefix(store, one) < keys.window_prefix(store, other))
