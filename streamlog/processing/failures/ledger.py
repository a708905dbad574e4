"""What of a failure has to outlive the task: how often a record was tried, and which spoil it.

It is kept by the worker, in memory: after a crash, or on another worker, records are tried anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.failures.dead_letters import Cause


class SpoiledTaskError(StreamlogError):
    """A record failed half-way: the task is to be dropped, and taken over after a wait."""

    def __init__(self, cause: Cause, wait_ms: int) -> None:
        super().__init__(
            f"task {cause.task} goes back to its last checkpoint: the record at offset "
            f"{cause.offset} of {cause.topic} partition {cause.partition} failed after it had "
            f"changed state ({cause.exception_class}: {cause.exception_message})"
        )
        self.cause = cause
        self.wait_ms = wait_ms


class TryAgain(Exception):
    """A record is to be tried again after a wait; its arguments: offset, milliseconds."""


@dataclass(slots=True)
class Ledger:
    """What a worker remembers of a task's failures while the task is its own."""

    now_ms: Callable[[], int] = lambda: 0
    attempts: dict[int, int] = field(default_factory=dict)
    """By offset: how often a record was tried."""
    poison: dict[int, Cause] = field(default_factory=dict)
    """By offset: records that are to be left out from the start, and why."""
    said: set[int] = field(default_factory=set)
    """Offsets of records of which the log has told."""
    retried: int = 0
    """Attempts after the first, of all records."""

    def forget(self, position: int) -> None:
        """A checkpoint is durable up to a position."""
        for known in (self.attempts, self.poison):
            for offset in [each for each in known if each < position]:
                del known[offset]
        self.said = {offset for offset in self.said if offset >= position}
