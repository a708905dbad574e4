"""What can go wrong for a client, beside what the broker answers (`KafkaError`).

`is_retriable` says whether the same request may do better in a moment: the connection broke, a
leader is being elected, a coordinator is loading.
"""

from __future__ import annotations

from streamlog.errors import (
    DataError,
    NotFoundError,
    PeerError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from streamlog.wire.error_codes import ErrorCode, KafkaError

__all__ = [
    "CommitRefusedError",
    "ConnectionLostError",
    "DeliveryError",
    "DeliveryTimeoutError",
    "ErrorCode",
    "GroupMembershipError",
    "KafkaError",
    "LogTruncatedError",
    "NotKafkaError",
    "OffsetOutOfRangeError",
    "RecordTooLargeError",
    "UnknownTopicError",
    "UnsupportedVersionError",
    "is_retriable",
]


class ConnectionLostError(UnreachableError):
    """A connection could not be made or broke; what was under way may or may not have happened."""


class NotKafkaError(UnreachableError):
    """Somebody answers at the address, but not with Kafka's protocol."""


class UnsupportedVersionError(PeerError):
    """The broker does not know a request, or none of the versions that we do."""


class UnknownTopicError(NotFoundError):
    """A topic or partition does not exist."""

    def __init__(self, topic: str, partition: int | None = None) -> None:
        what = f"topic {topic!r}" if partition is None else f"partition {partition} of {topic!r}"
        super().__init__(
            f"{what} does not exist",
            hint="`streamlog topic list` shows what there is, `streamlog topic create` makes more",
        )
        self.topic = topic


class RecordTooLargeError(UsageError):
    """A record is larger than the producer or the broker takes."""


class DeliveryError(PeerError):
    """The broker refused a batch for good."""

    def __init__(self, message: str, code: ErrorCode, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class DeliveryTimeoutError(UnreachableError):
    """A batch was not acknowledged in time; it may or may not be in the log."""


class OffsetOutOfRangeError(DataError):
    """The broker no longer has the offset to read from, and no reset policy says what to do."""


class LogTruncatedError(DataError):
    """The log was cut below the position, and no reset policy says what to do."""


class CommitRefusedError(RefusedError):
    """The group refused a commit: its partitions may be somebody else's by now."""

    def __init__(self, message: str, code: ErrorCode, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class GroupMembershipError(RefusedError):
    """The group will not have this member: nothing to retry."""

    def __init__(self, message: str, code: ErrorCode, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def is_retriable(error: BaseException) -> bool:
    """Says whether the same request may succeed in a moment."""
    if isinstance(error, KafkaError):
        return error.retriable
    return isinstance(error, ConnectionLostError)
