"""When values happened, for inputs that say so themselves.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

TIMESTAMP_MIN_MS: Final = -62_135_596_800_000
TIMESTAMP_MAX_MS: Final = 253_402_300_799_999
"""The years 1 to 9999, which is what RFC 3339 and Python's `datetime` can say."""


def event_times(
    function: Callable[[Any], object], values: list[Any], timestamps: list[int], into: list[int]
) -> None:
    """Appends each value's event time to `into`, whose length tells where it failed.

    A null says nothing of when it happened: then it is the record's timestamp.
    """
    for index, value in enumerate(values):
        if value is None:
            into.append(timestamps[index])
        else:
            into.append(milliseconds_of(function(value)))


def milliseconds_of(moment: object) -> int:
    """Returns an event time as a timestamp; whole milliseconds, cut off downwards.

    >>> milliseconds_of(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)), milliseconds_of(5)
    (1000, 5)
    """
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise ValueError(
                f"event time {moment!r} has no time zone; write .replace(tzinfo=UTC) if it is UTC"
            )
        since = moment - _EPOCH
        return since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    if isinstance(moment, int) and not isinstance(moment, bool):
        return moment
    raise TypeError(
        f"event time is {moment!r}, but it has to be a datetime with a time zone or milliseconds"
    )
