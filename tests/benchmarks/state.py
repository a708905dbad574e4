"""State: a task with many keys is rewound by an hour of its records, and restored from nothing.

One task counts the clicks of each user and day. Each of the users clicks once in the first hour,
and one of ten again in the second; then the task is rewound to the end of the first hour with
`streamlog rewind`, the start of that command included, and run again. At last its folder is removed
and its state restored from the changelog.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

from clicks_load import create_topic
from confluent_kafka import Producer
from report import Row, compare
from servers import streamlog_server

KEYS = 100_000
AGAIN = 10
"""One of so many clicks in the second hour too."""
BEGIN_MS = 1_700_006_400_000
"""A full day and hour."""
HOUR_MS = 3_600_000


def click(address: str, topic: str, users: range, begin_ms: int) -> None:
    """Has users click, one after the other, within an hour."""
    producer = Producer({"bootstrap.servers": address, "queue.buffering.max.messages": 200_000})
    for number in users:
        ts = begin_ms + number * HOUR_MS // users.stop
        value = f'{{"user":"{number:08}","url":"/","ts":{ts}}}'
        while True:
            try:
                producer.produce(topic, value, f"user-{number:08}", timestamp=ts)
                break
            except BufferError:
                producer.poll(0.01)
    if producer.flush(60):
        raise RuntimeError("clicks were not delivered")


class Pipeline:
    """The pipeline and its folders."""

    def __init__(self, address: str, folder: Path) -> None:
        self.name = f"days-{uuid.uuid4().hex[:8]}"
        self.address = address
        self.state = folder / "state"
        self.clicks = create_topic(address, "days", 1)
        self.results = create_topic(address, "counts", 1)

    def run(self) -> dict[str, float]:
        """Runs it to the end of its input; returns what was restored."""
        worker = Path(__file__).with_name("state_worker.py")
        done = subprocess.run(
            [sys.executable, worker, self.name, self.address, self.state, self.clicks,
             self.results],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"the pipeline failed:\n{done.stderr[-3000:]}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures

    def rewind(self, to: str) -> float:
        """Rewinds it; returns the seconds which the command took."""
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "streamlog", "rewind", self.name, "--to", to, "--execute",
             "-b", self.address, "--state", self.state],
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        if done.returncode:
            raise RuntimeError(f"the rewind failed:\n{done.stderr[-3000:]}")
        print(done.stdout, file=sys.stderr)
        return seconds


def run(messages: int | None, rounds: int) -> list[Row]:
    """Rewinds some times, then restores some times."""
    keys = messages or KEYS
    rewinds, restores = [], []
    second_hour = time.strftime("%Y-%m-%dT%H:%M", time.gmtime((BEGIN_MS + HOUR_MS) / 1000))
    with (
        tempfile.TemporaryDirectory() as path,
        streamlog_server(Path(path, "broker")) as (address, _process, _seconds),
    ):
        pipeline = Pipeline(address, Path(path))
        click(address, pipeline.clicks, range(keys), BEGIN_MS)
        pipeline.run()
        click(address, pipeline.clicks, range(keys // AGAIN), BEGIN_MS + HOUR_MS)
        for _ in range(rounds):
            pipeline.run()
            rewinds.append(pipeline.rewind(f"@{second_hour}"))
        pipeline.run()
        # Restored state has no history: from here on nothing could be rewound.
        for _ in range(rounds):
            shutil.rmtree(pipeline.state)
            figures = pipeline.run()
            restores.append(figures["restored"] / figures["seconds"])
    return [
        compare(f"rewind a task of {keys:,} keys by an hour", "s", rewinds, "", []),
        compare("restore state from the changelog", "keys/s", restores, "", []),
    ]
