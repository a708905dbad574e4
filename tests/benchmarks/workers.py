"""Two workers against one: the count of clicks, from the first task taken to the last commit.

They share the machine with the broker, so with fewer than four cores little can be gained.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from clicks import ours
from clicks_load import load
from report import Row, compare
from servers import streamlog_server

COUNT = 1_000_000


def run(messages: int | None, rounds: int) -> list[Row]:
    """Runs both in turn."""
    two: list[float] = []
    one: list[float] = []
    with (
        tempfile.TemporaryDirectory() as path,
        streamlog_server(Path(path, "broker")) as (address, _process, _seconds),
    ):
        data = load(address, messages or COUNT)
        for _ in range(rounds):
            for workers, rates in ((1, one), (2, two)):
                wall, _ = ours("count", data, Path(path, "state"), workers)
                rates.append(data.clicks_count / wall)
                print(f"  {workers}: {rates[-1]:,.0f} records/s", file=sys.stderr, flush=True)
    what = f"two workers, {os.cpu_count()} cores with the broker"
    return [compare(what, "records/s", two, "one worker", one)]
