"""Which checkpoints of a changelog count, whoever wrote in between, whatever compaction took."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from streamlog.processing.errors import ChangelogError
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.store import TaskStore
from streamlog.processing.worker.changelog import (
    ChangelogReplay,
    checkpoint_records,
    fence_record,
)
from streamlog.records.columns import Columns

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

Record = tuple[bytes, bytes | None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TaskStore]:
    store = TaskStore(tmp_path, os.open(tmp_path / "owner.lock", os.O_CREAT | os.O_RDWR))
    yield store
    store.close()


class Changelog:
    """A log of records, some of which compaction may take."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def fence(self, epoch: int) -> None:
        self.records.append(fence_record(epoch))

    def write(self, records: Iterable[Record]) -> None:
        self.records += records

    def compact(self) -> list[int]:
        """The offsets that are left when each key keeps its newest record."""
        newest = {key: offset for offset, (key, _) in enumerate(self.records)}
        return sorted(newest.values())

    def replay(self, store: TaskStore, offsets: Iterable[int] | None = None) -> dict[bytes, bytes]:
        kept = list(range(len(self.records)) if offsets is None else offsets)
        replay = ChangelogReplay(store)
        replay.feed(
            Columns(
                kept,
                [0] * len(kept),
                [self.records[each][0] for each in kept],
                [self.records[each][1] for each in kept],
            )
        )
        replay.finish(len(self.records))
        return dict(store.rows())


def checkpoint(rows: dict[str, str], *, epoch: int, begins: int, sequence: int = 1) -> list[Record]:
    changes: list[Record] = [(name.encode(), value.encode()) for name, value in rows.items()]
    keys, values = checkpoint_records(changes, TaskMeta(sequence=sequence, epoch=epoch), begins)
    return list(zip(keys, values, strict=True))


def test_a_checkpoint_counts_with_its_marker(store: TaskStore) -> None:
    log = Changelog()
    log.fence(1)
    log.write(checkpoint({"a": "1", "b": "1"}, epoch=1, begins=1))
    log.write(checkpoint({"a": "2"}, epoch=1, begins=4, sequence=2)[:-1])
    assert log.replay(store) == {b"a": b"1", b"b": b"1"}
    assert store.rewrites == {b"a"}


def test_what_a_fenced_owner_writes_is_void(store: TaskStore) -> None:
    log = Changelog()
    log.fence(1)
    log.fence(2)
    log.write(checkpoint({"a": "late"}, epoch=1, begins=1))
    log.write(checkpoint({"b": "unaware"}, epoch=2, begins=2))
    log.fence(3)
    assert log.replay(store) == {}
    assert store.rewrites == {b"a", b"b"}


@pytest.mark.parametrize("compacted", [False, True])
def test_rows_of_another_between_the_batches_of_a_checkpoint_are_not_adopted(
    store: TaskStore, compacted: bool
) -> None:
    # After compaction there are no more records before the marker than the checkpoint had.
    log = Changelog()
    log.fence(1)
    log.fence(2)
    mine = checkpoint({"a": "new", "b": "new", "c": "new"}, epoch=2, begins=2)
    log.write(mine[:2])
    log.write(checkpoint({"a": "old", "b": "old"}, epoch=1, begins=1)[:-1])
    log.write(mine[2:])
    assert log.replay(store, log.compact() if compacted else None) == {}
    assert store.rewrites == {b"a", b"b", b"c"}


def test_a_fence_between_the_batches_of_a_checkpoint_voids_it(store: TaskStore) -> None:
    log = Changelog()
    log.fence(1)
    mine = checkpoint({"a": "1", "b": "1"}, epoch=1, begins=1)
    log.write(mine[:1])
    log.fence(2)
    log.write(mine[1:])
    assert log.replay(store, log.compact()) == {}


def test_compaction_within_a_checkpoint_leaves_it_whole(store: TaskStore) -> None:
    log = Changelog()
    log.fence(1)
    log.write(checkpoint({"a": "1", "b": "1"}, epoch=1, begins=1))
    log.write(checkpoint({"a": "2"}, epoch=1, begins=4, sequence=2))
    assert log.replay(store, log.compact()) == {b"a": b"2", b"b": b"1"}
    assert store.rewrites == set()


def test_an_owner_that_took_no_checkpoint_is_remembered(store: TaskStore) -> None:
    log = Changelog()
    log.fence(5)
    log.replay(store)
    assert store.epoch == 5
    store.clear()
    assert store.epoch == 5


def test_a_stranger_in_the_changelog_is_named(store: TaskStore) -> None:
    log = Changelog()
    log.write([(b"what", b"ever")])
    with pytest.raises(ChangelogError, match="offset 0"):
        log.replay(store)
