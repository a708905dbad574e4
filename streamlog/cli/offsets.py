"""The grammar of `consume -o`: where to begin reading and where to stop, as in rpk.

    start  oldest     from the oldest record           +10     from 10 after the oldest
    end    newest     from now on                      -10     the last 10 of each partition
    :end              all there is now, then stop      47 47:  from offset 47
    :47               up to offset 47 (excluded)       47:99   from 47 up to 99 (excluded)
    47:end            from 47 to the end as of now     @T  @T: from a time
    @:T               up to a time                     @T1:T2  from a time up to a time

A time is 13 digits (milliseconds since 1970), 10 digits (seconds), a day `2022-02-14` (UTC), an
instant as in RFC 3339, whose seconds and zone may be left out (`2022-02-14T10:30` is UTC), `end`
(as T2), or a duration (`1h`, `-48h`, `1m30s`). A duration is counted from now; as T2 behind a T1
that is no duration, it is counted from T1.

Parsing is apart from looking up: `parse_offsets` yields a `Range` of two `Bound`s, each of
which the caller turns into an offset of every partition.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLES = "start, end, :end, +10, -10, 47, 47:99, @-1h, @2022-02-14:1h or @-1m:end"


class Anchor(Enum):
    """What a bound's number counts from."""

    START = "start"
    """Offsets after the oldest record."""
    END = "end"
    """Offsets after the end of the partition (so negative, or 0)."""
    OFFSET = "offset"
    """The offset itself."""
    TIME = "time"
    """Milliseconds since 1970: the first record at or after them."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a range."""

    anchor: Anchor
    number: int = 0


