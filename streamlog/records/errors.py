"""What can be wrong with record batches: bytes that are none, and records that cannot be one."""

from __future__ import annotations

from streamlog.errors import DataError, UsageError


class CorruptRecordError(DataError):
    """Bytes that should be record batches are not: cut, altered, lying or hostile.

    The only error that reading a batch raises, whatever the bytes are.
    """


class BatchTooLargeError(DataError):
    """A batch would be larger than its limit."""


class BadColumnsError(UsageError):
    """Columns that cannot become a batch: empty, unequal, or with impossible values."""
