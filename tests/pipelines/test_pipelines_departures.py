"""The pipelines of windows, joins and tables against plain Python over the same files."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import departures_recomputed as recomputed
import pytest

from streamlog.cli.demo.dataset import TABLES, TableFile, find_data
from streamlog.records.murmur2 import partition_of
from streamlog.testing import drive

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import departures

if TYPE_CHECKING:
    from streamlog import Pipeline
    from streamlog.testing import Driver

UNTIL = datetime(2013, 1, 6, tzinfo=UTC)
MEDIAN_ERROR = 0.02


@cache
def records(topic: str) -> list[tuple[bytes, bytes, int]]:
    """Key, value and timestamp of a table's records, as the demo loads them."""
    (table,) = (table for table in TABLES if table.topic == topic)
    until_ms = recomputed.milliseconds(UNTIL)
    found: list[tuple[bytes, bytes, int]] = []
    for chunk in TableFile(table, find_data()).chunks():
        columns = zip(chunk.keys, chunk.values, chunk.timestamps, strict=True)
        found += [each for each in columns if each[2] < until_ms]
        if chunk.timestamps[-1] >= until_ms:
            break
    return found


def load(t: Driver) -> None:
    """Puts the tables that the pipeline reads into its topics."""
    for topic in {table.topic for table in TABLES} & t.log.topics.keys():
        partitions = t.log.topics[topic]
        for key, value, timestamp in records(topic):
            partitions[partition_of(key, len(partitions))].append([key], [value], [timestamp])


def newest(t: Driver, topic: str) -> dict[Any, Any]:
    """The newest value of each key, or of each key and window."""
    found: dict[Any, Any] = {}
    for record in t.read(topic):
        windowed = "start" in record.value
        key = (record.key, record.value["start"]) if windowed else record.key
        found[key] = record.value
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("partitions", "seed", "crash"), [(1, None, False), (3, 5, True)])
@pytest.mark.parametrize(
    "pipeline",
    [
        departures.delay_by_wind,
        departures.aircraft_trips,
        departures.turnarounds,
        departures.busiest_hours,
        departures.delay_by_age,
    ],
    ids=lambda pipeline: pipeline.name if hasattr(pipeline, "name") else None,
)
def test_pipelines_find_what_plain_python_finds(
    pipeline: Pipeline[..., object], partitions: int, seed: int | None, *, crash: bool
) -> None:
    expected = getattr(recomputed, pipeline.name)(UNTIL)
    with drive(pipeline, partitions=partitions, seed=seed) as t:
        load(t)
        if crash:
            t.crash(at="state")
            t.run()
            t.delete_state()
        t.drain()
        results = newest(t, pipeline.name.replace("_", "-"))
        assert t.late_records == 0
    assert len(expected) > 3
    if pipeline is departures.delay_by_wind:
        check_medians(results, expected)
    assert results == expected


def check_medians(results: dict[str, Any], expected: dict[str, Any]) -> None:
    """A sketch's median is within its relative error of the true one; then both are left out."""
    for force, row in results.items():
        delays = expected[force].pop("median_delay")
        found = row.pop("median_delay")
        near = [delays[(len(delays) - 1) // 2], delays[len(delays) // 2]]
        assert any(abs(found - each) <= abs(each) * MEDIAN_ERROR + 1e-9 for each in near)
