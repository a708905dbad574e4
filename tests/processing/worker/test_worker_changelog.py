"""A changelog gives back whole checkpoints of owners who still owned the task, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog import Stream, pipeline
from streamlog.processing.errors import ChangelogError
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.store import TaskStore, open_task_store
from streamlog.processing.worker.changelog import (
    ChangelogReplay,
    checkpoint_records,
    fence_record,
)
from streamlog.testing.memory_log import MemoryPartition

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.state.rows import Change


@pipeline
def restoring(events: Stream[str]) -> None:
    events.to("restored")


SUB = restoring.plan().sub_topologies[0]


class Changelog:
    """A changelog in memory, with what owners do to it."""

    def __init__(self) -> None:
        self.log = MemoryPartition()

    def fence(self, epoch: int) -> None:
        key, value = fence_record(epoch)
        self.log.append([key], [value], [0])

    def write(
        self, changes: list[Change], sequence: int, epoch: int, begins: int | None = None
    ) -> None:
        self.append(*self.records(changes, sequence, epoch, begins))

    def records(
        self, changes: list[Change], sequence: int, epoch: int, begins: int | None = None
    ) -> tuple[list[bytes], list[bytes | None]]:
        meta = TaskMeta(sequence=sequence, epoch=epoch)
        return checkpoint_records(changes, meta, self.log.end if begins is None else begins)

    def append(self, keys: list[bytes], values: list[bytes | None]) -> None:
        self.log.append(keys, values, [0] * len(keys))


def restore(store: TaskStore, changelog: Changelog, *, chunk: int = 1_000) -> ChangelogReplay:
    replay = ChangelogReplay(store)
    position = store.changelog_position
    while position < changelog.log.end:
        columns = changelog.log.read(position, chunk)
        replay.feed(columns)
        position = columns.offsets[-1] + 1
    replay.finish(position)
    return replay


@pytest.fixture
def store(tmp_path: Path) -> TaskStore:
    return open_task_store(tmp_path, SUB.name, 0)


@pytest.mark.parametrize("chunk", [1, 2, 100])
def test_checkpoints_come_back(store: TaskStore, chunk: int) -> None:
    changelog = Changelog()
    changelog.fence(1)
    changelog.write([(b"a", b"1"), (b"b", b"1")], 1, 1)
    changelog.write([(b"a", None), (b"c", b"2")], 2, 1)
    restore(store, changelog, chunk=chunk)
    assert store.rows() == [(b"b", b"1"), (b"c", b"2")]
    assert (store.sequence, store.epoch) == (2, 1)
    assert store.changelog_position == changelog.log.end
    assert store.rewrites == set()
    store.close()


def test_rows_without_their_marker_do_not_count(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.write([(b"a", b"1")], 1, 1)
    keys, values = changelog.records([(b"a", b"2"), (b"b", b"2")], 2, 1)
    changelog.append(keys[:-1], values[:-1])
    changelog.fence(2)
    restore(store, changelog)
    assert store.rows() == [(b"a", b"1")]
    assert store.rewrites == {b"a", b"b"}
    store.close()


def test_what_an_owner_writes_behind_a_newer_ones_fence_is_void(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.write([(b"a", b"1")], 1, 1)
    changelog.fence(2)
    changelog.write([(b"a", b"zombie"), (b"z", b"zombie")], 2, 1)
    replay = restore(store, changelog)
    assert store.rows() == [(b"a", b"1")]
    assert store.rewrites == {b"a", b"z"}
    assert replay.highest_epoch == 2
    store.close()


def test_a_checkpoint_into_which_somebody_wrote_is_void(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.fence(2)
    keys, values = changelog.records([(b"a", b"1"), (b"b", b"1")], 1, 2)
    changelog.append(keys[:1], values[:1])
    changelog.append([b"rz"], [b"zombie"])
    changelog.append(keys[1:], values[1:])
    restore(store, changelog)
    assert store.rows() == []
    assert store.sequence == 0
    store.close()


def test_a_checkpoint_that_does_not_continue_what_its_owner_knew_is_void(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.fence(2)
    known = changelog.log.end
    changelog.write([(b"z", b"zombie")], 1, 1)
    changelog.write([(b"a", b"1")], 1, 2, begins=known)
    restore(store, changelog)
    assert store.rows() == []
    assert store.rewrites == {b"a", b"z"}
    store.close()


def test_the_next_checkpoint_makes_void_rows_good(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.write([(b"a", b"1")], 1, 1)
    changelog.fence(2)
    changelog.write([(b"a", b"zombie")], 2, 1)
    changelog.fence(3)
    restore(store, changelog)
    assert store.rewrites == {b"a"}
    changelog.write([(b"a", b"1")], 2, 3)
    restore(store, changelog)
    assert store.rewrites == set()
    assert store.rows() == [(b"a", b"1")]
    store.close()


def test_compaction_takes_nothing_away(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.fence(1)
    changelog.write([(b"a", b"1"), (b"b", b"1")], 1, 1)
    changelog.write([(b"a", b"2")], 2, 1)
    changelog.write([(b"c", b"3")], 3, 1)
    columns = changelog.log.columns
    newest = {key: index for index, key in enumerate(columns.keys)}
    kept = sorted(newest.values())
    replay = ChangelogReplay(store)
    for index in kept:
        replay.feed(columns.slice(index, index + 1))
    replay.finish(changelog.log.end)
    assert store.rows() == [(b"a", b"2"), (b"b", b"1"), (b"c", b"3")]
    assert store.sequence == 3
    store.close()


def test_what_is_no_changelog_is_refused(store: TaskStore) -> None:
    for key, value in ((None, b"x"), (b"?", b"x"), (b"m", b"garbage"), (b"f", None)):
        changelog = Changelog()
        changelog.log.append([key], [value], [0])
        with pytest.raises(ChangelogError, match="offset 0 which no checkpoint writes"):
            restore(store, changelog)
    store.close()


changes = st.dictionaries(
    st.sampled_from([b"a", b"b", b"c", b"d"]), st.none() | st.binary(max_size=2), max_size=4
)


@settings(max_examples=40, deadline=None)
@given(st.lists(changes, max_size=8), st.integers(0, 8), st.integers(1, 5))
def test_wherever_the_local_state_stopped_it_ends_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[dict[bytes, bytes | None]],
    known: int,
    chunk: int,
) -> None:
    changelog = Changelog()
    store = open_task_store(tmp_path_factory.mktemp("state"), SUB.name, 0)
    model: dict[bytes, bytes] = {}
    for number, step in enumerate(steps):
        changelog.write(list(step.items()), number + 1, 1)
        model.update({key: value for key, value in step.items() if value is not None})
        for key in [key for key, value in step.items() if value is None]:
            model.pop(key, None)
        if number < known:
            meta = TaskMeta(sequence=number + 1, epoch=1)
            store.commit(list(step.items()), meta, changelog.log.end)
    restore(store, changelog, chunk=chunk)
    assert dict(store.rows()) == model
    assert store.sequence == len(steps)
    store.close()


# Followers, and what they can go back to.


def test_a_follower_applies_what_is_whole_and_keeps_the_rest_for_later(store: TaskStore) -> None:
    changelog = Changelog()
    changelog.write([(b"a", b"1")], 1, 1)
    keys, values = changelog.records([(b"a", b"2"), (b"b", b"2")], 2, 1)
    begins = changelog.log.end
    changelog.append(keys[:-1], values[:-1])
    replay = ChangelogReplay(store)
    replay.feed(changelog.log.read(0, 100))
    assert replay.settle()
    assert not replay.settle()
    assert store.rows() == [(b"a", b"1")]
    # What comes after it is read again by whoever opens the store anew.
    assert store.changelog_position == begins
    changelog.append(keys[-1:], values[-1:])
    replay.feed(changelog.log.read(begins + 2, 100))
    assert replay.settle()
    assert store.rows() == [(b"a", b"2"), (b"b", b"2")]
    assert store.changelog_position == changelog.log.end
    store.close()


def sequences(store: TaskStore) -> list[int]:
    return [each.sequence for each in store.checkpoints()]


def test_a_follower_can_go_back_to_what_it_was_once_it_is_at_the_end(store: TaskStore) -> None:
    changelog = Changelog()
    replay = ChangelogReplay(store)
    for sequence in (1, 2, 3, 4):
        begins = changelog.log.end
        changelog.write([(b"a", b"%d" % sequence)], sequence, 1)
        replay.feed(changelog.log.read(begins, 100))
        replay.settle()
        if sequence == 2:
            # Up to here it was built from nothing.
            assert sequences(store) == [2]
            replay.begin_history()
    assert sequences(store) == [4, 3, 2]
    store.undo(2)
    assert store.rows() == [(b"a", b"2")]
    store.close()


def test_state_that_skips_what_was_compacted_does_not_go_back_to_what_never_was(
    store: TaskStore,
) -> None:
    changelog = Changelog()
    for sequence in range(1, 6):
        changelog.write([(b"a", b"%d" % sequence)], sequence, 1)
    replay = ChangelogReplay(store)
    replay.feed(changelog.log.read(0, 4))
    replay.begin_history()
    replay.feed(changelog.log.read(4, 2))
    replay.settle()
    assert sequences(store) == [3, 2]
    # Of the next checkpoint nothing is left but its offsets.
    replay.feed(changelog.log.read(8, 2))
    replay.settle()
    assert sequences(store) == [5]
    assert store.rows() == [(b"a", b"5")]
    store.close()
