"""The copies of tasks' state that a machine has, and how far each goes.

Beside a task's state stands a small file, `position`, which says up to which offset of which
changelog the state goes, and whether it is kept warm by a standby. It is written after each
checkpoint, so that any worker of the machine can tell its group what there is without opening
state that another one works with. It is a hint for placing tasks: lost or stale, it costs a longer
restore, and never a wrong one.

Copies beside the state itself, in `copy-N`, are made while a paused worker holds the state. Once
that is free they are removed.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

logger = logging.getLogger(__name__)

POSITION = "position"
LOCK = "owner.lock"
COPIES_MAX = 8
"""Of one task's state on one machine; each but one is held by a worker that is paused."""
_WARM = "warm"


@dataclass(frozen=True, slots=True)
class Copy:
    """What the file beside some state says."""

    identity: str
    """Of the changelog's topic."""
    position: int
    """The state holds the changelog up to here."""
    is_warm: bool = False
    """Whether a standby has it open, which lets go of it when asked."""


def write_copy(home: Path, copy: Copy) -> None:
    """Notes how far a task's state goes; blocks for as long as a small write takes.

    A disk that does not take it is the state's own concern, which says so.
    """
    fresh = home / f"{POSITION}.{os.getpid()}"
    try:
        fresh.write_text(f"{copy.identity} {copy.position} {_WARM if copy.is_warm else '-'}\n")
        fresh.replace(home / POSITION)
    except OSError as error:
        logger.info("%s was not written: %s", home / POSITION, error)


def read_copy(home: Path) -> Copy | None:
    """Returns what is noted beside a task's state; nothing if that is missing or unreadable."""
    try:
        identity, position, role = (home / POSITION).read_text().split()
        return Copy(identity, int(position), role == _WARM)
    except (OSError, ValueError):
        return None


def find_copies(folder: Path, identities: Mapping[str, str]) -> dict[TaskName, int]:
    """Returns how far the state in a pipeline's folder goes.

    Args:
        folder: The pipeline's.
        identities: Of the changelogs, by sub-topology; state that belongs to others is left out.
    """
    found: dict[TaskName, int] = {}
    for sub, identity in identities.items():
        home = folder / sub
        try:
            names = sorted(entry.name for entry in os.scandir(home) if entry.name.isdecimal())
        except OSError:
            continue
        for name in names:
            copy = read_copy(home / name)
            if copy is not None and copy.identity == identity:
                found[TaskName(sub, int(name))] = copy.position
    return found


def is_held(home: Path) -> bool:
    """Says whether a process has a task's state open."""
    try:
        lock = os.open(home / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def copy_folder(folder: Path, number: int) -> Path:
    """Returns where a pipeline's copies beside its state are; number 0 is the state itself."""
    return folder if number == 0 else folder / f"copy-{number}"


def remove_free_copies(folder: Path, sub: str, partition: int) -> int:
    """Removes those copies of a task's state that nobody has open; returns how many there were.

    Only for whoever has the state itself open.
    """
    removed = 0
    for number in range(1, COPIES_MAX):
        home = copy_folder(folder, number) / sub / str(partition)
        if home.exists() and remove_home(home):
            removed += 1
            _remove_if_empty(home.parent.parent)
    return removed


def remove_home(home: Path) -> bool:
    """Removes a task's state from this machine, unless a process has it open; says whether it did.

    It is moved away before it is deleted, under its lock: nobody can open half of it.
    """
    try:
        lock = os.open(home / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        grave = home.with_name(f"{home.name}.removed")
        shutil.rmtree(grave, ignore_errors=True)
        home.rename(grave)
        shutil.rmtree(grave, ignore_errors=True)
        _remove_if_empty(home.parent)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        # Somebody else's copies are in it.
        return
