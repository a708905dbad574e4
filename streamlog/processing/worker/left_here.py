"""Whose state lies on this machine: tasks that run here, warm copies, and what is left of others.

A task that moved to another worker leaves its state behind. It is of use if the task comes back, as
a beginning, and its history and snapshots are nowhere else; but nobody asks for it, and it stays
for ever. So it is shown, and can be removed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.errors import RefusedError
from streamlog.processing.errors import StateInUseError
from streamlog.processing.rewind.intent import load_intent
from streamlog.processing.rewind.locks import running_here
from streamlog.processing.state.snapshots import find_snapshots, remove_every
from streamlog.processing.state.view import open_view, task_folders
from streamlog.processing.worker.copies import LOCK, is_held, read_copy, remove_home
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StateHere:
    """The state of one task on this machine."""

    task: TaskName
    home: Path
    rows: int
    size_bytes: int
    snapshots: int
    snapshots_bytes: int
    time_ms: int
    """Of the last checkpoint that it has."""
    holder: int | None
    """The process that has it open."""
    is_warm: bool
    """Whether it is a copy of a task that runs elsewhere."""
    is_left: bool
    """Whether workers of the pipeline run here, and none of them has it open."""

    @property
    def used_by(self) -> str | None:
        """Who has it open, in words."""
        if self.holder is None:
            return None
        return f"{'standby in ' if self.is_warm else ''}process {self.holder}"


def states_here(folder: Path) -> list[StateHere]:
    """Returns the tasks whose state is in a pipeline's folder, by name."""
    workers = running_here(folder)
    found: list[StateHere] = []
    for sub, partition, home in task_folders(folder):
        with open_view(home) as view:
            if view is None:
                continue
            rows, size = view.size()
            time_ms = view.about.time_ms
        holder = _holder(home)
        copy = read_copy(home)
        snapshots = find_snapshots(home)
        found.append(
            StateHere(
                task=TaskName(sub, partition),
                home=home,
                rows=rows,
                size_bytes=size,
                snapshots=len(snapshots),
                snapshots_bytes=sum(each.size_bytes for each in snapshots),
                time_ms=time_ms,
                holder=holder,
                is_warm=holder is not None and copy is not None and copy.is_warm,
                is_left=holder is None and bool(workers),
            )
        )
    return found


def _holder(home: Path) -> int | None:
    if not is_held(home):
        return None
    text = (home / LOCK).read_text().strip()
    return int(text) if text.isdigit() else 0


def remove_states(folder: Path, states: Iterable[StateHere], *, snapshots_only: bool) -> None:
    """Removes the state of tasks, or only their snapshots.

    Raises:
        RefusedError: If a rewind needs it still.
        StateInUseError: If a process has it open; what came before it is removed.
    """
    if load_intent(folder) is not None:
        raise RefusedError(
            "a rewind of this pipeline was cut short, and needs the state here to be finished",
            hint="Run the pipeline, or rewind again: either finishes it first",
        )
    for each in states:
        if snapshots_only:
            remove_every(each.home)
        elif not remove_home(each.home):
            raise StateInUseError(
                f"the state of task {each.task} is in use by process {_holder(each.home)}",
                hint="Stop that worker first",
            )
