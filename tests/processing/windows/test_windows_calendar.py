"""Days and months as clocks in a place show them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog import hopping, months, tumbling
from streamlog.errors import UsageError
from streamlog.processing.windows.calendar import CalendarWindows
from streamlog.processing.windows.hopping import HoppingWindows
from streamlog.processing.windows.tumbling import TumblingWindows

if TYPE_CHECKING:
    from collections.abc import Callable

NEW_YORK = "America/New_York"
DAY = timedelta(days=1)
HOUR_MS = 3_600_000


def millis(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return round(moment.timestamp() * 1000)


def in_zone(timestamp: int, zone: str) -> str:
    return datetime.fromtimestamp(timestamp / 1000, tz=ZoneInfo(zone)).isoformat()


def spans(windows: Any, timestamp: int) -> list[tuple[int, int]]:  # noqa: ANN401
    return [(windows.start_of(end), end) for end in windows.ends(timestamp)]


@pytest.mark.parametrize(
    ("day", "hours"), [("2013-03-09", 24), ("2013-03-10", 23), ("2013-11-03", 25)]
)
def test_days_in_new_york_have_23_24_and_25_hours(day: str, hours: int) -> None:
    windows = tumbling(DAY, zone=NEW_YORK)
    first = millis(f"{day}T00:00", NEW_YORK)
    for timestamp in range(first, first + hours * HOUR_MS, HOUR_MS // 4):
        assert spans(windows, timestamp) == [(first, first + hours * HOUR_MS)]
    assert spans(windows, first - 1)[0][1] == first
    assert spans(windows, first + hours * HOUR_MS)[0][0] == first + hours * HOUR_MS


def test_days_may_begin_at_another_hour() -> None:
    windows = tumbling(DAY, offset=timedelta(hours=6), zone=NEW_YORK)
    # The hour that is left out on the tenth is in the day that began on the ninth.
    start, end = spans(windows, millis("2013-03-10T05:59", NEW_YORK))[0]
    assert in_zone(start, NEW_YORK) == "2013-03-09T06:00:00-05:00"
    assert in_zone(end, NEW_YORK) == "2013-03-10T06:00:00-04:00"
    assert end - start == 23 * HOUR_MS


def test_a_day_begins_once_where_its_first_moment_is_left_out_or_shown_twice() -> None:
    windows = tumbling(DAY, offset=timedelta(hours=1, minutes=30), zone=NEW_YORK)
    twice = millis("2013-11-03T01:30", NEW_YORK)
    assert spans(windows, twice - 1)[0][1] == twice
    again = millis("2013-11-03T01:15", NEW_YORK, fold=1)
    assert spans(windows, again)[0] == (twice, millis("2013-11-04T01:30", NEW_YORK))
    missing = tumbling(DAY, offset=timedelta(hours=2, minutes=30), zone=NEW_YORK)
    start = spans(missing, millis("2013-03-10T12:00", NEW_YORK))[0][0]
    assert in_zone(start, NEW_YORK) == "2013-03-10T03:30:00-04:00"


def test_a_week_hops_by_days_over_the_change() -> None:
    windows = hopping(7 * DAY, advance=DAY, zone=NEW_YORK)
    found = spans(windows, millis("2013-03-10T12:00", NEW_YORK))
    assert len(found) == 7
    assert [in_zone(start, NEW_YORK)[:19] for start, _ in found] == [
        f"2013-03-{day:02}T00:00:00" for day in range(4, 11)
    ]
    assert {end - start for start, end in found} == {(7 * 24 - 1) * HOUR_MS}


def test_weeks_begin_on_monday_with_an_offset() -> None:
    windows = tumbling(7 * DAY, offset=4 * DAY, zone="Europe/Berlin")
    start, end = spans(windows, millis("2024-04-03T12:00", "Europe/Berlin"))[0]
    assert in_zone(start, "Europe/Berlin") == "2024-04-01T00:00:00+02:00"
    assert in_zone(end, "Europe/Berlin") == "2024-04-08T00:00:00+02:00"


def test_months_quarters_and_years() -> None:
    moment = millis("2013-03-31T23:30", NEW_YORK)
    for count, first, last in [
        (1, "2013-03-01", "2013-04-01"),
        (3, "2013-01-01", "2013-04-01"),
        (12, "2013-01-01", "2014-01-01"),
    ]:
        start, end = spans(months(count, zone=NEW_YORK), moment)[0]
        assert start == millis(f"{first}T00:00", NEW_YORK)
        assert end == millis(f"{last}T00:00", NEW_YORK)
    middle = months(offset=timedelta(days=14))
    assert spans(middle, millis("2013-03-14T00:00"))[0] == (
        millis("2013-02-15T00:00"),
        millis("2013-03-15T00:00"),
    )


def test_a_day_that_a_place_never_had_is_no_window() -> None:
    windows = tumbling(DAY, zone="Pacific/Apia")
    jump = millis("2011-12-31T00:00", "Pacific/Apia")
    assert spans(windows, jump - 1) == [(millis("2011-12-29T00:00", "Pacific/Apia"), jump)]
    assert spans(windows, jump) == [(jump, jump + 24 * HOUR_MS)]


ZONES = [NEW_YORK, "America/Sao_Paulo", "America/Havana", "Australia/Lord_Howe", "Asia/Beirut"]
moments = st.integers(millis("1975-01-01T00:00"), millis("2035-01-01T00:00"))


@given(
    zone=st.sampled_from(ZONES),
    offset_minutes=st.sampled_from([0, 30, 90, 150, 360, 1439]),
    days=st.integers(1, 3),
    timestamp=moments,
)
def test_every_moment_is_in_one_window_and_windows_meet(
    zone: str, offset_minutes: int, days: int, timestamp: int
) -> None:
    offset = timedelta(minutes=offset_minutes)
    windows = tumbling(days * DAY, offset=offset, zone=zone)
    ((start, end),) = spans(windows, timestamp)
    assert start <= timestamp < end
    assert spans(windows, start) == spans(windows, end - 1) == [(start, end)]
    assert spans(windows, end)[0][0] == end
    assert abs(end - start - days * 24 * HOUR_MS) <= HOUR_MS
    low, high, ends = _slot(windows, timestamp)
    assert low <= timestamp < high
    assert windows.ends(low) == windows.ends(high - 1) == ends  # type: ignore[union-attr]


def _slot(windows: object, timestamp: int) -> tuple[int, int, tuple[int, ...]]:
    assert isinstance(windows, CalendarWindows | HoppingWindows)
    return windows.slot(timestamp)


@given(
    size=st.integers(1, 50),
    advance=st.integers(1, 50),
    offset=st.integers(-60, 60),
    timestamp=st.integers(-200, 200),
)
def test_hopping_windows_are_those_that_hold_the_moment(
    size: int, advance: int, offset: int, timestamp: int
) -> None:
    windows = HoppingWindows(max(size, advance), min(size, advance), offset % min(size, advance))
    found = spans(windows, timestamp)
    assert found == [
        (start, start + windows.size_ms)
        for start in range(timestamp - windows.size_ms + 1, timestamp + 1)
        if (start - offset) % windows.advance_ms == 0
    ]
    low, high, ends = windows.slot(timestamp)
    assert low <= timestamp < high
    for moment in range(low, high):
        assert windows.ends(moment) == ends


def test_windows_without_offset_stay_plain() -> None:
    assert tumbling(DAY) == TumblingWindows(24 * HOUR_MS)
    assert tumbling(DAY, offset=2 * DAY) == TumblingWindows(24 * HOUR_MS)
    assert isinstance(tumbling(DAY, offset=timedelta(hours=-1)), HoppingWindows)


def test_what_cannot_be_a_window_is_refused() -> None:
    hour = timedelta(hours=1)
    refused: list[tuple[Callable[[], object], str]] = [
        (lambda: tumbling(hour, zone=NEW_YORK), "whole days"),
        (lambda: tumbling(DAY, zone="Mars/Olympus"), "no time zone 'Mars/Olympus'"),
        (lambda: tumbling(timedelta(0)), "at least 1"),
        (lambda: tumbling(3600), "has to be a timedelta"),  # type: ignore[arg-type]
        (lambda: hopping(hour, advance=2 * hour), "leave out what is between"),
        (lambda: hopping(DAY, advance=timedelta(seconds=1)), "more than 1000"),
        (lambda: months(0), "at least 1"),
        (lambda: months(offset=30 * DAY), "shortest month"),
    ]
    for make, said in refused:
        with pytest.raises(UsageError, match=said):
            make()


def test_utc_is_a_zone_like_others() -> None:
    windows = tumbling(DAY, zone="UTC")
    assert isinstance(windows, CalendarWindows)
    start = round(datetime(2013, 1, 1, tzinfo=UTC).timestamp() * 1000)
    assert spans(windows, start) == [(start, start + 24 * HOUR_MS)]
