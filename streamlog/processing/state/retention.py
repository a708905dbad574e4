"""What of a task's past is kept: the history of its checkpoints, and snapshots behind that."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from streamlog.processing.state.history import HistoryLimits
from streamlog.processing.state.snapshots import SnapshotLimits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.options import PipelineOptions

LEAD_MS: Final = 10_000
"""Between the snapshots of a sub-topology and those of the one before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Of one task."""

    history: HistoryLimits = field(default_factory=HistoryLimits)
    snapshots: SnapshotLimits = field(default_factory=SnapshotLimits)


def retention_of(
    options: PipelineOptions, sub_topologies: Sequence[str] = (), name: str = ""
) -> Retention:
    """Returns what a pipeline says of the past of a sub-topology's tasks.

    Snapshots are taken downstream first: one of a reader is of use together with one of its writer
    if it has seen nothing that the writer does behind its own.

    Args:
        options: The pipeline's.
        sub_topologies: All there are, those upstream first.
        name: The one.
    """
    history, snapshots = HistoryLimits(), SnapshotLimits()
    span, bytes_max = options.history, options.history_bytes
    every_ms = snapshots.every_ms if options.snapshots is None else _ms(options.snapshots)
    behind = len(sub_topologies) - 1 - sub_topologies.index(name) if sub_topologies else 0
    kept, size = options.snapshots_kept, options.snapshots_bytes
    return Retention(
        history=HistoryLimits(
            span_ms=history.span_ms if span is None else _ms(span),
            bytes_max=history.bytes_max if bytes_max is None else bytes_max,
        ),
        snapshots=SnapshotLimits(
            every_ms=every_ms,
            kept=snapshots.kept if kept is None else kept,
            bytes_max=snapshots.bytes_max if size is None else size,
            lead_ms=behind * min(LEAD_MS, every_ms // (2 * max(len(sub_topologies), 1))),
        ),
    )


def _ms(span: timedelta) -> int:
    return span // timedelta(milliseconds=1)
