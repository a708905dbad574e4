"""What a task hands to its worker: records to produce, a checkpoint to make durable, figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.state.rows import Change
    from streamlog.records.columns import Headers


@dataclass(frozen=True, slots=True)
class OutputBatch:
    """Records to produce to one partition, in this order."""

    topic: str
    partition: int
    keys: list[bytes | None]
    values: list[bytes | None]
    timestamps: list[int]
    headers: list[Headers] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A task's changes since the last checkpoint, ready to be made durable."""

    sequence: int
    positions: Mapping[tuple[str, int], int]
    changelog_keys: list[bytes]
    changelog_values: list[bytes | None]
    """`None` is a tombstone. The last record is the marker that makes the others count."""
    metadata: str
    """For the group's commit."""
    changes: list[Change]
    meta: TaskMeta


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatistics:
    """A task's figures."""

    records_in: int
    """Since the task was opened."""
    late_records: int
    """Since the state began."""
    open_windows: int
    """Keys in windows that are open."""
    stream_time_ms: int | None
    outputs: int
    """Since the task was opened."""
    skipped: int
    """Records that failed and were left out, since the state began."""
    dead_letters: int
    """Records that failed and were set aside, or followed one of their key, since it began."""
    retried: int
    """Attempts after the first, on this worker."""
