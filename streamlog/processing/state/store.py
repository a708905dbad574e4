"""A task's local state on disk: one LMDB environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamlog.processing.plan.plan import SubTopologyPlan

Position = tuple[str, int]
"""A topic and a partition."""


class TaskStore:
    """The state of one task: opened by `open_task_store`, used by one thread at a time."""

    sequence: int
    """Number of the last checkpoint; 0 before the first."""
    epoch: int
    """Highest epoch that has owned the state."""
    changelog_position: int
    """Offset after the last marker of the changelog that the state holds."""

    def positions(self) -> dict[Position, int]:
        """Returns the next offset to read of each input that was ever read."""
        return {}

    def checkpoints(self) -> list[tuple[int, Mapping[Position, int]]]:
        """Returns (sequence, positions) of what `undo` can reach, newest first, current included."""
        return []

    def undo(self, to_sequence: int) -> None:
        """Takes back checkpoints, one by one, until `to_sequence` is the newest."""

    def clear(self) -> None:
        """Empties the state: as if it had never been used."""

    def close(self) -> None:
        """Lets go of the files."""


def open_task_store(
    folder: Path, sub: SubTopologyPlan, partition: int, *, identity: str = ""
) -> TaskStore:
    """Opens or creates a task's state in `folder/<sub-topology>/<partition>`.

    Args:
        folder: The pipeline's state folder.
        sub: The task's sub-topology, with which the state's layout must agree.
        partition: The task's partition.
        identity: What the state belongs to, such as the ids of its topics; state that belongs to
            something else is cleared.

    Raises:
        StateInUseError: If another process has it open.
        LayoutChangedError: If the plan's state differs from what is stored.
    """
    raise AssertionError
