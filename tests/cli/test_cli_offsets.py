"""The grammar of `consume -o`."""

from __future__ import annotations

import pytest

from streamlog.cli.offsets import Anchor, Bound, Extent, Range, offset_of, parse_offsets
from streamlog.errors import UsageError

NOW_MS = 1_648_021_901_749
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
START, END = Bound(Anchor.START), Bound(Anchor.END)


def at(number: int) -> Bound:
    return Bound(Anchor.OFFSET, number)


def time(number: int) -> Bound:
    return Bound(Anchor.TIME, number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("start", Range(START)),
        ("oldest", Range(START)),
        ("end", Range(END)),
        ("newest", Range(END)),
        (":end", Range(START, END)),
        ("+3", Range(Bound(Anchor.START, 3))),
        ("-3", Range(Bound(Anchor.END, -3))),
        ("35", Range(at(35))),
        ("35:", Range(at(35))),
        (":23", Range(START, at(23))),
        ("90:91", Range(at(90), at(91))),
        ("90-91", Range(at(90), at(91))),
        ("90:end", Range(at(90), END)),
        ("90-end", Range(at(90), END)),
        ("@1648021901749", Range(time(1_648_021_901_749))),
        ("@1648021901749:", Range(time(1_648_021_901_749))),
        ("@:1648021901", Range(START, time(1_648_021_901_000))),
        ("@1648021901:1748021901", Range(time(1_648_021_901_000), time(1_748_021_901_000))),
        ("@2022-03-24:2022-03-25", Range(time(1_648_080_000_000), time(1_648_166_400_000))),
        ("@2022-03-23T07:51:41Z", Range(time(1_648_021_901_000))),
        ("@2022-03-23T07:51", Range(time(1_648_021_860_000))),
        ("@2022-03-23T07:51:41", Range(time(1_648_021_901_000))),
        ("@2022-03-23T08:51:41+01:00:1h", Range(time(1_648_021_901_000), time(1_648_025_501_000))),
        ("@2022-03-23T07:51:1h", Range(time(1_648_021_860_000), time(1_648_025_460_000))),
        ("@2022-03-23T07:51:41.Z:1h", Range(time(1_648_021_901_000), time(1_648_025_501_000))),
        (
            "@2022-03-23T07:51:41.749Z:2022-03-23T07:52:41.7Z",
            Range(time(1_648_021_901_749), time(1_648_021_961_700)),
        ),
        ("@2022-02-14:1h", Range(time(1_644_796_800_000), time(1_644_800_400_000))),
        ("@-48h:-24h", Range(time(NOW_MS - 2 * DAY_MS), time(NOW_MS - DAY_MS))),
        ("@-1m:end", Range(time(NOW_MS - 60_000), END)),
        ("@:-1hr", Range(START, time(NOW_MS - HOUR_MS))),
        ("@-1m3ms", Range(time(NOW_MS - 60_003))),
        ("@:end", Range(START, END)),
    ],
)
def test_a_range_is_parsed(text: str, expected: Range) -> None:
    assert parse_offsets(text, NOW_MS) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "+a",
        "-a",
        "90:39",
        "90:a",
        "90:90",
        "90:91:92",
        "begin",
        "@",
        "@end",
        "@yesterday",
        "@1648021901749:asdf",
        "@2022-13-01",
        "@2022-03-25:2022-03-24",
        "@1h:2h:3h",
        "²",
    ],
)
def test_what_is_no_range_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UsageError):
        parse_offsets(text, NOW_MS)


@pytest.mark.parametrize(
    ("bound", "expected"),
    [
        (START, 20),
        (END, 100),
        (Bound(Anchor.START, 5), 25),
        (Bound(Anchor.START, 500), 100),
        (Bound(Anchor.END, -10), 90),
        (Bound(Anchor.END, -500), 20),
        (at(3), 3),
        (time(7), 42),
        (time(8), 100),
    ],
)
def test_a_bound_becomes_an_offset_of_a_partition(bound: Bound, expected: int) -> None:
    assert offset_of(bound, Extent(oldest=20, end=100, offset_of_time={7: 42})) == expected
