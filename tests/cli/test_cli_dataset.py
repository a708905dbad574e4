"""The demo's records: order, keys, values and timestamps."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from streamlog.cli.demo.dataset import TABLES, TableFile, find_data
from streamlog.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

COUNTS = {"airlines": 16, "planes": 3322, "airports": 1458, "weather": 26115, "flights": 336776}
HEADER = "carrier,flight,origin,dep_delay,distance,minute,time_hour,tailnum,dest"
(FLIGHTS,) = (table for table in TABLES if table.topic == "flights")


def flights_file(folder: Path, *rows: str) -> TableFile:
    import zipfile

    with zipfile.ZipFile(folder / "flights.csv.zip", "w") as archive:
        archive.writestr("flights.csv", "\n".join([HEADER, *rows]) + "\n")
    return TableFile(FLIGHTS, folder)


def test_flights_come_in_the_order_in_which_they_left(tmp_path: Path) -> None:
    table = flights_file(
        tmp_path,
        "UA,1,EWR,NA,1e3,30,2013-01-01T10:00:00Z,NA,IAH",
        "UA,2,EWR,31,700,0,2013-01-01T10:00:00Z,N1,IAH",
        "UA,3,EWR,-1,700.0,0,2013-01-01T10:00:00Z,N1,IAH",
        "UA,4,EWR,-30,2.5,0,2013-01-01T11:00:00Z,N1,IAH",
    )
    (chunk,) = table.chunks()
    assert len(table) == 4
    # Flight 1 was cancelled: it counts from when it should have left, before flight 4 in the file.
    assert chunk.keys == [b"UA3", b"UA1", b"UA4", b"UA2"]
    start = 1_357_034_400_000
    assert [moment - start for moment in chunk.timestamps] == [
        minutes * 60_000 for minutes in (-1, 30, 30, 31)
    ]
    values = [json.loads(value) for value in chunk.values]
    assert values[1] == {
        "carrier": "UA",
        "flight": 1,
        "origin": "EWR",
        "dep_delay": None,
        "distance": 1000,
        "minute": 30,
        "time_hour": "2013-01-01T10:00:00Z",
        "tailnum": None,
        "dest": "IAH",
    }
    assert [type(value["distance"]) for value in values] == [int, int, float, int]


def test_a_row_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    table = flights_file(tmp_path, "UA,1,EWR,0,1,2,2013-01-01T10:00:00Z")
    with pytest.raises(DataError, match="a row of 7 fields under 9 columns"):
        list(table.chunks())


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.topic)
def test_the_package_has_what_the_demo_promises(table: object) -> None:
    file = TableFile(next(each for each in TABLES if each is table), find_data())
    assert len(file) == COUNTS[file.table.topic]
    first = next(file.chunks())
    value = json.loads(first.values[0])
    assert first.keys[0].decode() == "".join(str(value[part]) for part in file.table.key)
    assert "NA" not in value.values()
