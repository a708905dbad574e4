"""What goes wrong in a pipeline: its declaration, a record in it, or its local state.

A record that fails is a `RecordFailure`, with the record's address and the user's line; its two
kinds tell whose fault it is: `FunctionFailure` (the user's function raised) and
`UndecodableFailure` (the bytes are not what the pipeline's types say).
"""

from __future__ import annotations

from streamlog.errors import (
    DataError,
    NotFoundError,
    RefusedError,
    StorageError,
    StreamlogError,
    UsageError,
    UserCodeError,
)


class PlanError(UsageError):
    """A pipeline is declared in a way that cannot be run; names the user's line."""


class LayoutChangedError(RefusedError):
    """The local state was written by another version of the pipeline and does not fit this one."""


class StateInUseError(RefusedError):
    """Another process has this task's local state open."""


class StateError(StorageError):
    """The local state cannot be read or written."""


class HistoryError(RefusedError):
    """A rewind goes further back than what is kept."""


class NeverRanError(NotFoundError):
    """A pipeline has not run on a cluster, or not under this name."""


class ChangelogError(StorageError):
    """A changelog holds something that no checkpoint writes."""


class RecordFailure(StreamlogError):
    """One record failed, whoever is to blame.

    Args:
        message: What failed, with the record's address and the user's line.
        topic: Where the record came from.
        partition: Its partition.
        offset: Its offset.
        step: The name of the pipeline's step.
        location: The user's `file:line`.

    Attributes:
        position: By what number its task knows it: its offset, unless several sources are read
            together.
    """

    def __init__(
        self, message: str, *, topic: str, partition: int, offset: int, step: str, location: str
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.position = offset
        self.step = step
        self.location = location


class FunctionFailure(RecordFailure, UserCodeError):
    """A function of the pipeline raised, or returned what cannot be used, for one record."""


class UndecodableFailure(RecordFailure, DataError):
    """A record's bytes do not fit the type that the pipeline declares for its topic."""
