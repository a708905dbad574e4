"""The checkpoints to which a task's state can go back, and what has to be changed for that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.state import history
from streamlog.processing.state.meta import TaskMeta  # noqa: TC001 (dataclass fields)

if TYPE_CHECKING:
    from streamlog.processing.state.about import About
    from streamlog.processing.state.history import Map, Transaction

Position = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class KeptCheckpoint:
    """A checkpoint to which the state can go back."""

    meta: TaskMeta
    time_ms: int
    """When it was, on the wall clock; 0 if nobody knows."""
    rows: int
    """To undo on the way there from the next newer one; some may be undone several times."""

    @property
    def sequence(self) -> int:
        """Its number."""
        return self.meta.sequence

    def positions(self) -> dict[Position, int]:
        """Returns the next offset to read of each input that was ever read."""
        return {(topic, partition): offset for topic, partition, offset in self.meta.positions}


@dataclass(frozen=True, slots=True)
class Undone:
    """The state as it was at a checkpoint, as what has to be changed for it."""

    to: KeptCheckpoint
    changes: list[tuple[bytes, bytes | None]]
    """By name: the contents then, or nothing if there was no such row."""
    in_history: bool = True
    """Whether the history leads there; else nothing of it leads on from there."""


def kept_checkpoints(
    txn: Transaction, db: Map, past: history.Past, now: About
) -> list[KeptCheckpoint]:
    """Returns to what a state can go back, the current checkpoint first."""
    found = [KeptCheckpoint(now.meta, now.time_ms, 0)]
    for step in reversed(past):
        before = history.meta_before(txn, db, step.sequence)
        found.append(KeptCheckpoint(before, step.before_ms, step.rows))
    return found
