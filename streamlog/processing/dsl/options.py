"""What a pipeline says of itself as a whole: how it runs, not what it does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from streamlog.processing.failures.policy import Stop

if TYPE_CHECKING:
    from streamlog.processing.failures.policy import FailurePolicy

IDLE_AFTER: Final = timedelta(seconds=5)
STOP: Final = Stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineOptions:
    """The arguments of `@pipeline` but the name; `None` leaves it to whoever runs it.

    Attributes:
        checkpoint_interval: How often tasks make their work durable.
        history: For how long tasks keep what undoes their checkpoints.
        history_bytes: How many bytes of it one task keeps.
        snapshots: How often a task's whole state is copied, to rewind to when history ends.
        snapshots_kept: How many copies one task keeps.
        snapshots_bytes: How many bytes of them one task keeps.
        on_error: What happens to a record that fails.
        standbys: Warm copies of each task's state on other workers.
        idle: How long a source partition that was read to its end may be silent until time goes on
            without it; `None`: for ever.
        quiet: How long it may be silent until its time goes on as the wall clock does; `None`:
            for ever.
    """

    checkpoint_interval: timedelta | None = None
    history: timedelta | None = None
    history_bytes: int | None = None
    snapshots: timedelta | None = None
    snapshots_kept: int | None = None
    snapshots_bytes: int | None = None
    on_error: FailurePolicy = STOP
    standbys: int | None = None
    idle: timedelta | None = IDLE_AFTER
    quiet: timedelta | None = None
