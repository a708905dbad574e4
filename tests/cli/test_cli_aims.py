"""The grammar of `group seek --to`, and Kafka's words for the same."""

from __future__ import annotations

import pytest

from streamlog.cli.aims import (
    Aim,
    Target,
    parse_datetime,
    parse_iso_duration,
    parse_scope,
    parse_target,
)
from streamlog.errors import UsageError

NOW_MS = 1_648_021_901_749


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("start", Target(Aim.START)),
        ("earliest", Target(Aim.START)),
        ("end", Target(Aim.END)),
        ("newest", Target(Aim.END)),
        ("current", Target(Aim.CURRENT)),
        ("+10", Target(Aim.SHIFT, 10)),
        ("-10", Target(Aim.SHIFT, -10)),
        ("0", Target(Aim.OFFSET, 0)),
        ("@2022-03-23T07:51:41Z", Target(Aim.TIME, 1_648_021_901_000)),
        ("@-1h", Target(Aim.TIME, NOW_MS - 3_600_000)),
        ("@committed-of:billing", Target(Aim.GROUP, group="billing")),
    ],
)
def test_a_target_is_parsed(text: str, expected: Target) -> None:
    assert parse_target(text, NOW_MS) == expected


@pytest.mark.parametrize(
    "text", ["", "@", "begin", "+", "1.5", "²", "@end", "@1h:2h", "@committed-of:", "@-9999999h"]
)
def test_what_is_no_target_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(UsageError, match="Write start, end, current"):
        parse_target(text, NOW_MS)


def test_kafkas_times_and_durations() -> None:
    assert parse_datetime("2022-03-23T07:51:41.749", 0) == Target(Aim.TIME, NOW_MS)
    assert parse_iso_duration("PT1H30M", NOW_MS) == Target(Aim.TIME, NOW_MS - 5_400_000)
    assert parse_iso_duration("P2D", NOW_MS) == Target(Aim.TIME, NOW_MS - 2 * 86_400_000)
    assert parse_iso_duration("P99999D", NOW_MS) == Target(Aim.TIME, 0)
    for text in ("", "P", "PT", "1h", "P1H", "P1DT"):
        with pytest.raises(UsageError, match="PnDTnHnMnS"):
            parse_iso_duration(text, NOW_MS)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ((), {}),
        (("a",), {"a": None}),
        (("a,b",), {"a": None, "b": None}),
        (("a:0", "b"), {"a": frozenset({0}), "b": None}),
        (("a:0,2,b:1",), {"a": frozenset({0, 2}), "b": frozenset({1})}),
        (("7,8",), {"7": None, "8": None}),
    ],
)
def test_topics_and_some_of_their_partitions(
    texts: tuple[str, ...], expected: dict[str, frozenset[int] | None]
) -> None:
    assert parse_scope(texts) == expected


@pytest.mark.parametrize("text", ["", "a:", "a:x", ":1", "a:0,,1"])
def test_what_names_no_topics_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="names no topics"):
        parse_scope((text,))
