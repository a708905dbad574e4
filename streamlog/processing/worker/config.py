"""What a worker is told before it starts, and what it tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CHECKPOINT_INTERVAL_S = 1.0
"""Short enough that a crash repeats little, long enough that its flushes cost little."""

SESSION_TIMEOUT_MS = 10_000
"""How long a dead worker keeps its tasks; a live one answers heartbeats between two chunks."""

CHUNK_RECORDS = 5_000
"""Records given to a task at once: some tens of milliseconds in which nothing else runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How to run pipelines.

    Args:
        brokers: `host:port` of one or more brokers of the cluster.
        state_dir: Where local state lives; shared by all workers of this machine.
        until_end: Stop at the end offsets that are seen at the start.
        drain: With `until_end`: no more will come, so move time to the end and close every window.
        checkpoint_interval_s: Seconds between two checkpoints of a task that has something new.
        client_settings: Further settings of the client, by their names on the command line.
    """

    brokers: tuple[str, ...]
    state_dir: Path
    until_end: bool = False
    drain: bool = False
    checkpoint_interval_s: float = CHECKPOINT_INTERVAL_S
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    client_settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class PipelineStatus:
    """One pipeline's figures in this worker, live; times in milliseconds since 1970."""

    name: str
    phase: str = "starting"
    """starting, joining, restoring, running, draining, stopped or failed."""
    tasks: int = 0
    records_in: int = 0
    late_records: int = 0
    lag: int = 0
    stream_time_ms: int | None = None
    open_windows: int = 0
    checkpoints: int = 0
    last_checkpoint_ms: int | None = None
    last_checkpoint_took_s: float = 0.0


@dataclass(slots=True)
class RunStatus:
    """All pipelines of this worker, by name."""

    pipelines: dict[str, PipelineStatus] = field(default_factory=dict)

    def of(self, name: str) -> PipelineStatus:
        """Returns a pipeline's figures, making them at its first mention."""
        if name not in self.pipelines:
            self.pipelines[name] = PipelineStatus(name)
        return self.pipelines[name]
