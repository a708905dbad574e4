"""Where `group seek --to` moves a group: the words, as rpk and `kafka-consumer-groups` have them.

    start  end         the oldest record, the end        as --to-earliest, --to-latest
    current            where it stands (to export it)    as --to-current
    @T                 the first record at or after T    as --to-datetime
    @-2h               as long ago as that               as --by-duration PT2H
    1200               this offset                       as --to-offset 1200
    +10  -10           from where it stands              as --shift-by 10
    @committed-of:G    where group G stands              as --to-group G of rpk

A time is written as behind `consume -o` (see: streamlog help offsets). Kafka's words are taken too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.cli.offsets import parse_time
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.values import TopicPartition

EXAMPLES = "start, end, current, @2013-07-01T00:00, @-2h, 1200, +10, -10 or @committed-of:GROUP"
COMMITTED_OF = "@committed-of:"


class Aim(Enum):
    """What a target means."""

    START = "start"
    END = "end"
    CURRENT = "current"
    TIME = "time"
    """The first record at or after so many milliseconds since 1970."""
    OFFSET = "offset"
    SHIFT = "shift"
    """By so many offsets from where it stands."""
    GROUP = "group"
    POSITIONS = "positions"
    """Those of a file."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to move a group."""

    aim: Aim
    number: int = 0
    group: str = ""
    positions: Mapping[TopicPartition, int] | None = None


_WORDS = {
    **dict.fromkeys(("start", "oldest", "earliest"), Aim.START),
    **dict.fromkeys(("end", "newest", "latest"), Aim.END),
    "current": Aim.CURRENT,
}


def parse_target(text: str, now_ms: int) -> Target:
    """Parses what stands behind `--to`.

    >>> parse_target("-10", now_ms=0).aim, parse_target("10", now_ms=0).aim
    (<Aim.SHIFT: 'shift'>, <Aim.OFFSET: 'offset'>)
    """
    if text in _WORDS:
        return Target(_WORDS[text])
    if re.fullmatch(r"[+-]\d+", text, re.ASCII):
        return Target(Aim.SHIFT, int(text))
    if text.isascii() and text.isdigit():
        return Target(Aim.OFFSET, int(text))
    if text.startswith(COMMITTED_OF) and text != COMMITTED_OF:
        return Target(Aim.GROUP, group=text.removeprefix(COMMITTED_OF))
    moment = parse_time(text[1:], now_ms) if text.startswith("@") else None
    if moment is None or moment < 0:
        raise UsageError(
            f"{text!r} does not say where to move the group",
            hint=f"Write {EXAMPLES}. More: streamlog group seek --help",
        )
    return Target(Aim.TIME, moment)


def parse_datetime(text: str, now_ms: int) -> Target:
    """Parses Kafka's `--to-datetime`, e.g. 2013-07-01T00:00:00.000."""
    return parse_target(f"@{text}", now_ms)


_ISO_DURATION = re.compile(
    r"P(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", re.ASCII | re.IGNORECASE
)
_UNITS_MS = (86_400_000, 3_600_000, 60_000, 1_000)


def parse_iso_duration(text: str, now_ms: int) -> Target:
    """Parses Kafka's `--by-duration`: so long before now.

    >>> parse_iso_duration("P1DT30M", now_ms=100_000_000).number
    11800000
    """
    match = _ISO_DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise UsageError(f"{text!r} is no duration", hint="Write it as PnDTnHnMnS, e.g. PT2H")
    ago_ms = sum(
        int(number) * unit for number, unit in zip(match.groups("0"), _UNITS_MS, strict=True)
    )
    return Target(Aim.TIME, max(now_ms - ago_ms, 0))


def parse_scope(texts: tuple[str, ...]) -> dict[str, frozenset[int] | None]:
    """Parses `--topics`: topics, separated by commas, each with some of its partitions or without.

    >>> parse_scope(("orders:0,1,prices",))
    {'orders': frozenset({0, 1}), 'prices': None}
    """
    scope: dict[str, frozenset[int] | None] = {}
    for text in texts:
        topic = None
        for word in text.split(","):
            name, colon, number = word.rpartition(":")
            if not colon and topic is not None and word.isascii() and word.isdigit():
                scope[topic] = (scope[topic] or frozenset()) | {int(word)}
            elif colon and name and number.isascii() and number.isdigit():
                topic = name
                scope[name] = (scope.get(name) or frozenset()) | {int(number)}
            elif word and not colon:
                topic = None
                scope[word] = None
            else:
                raise UsageError(
                    f"--topics {text} names no topics",
                    hint="Write it as --topics orders:0,1,prices",
                )
    return scope
