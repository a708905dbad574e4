"""State that tasks have left on a machine: seen, told apart from state in use, and removed."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from streamlog.errors import RefusedError
from streamlog.processing.errors import StateInUseError
from streamlog.processing.rewind.intent import Intent, save_intent
from streamlog.processing.rewind.outline import Outline
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.copies import Copy, write_copy
from streamlog.processing.worker.left_here import StateHere, remove_states, states_here
from streamlog.processing.worker.slots import take_seat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def held(tmp_path: Path) -> Iterator[None]:
    """Three tasks: one that runs, one that is kept warm, and one that nobody has open."""
    locks: list[int] = []
    for partition in range(3):
        store = open_task_store(tmp_path, "sub", partition)
        store.commit([(b"a", b"1")], TaskMeta(sequence=1), None)
        store.take_snapshot()
        write_copy(store.folder, Copy("topic", 1, is_warm=partition == 1))
        store.close()
        if partition < 2:
            # As its owner has it; LMDB lets a process open a state only once.
            locks.append(os.open(store.folder / "owner.lock", os.O_RDWR))
            fcntl.flock(locks[-1], fcntl.LOCK_EX)
    yield
    for lock in locks:
        os.close(lock)


def by_partition(folder: Path) -> list[StateHere]:
    return sorted(states_here(folder), key=lambda each: each.task.partition)


def test_who_has_what_open(tmp_path: Path) -> None:
    pid = os.getpid()
    found = by_partition(tmp_path)
    assert [each.used_by for each in found] == [f"process {pid}", f"standby in process {pid}", None]
    assert [(each.rows, each.snapshots) for each in found] == [(1, 1)] * 3
    assert all(each.snapshots_bytes > 0 for each in found)
    # Nobody runs anything here: then nothing was left behind.
    assert not any(each.is_left for each in found)
    seat = take_seat(tmp_path)
    assert [each.is_left for each in by_partition(tmp_path)] == [False, False, True]
    seat.release()


def test_only_what_nobody_has_open_is_removed(tmp_path: Path) -> None:
    runs, _, left = by_partition(tmp_path)
    remove_states(tmp_path, [left], snapshots_only=False)
    assert not left.home.exists()
    with pytest.raises(StateInUseError, match=rf"sub\[0\] is in use by process {os.getpid()}"):
        remove_states(tmp_path, [runs], snapshots_only=False)
    remove_states(tmp_path, [runs], snapshots_only=True)
    assert [(each.rows, each.snapshots) for each in by_partition(tmp_path)] == [(1, 0), (1, 1)]


def test_what_a_rewind_needs_stays(tmp_path: Path) -> None:
    outline = Outline(name="p", subs=())
    save_intent(tmp_path, Intent(id="r", target="-1", host="h", outline=outline, tasks=()))
    for snapshots_only in (True, False):
        with pytest.raises(RefusedError, match="was cut short"):
            remove_states(tmp_path, by_partition(tmp_path), snapshots_only=snapshots_only)
    assert [each.snapshots for each in by_partition(tmp_path)] == [1, 1, 1]
