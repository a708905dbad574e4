"""The result of a window: what came out, and of which span of time."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 (msgspec looks at the type)
from typing import Generic, TypeVar

from msgspec import Struct

from streamlog.processing.dsl.moments import utc as utc

T = TypeVar("T")


class Windowed(Struct, Generic[T], frozen=True, omit_defaults=True):
    """A windowed result, and the window: `start` and `end` are UTC.

    `start` is in the window. Of windows that are where they are whatever the records (tumbling,
    hopping), `end` is not: one window ends where the next begins. Of windows that records begin and
    end (sessions, sliding and count windows) `end` is in it, being the time of the last one.

    As JSON: `{"start": "2013-01-01T10:00:00Z", "end": "2013-01-01T11:00:00Z", "value": …}`.

    Attributes:
        replaces: Start and end of earlier results of the same key that are no more, because their
            sessions have become part of this one. Only where results are not final; left out of
            the JSON where there are none.
    """

    start: datetime
    end: datetime
    value: T
    replaces: tuple[tuple[datetime, datetime], ...] = ()