@dataclass(frozen=True, slots=True)
class Range:
    """Where to begin, and where to stop (excluded) if at all."""

    start: Bound
    stop: Bound | None = None


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds now: its oldest offset, its end, and what its times map to.

    A time behind the newest record is missing in `offset_of_time`.
    """

    oldest: int
    end: int
    offset_of_time: Mapping[int, int]


def offset_of(bound: Bound, extent: Extent) -> int:
    """Returns the bound's offset in a partition, kept within what the partition holds.

    An exact offset is kept as it is: one that is not there any more should be said, not moved.

    >>> offset_of(Bound(Anchor.END, -10), Extent(0, 100, {}))
    90
    """
    if bound.anchor is Anchor.OFFSET:
        return bound.number
    if bound.anchor is Anchor.TIME:
        return extent.offset_of_time.get(bound.number, extent.end)
    base = extent.oldest if bound.anchor is Anchor.START else extent.end
    return min(max(base + bound.number, extent.oldest), extent.end)


def parse_offsets(text: str, now_ms: int) -> Range:
    """Parses what stands behind `-o`.

    >>> parse_offsets("47:99", now_ms=0)
    Range(start=Bound(anchor=<Anchor.OFFSET: 'offset'>, number=47), \
stop=Bound(anchor=<Anchor.OFFSET: 'offset'>, number=99))
    """
    parsed = _time_range(text[1:], now_ms) if text.startswith("@") else _offset_range(text)
    if parsed is None:
        raise UsageError(
            f"{text!r} does not say where to begin reading",
            hint=f"Write {EXAMPLES}. More: streamlog help offsets",
        )
    start, stop = parsed.start, parsed.stop
    if stop and start.anchor is stop.anchor is not Anchor.END and stop.number <= start.number:
        raise UsageError(f"{text!r} ends before it begins")
    return parsed


_WORDS = {
    "start": Range(Bound(Anchor.START)),
    "oldest": Range(Bound(Anchor.START)),
    "end": Range(Bound(Anchor.END)),
    "newest": Range(Bound(Anchor.END)),
    ":end": Range(Bound(Anchor.START), Bound(Anchor.END)),
}
_RELATIVE = re.compile(r"([+-])(\d+)", re.ASCII)
_EXACT = re.compile(r"(\d+):?", re.ASCII)
_UP_TO = re.compile(r":(\d+)", re.ASCII)
_FROM_TO = re.compile(r"(\d+)[:-](\d+|end)", re.ASCII)


def _offset_range(text: str) -> Range | None:
    if text in _WORDS:
        return _WORDS[text]
    if match := _RELATIVE.fullmatch(text):
        number = int(match[2])
        if match[1] == "+":
            return Range(Bound(Anchor.START, number))
        return Range(Bound(Anchor.END, -number))
    if match := _EXACT.fullmatch(text):
        return Range(Bound(Anchor.OFFSET, int(match[1])))
    if match := _UP_TO.fullmatch(text):
        return Range(Bound(Anchor.START), Bound(Anchor.OFFSET, int(match[1])))
    if match := _FROM_TO.fullmatch(text):
        stop = Bound(Anchor.END) if match[2] == "end" else Bound(Anchor.OFFSET, int(match[2]))
        return Range(Bound(Anchor.OFFSET, int(match[1])), stop)
    return None


_DURATION = r"[+-]?(?:\d+(?:\.\d+)?(?:ns|us|µs|ms|hr|[hmsd]))+"
_TIME = re.compile(
    rf"""(?P<millis>\d{{13}}) | (?P<seconds>\d{{10}})
    | (?P<instant>\d{{4}}-\d{{2}}-\d{{2}}T\d{{2}}:\d{{2}}(?::\d{{2}}(?:\.\d*)?)?
        (?:Z|[+-]\d{{2}}:\d{{2}})?)
    | (?P<day>\d{{4}}-\d{{2}}-\d{{2}})
    | (?P<end>end) | (?P<duration>{_DURATION})""",
    re.ASCII | re.VERBOSE,
)
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|hr|[hmsd])")
_UNIT_MS = {
    "ns": 1e-6,
    "us": 1e-3,
    "µs": 1e-3,
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "hr": 3_600_000,
    "d": 86_400_000,
}


def _time_range(text: str, now_ms: int) -> Range | None:
    """Parses T1, T1:, :T2 and T1:T2; a time may contain colons, so each is matched at its place."""
    start, base_ms = Bound(Anchor.START), now_ms
    if not text.startswith(":"):
        match = _TIME.match(text)
        if match is None or match["end"]:
            return None
        start = _bound_of(match, now_ms)
        if not match["duration"]:
            base_ms = start.number
        text = text[match.end() :]
        if text in ("", ":"):
            return Range(start)
        if not text.startswith(":"):
            return None
    match = _TIME.fullmatch(text[1:])
    return Range(start, _bound_of(match, base_ms)) if match else None


def _bound_of(match: re.Match[str], base_ms: int) -> Bound:
    text = match[0]
    if match["end"]:
        return Bound(Anchor.END)
    if match["millis"]:
        return Bound(Anchor.TIME, int(text))
    if match["seconds"]:
        return Bound(Anchor.TIME, int(text) * 1000)
    if match["duration"]:
        return Bound(Anchor.TIME, base_ms + duration_ms(text))
    try:
        # `12:00:00.Z` is allowed by the grammar and by no parser.
        moment = datetime.fromisoformat(text.removesuffix("Z").rstrip("."))
    except ValueError as error:
        raise UsageError(f"{text!r} is not a day or an instant: {error}") from error
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return Bound(Anchor.TIME, round(moment.timestamp() * 1000))


def parse_time(text: str, now_ms: int) -> int | None:
    """Returns the milliseconds since 1970 of one time, or nothing if the text is none.

    >>> parse_time("2013-07-01T00:00", now_ms=0), parse_time("-2h", now_ms=10_000_000)
    (1372636800000, 2800000)
    """
    match = _TIME.fullmatch(text)
    return None if match is None or match["end"] else _bound_of(match, now_ms).number


def duration_ms(text: str) -> int:
    """Returns a duration's milliseconds.

    >>> duration_ms("-1h30m")
    -5400000
    """
    total = sum(float(number) * _UNIT_MS[unit] for number, unit in _DURATION_PART.findall(text))
    return round(-total if text.startswith("-") else total)
