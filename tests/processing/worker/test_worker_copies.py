"""What a machine knows of the state it has, and how it gets rid of copies that nobody needs."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from streamlog.processing.worker.copies import (
    LOCK,
    POSITION,
    Copy,
    copy_folder,
    find_copies,
    is_held,
    read_copy,
    remove_free_copies,
    write_copy,
)
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from pathlib import Path


def home_of(folder: Path, task: TaskName) -> Path:
    home = folder / task.sub_topology / str(task.partition)
    home.mkdir(parents=True)
    (home / LOCK).touch()
    return home


def hold(home: Path) -> int:
    lock = os.open(home / LOCK, os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return lock


def test_copies_are_found_by_their_changelog(tmp_path: Path) -> None:
    tasks = [TaskName("a", 0), TaskName("a", 12), TaskName("b", 3)]
    for position, task in enumerate(tasks):
        home = home_of(tmp_path, task)
        write_copy(home, Copy("id-a", position + 5))
    identities = {"a": "id-a", "b": "id-b", "c": "id-c"}
    assert find_copies(tmp_path, identities) == {tasks[0]: 5, tasks[1]: 6}
    assert find_copies(tmp_path / "none", identities) == {}


@pytest.mark.parametrize("text", ["", "id", "id x -", "id 5 - more"])
def test_a_note_that_cannot_be_read_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / POSITION).write_text(text)
    assert read_copy(tmp_path) is None
    write_copy(tmp_path, Copy("id", 5, is_warm=True))
    assert read_copy(tmp_path) == Copy("id", 5, is_warm=True)
    assert os.listdir(tmp_path) == [POSITION]


def test_free_copies_are_removed_and_held_ones_stay(tmp_path: Path) -> None:
    task = TaskName("a", 0)
    homes = [home_of(copy_folder(tmp_path, number), task) for number in range(4)]
    home_of(copy_folder(tmp_path, 1), TaskName("a", 1))
    lock = hold(homes[2])
    assert is_held(homes[2])
    assert remove_free_copies(tmp_path, "a", 0) == 2
    assert [home.exists() for home in homes] == [True, False, True, False]
    assert not copy_folder(tmp_path, 3).exists()
    assert (copy_folder(tmp_path, 1) / "a" / "1").exists()
    os.close(lock)
    assert not is_held(homes[2])
    assert remove_free_copies(tmp_path, "a", 0) == 1
    assert remove_free_copies(tmp_path, "a", 0) == 0
    assert not is_held(homes[2])


def test_a_note_that_cannot_be_written_is_none(tmp_path: Path) -> None:
    write_copy(tmp_path / "gone", Copy("id", 5))
    assert read_copy(tmp_path / "gone") is None
    (tmp_path / "a").touch()
    assert find_copies(tmp_path, {"a": "id"}) == {}
