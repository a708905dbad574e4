"""The demo's pipelines: records per second through `streamlog demo --exit`, broker included.

The peer is plain Python in one process: the same JSON values decoded by the same library into the
same types and folded into dictionaries, with no log, no state, no repartitioning and no guarantee.
It is the floor of what any engine in this language can cost.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import datetime, timedelta

import msgspec
from report import Row, compare

from streamlog.cli.demo.dataset import TABLES, TableFile, find_data

RATE = re.compile(r"([\d,]+) records in [\d.]+ s: ([\d,]+) records/s")
DAY_MS = 86_400_000


class Flight(msgspec.Struct):
    """What the pipelines' own type has."""

    carrier: str
    origin: str
    time_hour: datetime
    minute: int
    dep_time: int | None
    dep_delay: int | None


def scheduled_departure(flight: Flight) -> datetime:
    """When the flight should have left, as the pipelines compute it."""
    return flight.time_hour + timedelta(minutes=flight.minute)


def through_streamlog() -> float:
    """Runs the demo on fresh data; returns the records per second of its own summary."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "streamlog", "demo", "--exit", "--data", folder,
             "--listen", "127.0.0.1:0"],
            capture_output=True, text=True, timeout=600, check=True,
            env=os.environ | {"NO_COLOR": "1"},
        )  # fmt: skip
    found = RATE.search(done.stderr) or RATE.search(done.stdout)
    if found is None:
        raise RuntimeError(f"the demo printed no rate:\n{done.stderr}")
    return float(found[2].replace(",", ""))


def plain_python(values: list[bytes]) -> float:
    """Folds the flights as the two pipelines do, each on its own; returns records per second."""
    decode = msgspec.json.Decoder(Flight).decode
    begin = time.perf_counter()
    delays: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, -(10**9)])
    for value in values:
        flight = decode(value)
        if flight.dep_delay is None:
            continue
        day = int(scheduled_departure(flight).timestamp() * 1000) // DAY_MS
        entry = delays[flight.carrier, day]
        entry[0] += 1
        entry[1] += flight.dep_delay
        entry[2] = max(entry[2], flight.dep_delay)
    origins: dict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])
    for value in values:
        flight = decode(value)
        hour = int(scheduled_departure(flight).timestamp()) // 3600
        counts = origins[flight.origin, hour]
        counts[0] += 1
        counts[1] += flight.dep_time is None
    return 2 * len(values) / (time.perf_counter() - begin)


def run(messages: int | None, rounds: int) -> list[Row]:
    """Runs both in turn."""
    del messages
    flights = next(table for table in TABLES if table.topic == "flights")
    values = [value for chunk in TableFile(flights, find_data()).chunks() for value in chunk.values]
    ours, plain = [], []
    for _ in range(rounds):
        ours.append(through_streamlog())
        plain.append(plain_python(values))
    return [
        compare(
            "demo's two pipelines, broker in the same process", "records/s", ours,
            "plain Python, no engine", plain,
        )
    ]  # fmt: skip
