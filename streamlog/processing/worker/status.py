"""A worker's figures, live: what the table on the terminal, `/metrics` and `/healthz` are made of.

The parts of a worker write them where things happen, whoever shows them reads them in between;
all in one event loop. Times of the wall clock are in milliseconds since 1970, others in seconds of
the loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.metrics.histogram import Histogram

if TYPE_CHECKING:
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.task_values import TaskStatistics


@dataclass(slots=True)
class InputFigures:
    """How far a task has read one partition."""

    position: int
    """The next offset to read."""
    end: int
    """Where the partition ended when it was last fetched."""

    @property
    def lag(self) -> int:
        """How many offsets are left to read."""
        return max(self.end - self.position, 0)


@dataclass(slots=True)
class TaskFigures:
    """One task that this worker runs; counted since it took the task over."""

    records_in: int = 0
    records_out: int = 0
    late_records: int = 0
    """Since the state began."""
    skipped: int = 0
    """Records that failed and were left out, since the state began."""
    dead_letters: int = 0
    """Records that failed and were set aside, likewise."""
    retried: int = 0
    """Attempts after the first, of records that failed."""
    open_windows: int = 0
    stream_time_ms: int | None = None
    checkpoints: int = 0
    last_checkpoint_ms: int | None = None
    state_rows: int | None = None
    state_bytes: int | None = None
    inputs: dict[tuple[str, int], InputFigures] = field(default_factory=dict)

    @property
    def lag(self) -> int:
        """How many offsets are left to read, of all inputs."""
        return sum(each.lag for each in self.inputs.values())

    def take(self, statistics: TaskStatistics) -> None:
        """Takes what a task says of itself."""
        self.records_in = statistics.records_in
        self.records_out = statistics.outputs
        self.late_records = statistics.late_records
        self.skipped = statistics.skipped
        self.dead_letters = statistics.dead_letters
        self.retried = statistics.retried
        self.open_windows = statistics.open_windows
        self.stream_time_ms = statistics.stream_time_ms


@dataclass(slots=True)
class RestoreFigures:
    """How far a task's state is: while it is restored, or kept warm for the case of need.

    >>> restore = RestoreFigures(began_at=10.0)
    >>> restore.aim(begin=1_000, end=5_000)
    >>> restore.advance(2_000, records=900)
    >>> restore.left, restore.total, restore.rate(12.0), restore.eta_s(12.0)
    (3000, 4000, 450.0, 6.0)
    """

    began_at: float
    begin: int = 0
    """Offset of the changelog at which the restore began."""
    position: int = 0
    end: int = 0
    """Offset at which it is complete."""
    records: int = 0
    """Records read; fewer than offsets where the changelog was compacted."""

    @property
    def total(self) -> int:
        """Offsets that are to be restored in all."""
        return max(self.end - self.begin, 0)

    @property
    def left(self) -> int:
        """Offsets that are still to be restored."""
        return max(self.end - self.position, 0)

    def aim(self, begin: int, end: int) -> None:
        """Notes where it begins, or goes on, and where it ends."""
        if not self.end:
            self.begin = self.position = begin
        self.end = end

    def advance(self, position: int, records: int) -> None:
        """Notes that records were read up to a position."""
        self.position = position
        self.records += records

    def rate(self, now: float) -> float:
        """Returns the records per second since the beginning."""
        span = now - self.began_at
        return self.records / span if span > 0 else 0.0

    def eta_s(self, now: float) -> float | None:
        """Returns the seconds that are left at this pace; nothing if that cannot be said yet."""
        done, span = self.position - self.begin, now - self.began_at
        if not self.left:
            return 0.0
        return self.left * span / done if done > 0 and span > 0 else None


@dataclass(slots=True)
class PipelineStatus:
    """One pipeline's figures in this worker."""

    name: str
    phase: str = "starting"
    """starting, loading tables, joining, running, stopped or failed."""
    tasks: int = 0
    records_in: int = 0
    late_records: int = 0
    lag: int = 0
    stream_time_ms: int | None = None
    open_windows: int = 0
    checkpoints: int = 0
    last_checkpoint_ms: int | None = None
    last_checkpoint_took_s: float = 0.0
    rebalances: int = 0
    failures: int = 0
    """What ended a task or the pipeline."""
    skipped: int = 0
    dead_letters: int = 0
    retried: int = 0
    process_s: Histogram = field(default_factory=Histogram)
    """How long chunks took."""
    checkpoint_s: Histogram = field(default_factory=Histogram)
    """How long checkpoints took, all tasks of this worker together."""
    by_task: dict[TaskName, TaskFigures] = field(default_factory=dict)
    restores: dict[TaskName, RestoreFigures] = field(default_factory=dict)
    """Tasks that are being taken over."""
    restored_records: int = 0
    """Read from changelogs in restores that are over."""
    standbys: dict[TaskName, RestoreFigures] = field(default_factory=dict)
    """Tasks of others whose state is kept warm here."""

    def add_up(self) -> None:
        """Makes the pipeline's figures of those of its tasks."""
        tasks = self.by_task.values()
        self.tasks = len(tasks)
        self.late_records = sum(each.late_records for each in tasks)
        self.skipped = sum(each.skipped for each in tasks)
        self.dead_letters = sum(each.dead_letters for each in tasks)
        self.retried = sum(each.retried for each in tasks)
        self.open_windows = sum(each.open_windows for each in tasks)
        self.lag = sum(each.lag for each in tasks)
        times = [each.stream_time_ms for each in tasks if each.stream_time_ms is not None]
        self.stream_time_ms = max(times, default=None)


@dataclass(slots=True)
class RunStatus:
    """All pipelines of this worker, by name."""

    pipelines: dict[str, PipelineStatus] = field(default_factory=dict)
    restarts: int = 0
    """How often this worker was started anew because it had died."""

    def of(self, name: str) -> PipelineStatus:
        """Returns a pipeline's figures, making them at its first mention."""
        if name not in self.pipelines:
            self.pipelines[name] = PipelineStatus(name)
        return self.pipelines[name]
