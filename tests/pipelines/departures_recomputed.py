"""What the pipelines of `pipelines/departures.py` must find out, recomputed with plain Python.

Nothing of streamlog is used here. A departure's moment is its scheduled one and its delay.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from flights_recomputed import RFC3339, flights_until, left, moment, rows

BEAUFORT_MPH = (1, 4, 8, 13, 19, 25, 32, 39, 47, 55, 64, 73)
HOUR = timedelta(hours=1)
QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MEDIAN_ERROR = 0.02

Rows = dict[str, dict[str, Any]]
"""By key the JSON value of a table's row."""


class Departure(NamedTuple):
    at: datetime
    airport: str
    tailnum: str
    delay: int
    miles: int


@cache
def departures(until: datetime | None = None) -> tuple[Departure, ...]:
    """All flights that have left with a known aircraft, in order."""
    found = [
        Departure(
            left(flight),
            flight["origin"],
            flight["tailnum"],
            int(flight["dep_delay"]),
            int(flight["distance"]),
        )
        for flight in flights_until(until)
        if flight["dep_delay"] != "NA" and flight["tailnum"] != "NA"
    ]
    return tuple(sorted(found))


def milliseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def delay_by_wind(until: datetime | None = None) -> Rows:
    """The median is left as the list of all delays: the pipeline's is a sketch."""
    hours: dict[str, list[datetime]] = defaultdict(list)
    speeds: dict[str, list[str]] = defaultdict(list)
    for row in rows("weather"):
        hours[row["origin"]].append(moment(row["time_hour"]))
        speeds[row["origin"]].append(row["wind_speed"])
    delays: dict[int, list[int]] = defaultdict(list)
    for departure in departures(until):
        position = bisect_right(hours[departure.airport], departure.at) - 1
        if position >= 0 and speeds[departure.airport][position] != "NA":
            speed = float(speeds[departure.airport][position])
            delays[sum(speed >= least for least in BEAUFORT_MPH)].append(departure.delay)
    return {
        str(force): {
            "departures": len(each),
            "mean_delay": sum(each) / len(each),
            "median_delay": sorted(each),
        }
        for force, each in delays.items()
    }


def aircraft_trips(until: datetime | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    flights: dict[str, list[Departure]] = defaultdict(list)
    for departure in departures(until):
        flights[departure.tailnum].append(departure)
    found = {}
    for tailnum, each in flights.items():
        trip = [each[0]]
        for before, after in [*pairwise(each), (each[-1], None)]:
            if after is not None and after.at - before.at <= 6 * HOUR:
                trip.append(after)
                continue
            start = trip[0].at.strftime(RFC3339)
            found[tailnum, start] = {
                "start": start,
                "end": trip[-1].at.strftime(RFC3339),
                "value": {
                    "departures": len(trip),
                    "airports": len({one.airport for one in trip}),
                    "miles": sum(one.miles for one in trip),
                },
            }
            trip = [] if after is None else [after]
    return found


def turnarounds(until: datetime | None = None) -> Rows:
    flights: dict[tuple[str, str], list[Departure]] = defaultdict(list)
    for departure in departures(until):
        flights[departure.tailnum, departure.airport].append(departure)
    found = {}
    for (tailnum, airport), each in flights.items():
        moments = sorted({one.at for one in each})
        for before, after in pairwise(moments):
            if after - before <= 12 * HOUR:
                left_ms = milliseconds(before)
                found[f"{tailnum} {airport} {left_ms}"] = {
                    "tailnum": tailnum,
                    "airport": airport,
                    "left_ms": left_ms,
                    "minutes": (after - before) // timedelta(minutes=1),
                }
    return found


def busiest_hours(until: datetime | None = None) -> dict[tuple[str, str], dict[str, Any]]:
    counts: Counter[tuple[str, datetime]] = Counter()
    for flight in flights_until(until):
        if flight["dep_delay"] == "NA":
            continue
        at = left(flight)
        start = at - (at - EPOCH) % QUARTER
        for number in range(4):
            counts[flight["origin"], start - number * QUARTER] += 1
    days: dict[tuple[str, datetime], list[tuple[int, str]]] = defaultdict(list)
    for (airport, start), count in counts.items():
        last = start + HOUR - timedelta(milliseconds=1)
        day = last.replace(hour=0, minute=0, second=0, microsecond=0)
        days[airport, day].append((count, start.isoformat()))
    return {
        (airport, day.strftime(RFC3339)): {
            "start": day.strftime(RFC3339),
            "end": (day + 24 * HOUR).strftime(RFC3339),
            "value": {"hours": [list(each) for each in sorted(hours, reverse=True)[:3]]},
        }
        for (airport, day), hours in days.items()
    }


def delay_by_age(until: datetime | None = None) -> Rows:
    years = {row["tailnum"]: row["year"] for row in rows("planes")}
    delays: dict[int, list[int]] = defaultdict(list)
    for departure in departures(until):
        year = years.get(departure.tailnum, "NA")
        if year != "NA":
            delays[2013 - int(year)].append(departure.delay)
    return {
        str(age): {"departures": len(each), "mean_delay": sum(each) / len(each)}
        for age, each in delays.items()
    }


def check_medians(results: Rows, expected: Rows) -> None:
    """A sketch's median is within its relative error of the true one; then both are left out."""
    for force, row in results.items():
        delays = expected[force].pop("median_delay")
        found = row.pop("median_delay")
        near = [delays[(len(delays) - 1) // 2], delays[len(delays) // 2]]
        assert any(abs(found - each) <= abs(each) * MEDIAN_ERROR + 1e-9 for each in near)
