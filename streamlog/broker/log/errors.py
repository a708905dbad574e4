"""What goes wrong in the log: refused appends, bad offsets, damaged files, a disk that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.errors import RefusedError, StorageError, UsageError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogError(StorageError):
    """The base of what a partition answers instead of doing what was asked.

    `code` is what a Kafka client is told.
    """

    code: ErrorCode = ErrorCode.KAFKA_STORAGE_ERROR


class AppendError(LogError):
    """A batch was refused; nothing was appended.

    Args:
        code: The error code of the Produce response.
        message: What is wrong with the batch, for the response's `error_message`.
        record_errors: (index within the batch, what is wrong) of each record that is at fault.
    """

    def __init__(
        self, code: ErrorCode, message: str, record_errors: Sequence[tuple[int, str]] = ()
    ) -> None:
        super().__init__(message)
        self.code = code
        self.record_errors = record_errors


class OffsetOutOfRangeError(LogError):
    """The offset is below the log start or beyond the end."""

    code = ErrorCode.OFFSET_OUT_OF_RANGE


class CorruptSegmentError(LogError):
    """A segment holds bytes that are not what was written; the file and position are named.

    Damage is never cut away where acknowledged records may lie behind it: what is damaged is
    refused, the rest is served.
    """

    code = ErrorCode.KAFKA_STORAGE_ERROR

    def __init__(self, path: str, position: int, reason: str) -> None:
        super().__init__(
            f"{path} is damaged at byte {position}: {reason}",
            hint="Restore the file from a copy, or move past it with DeleteRecords; "
            "records behind the damage are untouched",
        )
        self.path = path
        self.position = position


class LogOfflineError(LogError):
    """The log directory failed and takes no more writes until the server is started again."""


class LogDirLockedError(RefusedError):
    """Another server works on the same data directory."""


class InvalidConfigError(UsageError):
    """A topic setting has a value that it cannot have; `name` is the setting."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.code = ErrorCode.INVALID_CONFIG
