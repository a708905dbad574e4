"""What a worker is told before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.worker.span import WHOLE, Span

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.plan.naming import Naming

CHECKPOINT_INTERVAL_S = 1.0
"""Short enough that a crash repeats little, long enough that its flushes cost little."""

SESSION_TIMEOUT_MS = 10_000
"""How long a dead worker keeps its tasks; a live one answers heartbeats between two chunks."""

CHUNK_RECORDS = 10_000
"""Records given to a task at once: some tens of milliseconds in which nothing else runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """How to run pipelines.

    Args:
        brokers: `host:port` of one or more brokers of the cluster.
        state_dir: Where local state lives; shared by all workers of this machine.
        until_end: Stop at the end offsets that are seen at the start.
        drain: With `until_end`: no more will come, so move time to the end and close every window.
        standbys: Warm copies of each task's state on other machines; nothing leaves it to the
            pipeline.
        metrics: `host:port` at which the worker serves its figures; its group is told.
        checkpoint_interval_s: Seconds between two checkpoints of a task that has something new;
            nothing leaves it to the pipeline.
        awaited: Topics that others are about to create: a source among them is waited for.
        naming: Under which names to run; by default those that the cluster's registry says.
        span: Which part of the sources to read; ends in it need `until_end`.
    """

    brokers: tuple[str, ...]
    state_dir: Path
    until_end: bool = False
    drain: bool = False
    standbys: int | None = None
    metrics: str | None = None
    checkpoint_interval_s: float | None = None
    session_timeout_ms: int = SESSION_TIMEOUT_MS
    awaited: frozenset[str] = frozenset()
    naming: Naming | None = None
    span: Span = WHOLE
