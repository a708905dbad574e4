"""The result of a window: what came out, and of which span of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Windowed(Struct, Generic[T], frozen=True):
    """A windowed result; `start` is in the window and `end` is not. Both are UTC.

    As JSON: `{"start": "2013-01-01T10:00:00Z", "end": "2013-01-01T11:00:00Z", "value": …}`.
    """

    start: datetime
    end: datetime
    value: T


def utc(timestamp_ms: int) -> datetime:
    """Returns a timestamp as UTC.

    >>> utc(1_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    return _EPOCH + timedelta(milliseconds=timestamp_ms)
