"""What the coordination store and the topic registry refuse, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import RefusedError, StorageError, UsageError

if TYPE_CHECKING:
    from streamlog.wire.error_codes import ErrorCode


class VersionConflict(RefusedError):
    """The node is not as the writer believed: nothing of its transaction was done.

    Read again, decide again, write again.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class NodeExists(VersionConflict):
    """A node was to be created that is there already."""


class NodeMissing(VersionConflict):
    """A node was to be changed that is not there."""


class NodeNotEmpty(VersionConflict):
    """A node was to be deleted that has children."""


class StoreFailed(StorageError):
    """The store's disk is full or failed; what was to be written was not acknowledged."""


class StoreDamaged(StorageError):
    """The store holds something that streamlog did not write like this."""


class TopicError(UsageError):
    """A topic was asked for that cannot be, or not now; `code` is what a Kafka client is told."""

    def __init__(self, code: ErrorCode, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code
