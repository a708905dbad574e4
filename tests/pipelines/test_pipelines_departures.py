"""The pipelines of windows, joins and tables against plain Python over the same files."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import departures_recomputed as recomputed
import pytest
from pipeline_inputs import table_records

from streamlog.cli.demo.dataset import TABLES
from streamlog.records.murmur2 import partition_of
from streamlog.testing import drive

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import departures

if TYPE_CHECKING:
    from streamlog import Pipeline
    from streamlog.testing import Driver

UNTIL = datetime(2013, 1, 6, tzinfo=UTC)


def load(t: Driver) -> None:
    """Puts the tables that the pipeline reads into its topics."""
    for topic in {table.topic for table in TABLES} & t.log.topics.keys():
        partitions = t.log.topics[topic]
        for at_ms, _, key, value in table_records(topic, UNTIL):
            partitions[partition_of(key, len(partitions))].append([key], [value], [at_ms])


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
        recomputed.check_medians(results, expected)
    assert results == expected
