"""One task: a sub-topology's work on one partition, synchronous and without I/O but its state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.operators.tables import TableView as TableView
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.state.store import TaskStore
    from streamlog.records.columns import Columns, Headers


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


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskStatistics:
    """A task's figures."""

    records_in: int
    """Since the task was opened."""
    late_records: int
    """Since the state began."""
    open_windows: int
    stream_time_ms: int | None
    outputs: int
    """Since the task was opened."""


class Task:
    """Processes chunks of its input; the worker moves bytes and takes checkpoints.

    After a `RecordFailure` the task holds half of a chunk and must be dropped.
    """

    def __init__(
        self,
        sub: SubTopologyPlan,
        partition: int,
        store: TaskStore,
        tables: Mapping[str, TableView],
        *,
        epoch: int,
        partition_counts: Mapping[str, int],
    ) -> None:
        self.id = TaskName(sub.name, partition)
        self.inputs: tuple[tuple[str, int], ...] = ()
        self.drained = False
        self.epoch = epoch

    def positions(self) -> dict[tuple[str, int], int | None]:
        """Returns the next offset to read of each input; `None`: begin at the log's start."""
        return {}

    def process(self, topic: str, partition: int, columns: Columns, next_offset: int) -> None:
        """Processes a chunk; records below the position are skipped.

        Raises:
            FunctionFailure: If a function of the pipeline raised.
            UndecodableFailure: If a record's bytes do not fit its type.
        """

    def take_outputs(self) -> list[OutputBatch]:
        """Returns what is to be produced, in this order, and forgets it."""
        return []

    def drain(self) -> None:
        """Moves time to the end: no more will come from this task's source. Repeats are no-ops."""

    def emit_markers(self) -> None:
        """Tells stream time to all partitions of what is written, if it moved since the last."""

    def prepare_checkpoint(self) -> Checkpoint | None:
        """Returns the changes since the last checkpoint, or nothing if there are none."""
        return None

    def commit_checkpoint(self, checkpoint: Checkpoint, changelog_next_offset: int | None) -> None:
        """Makes the checkpoint the local state, in one transaction; the task rests meanwhile."""

    def statistics(self) -> TaskStatistics:
        """Returns the task's figures."""
        return TaskStatistics(
            records_in=0, late_records=0, open_windows=0, stream_time_ms=None, outputs=0
        )

    def close(self) -> None:
        """Lets go of the state; what no checkpoint holds is dropped."""
