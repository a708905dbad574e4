"""Milliseconds to `datetime`: windows and timers show users two or three for each result.

Adding a timedelta to a datetime is quick; making a timedelta of milliseconds is not. So the latter
is done once for each of the 2**14 milliseconds that follow a base, and the bases are remembered.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BITS: Final = 14
_MASK: Final = (1 << _BITS) - 1
_BASES_MAX: Final = 20_000
"""Bases that are remembered, of about 16 seconds each; beyond it they are forgotten all at once."""

_bases: Final[dict[int, datetime]] = {}
_steps: Final[dict[int, timedelta]] = {}


def utc(timestamp_ms: int) -> datetime:
    """Returns a timestamp as UTC.

    >>> utc(1_000).isoformat()
    '1970-01-01T00:00:01+00:00'
    """
    number = timestamp_ms >> _BITS
    base = _bases.get(number)
    if base is None:
        try:
            base = _EPOCH + timedelta(milliseconds=number << _BITS)
        except OverflowError:
            # It may be the base alone that is before the year 1.
            return _EPOCH + timedelta(milliseconds=timestamp_ms)
        if len(_bases) >= _BASES_MAX:
            _bases.clear()
        _bases[number] = base
    rest = timestamp_ms & _MASK
    step = _steps.get(rest)
    if step is None:
        step = timedelta(milliseconds=rest)
        _steps[rest] = step
    return base + step
