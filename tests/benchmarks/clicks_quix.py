"""Quix Streams as a peer: a program for its own environment, and what sets that up.

`python clicks_quix.py NAME BROKER STATE CLICKS RESULTS COUNT` counts the clicks in the shop of each
user and minute, and prints the seconds of wall and of CPU from the first click to the last commit.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from pathlib import Path

VERSION = "3.28.1"
HOME = Path.home() / ".cache" / "streamlog" / f"quixstreams-{VERSION}"


def install() -> Path:
    """Returns the Python of an environment that has it; installs it once.

    Raises:
        subprocess.CalledProcessError: If it cannot be installed.
    """
    python = HOME / "bin" / "python"
    ready = HOME / ".ready"
    if not ready.exists():
        venv.create(HOME, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
             f"quixstreams=={VERSION}"],
            check=True, timeout=600,
        )  # fmt: skip
        ready.touch()
    return python


def main(name: str, broker: str, state: str, clicks: str, results: str, count: str) -> None:
    """Runs it."""
    from quixstreams import Application  # type: ignore[import-not-found]

    app = Application(
        broker,
        consumer_group=name,
        auto_offset_reset="earliest",
        state_dir=state,
        loglevel="ERROR",
        commit_interval=1.0,
    )
    begin: tuple[float, float] | None = None
    left = int(count)

    def timestamp_of(value: dict[str, int], *_: object) -> int:
        nonlocal begin, left
        if begin is None:
            begin = time.perf_counter(), time.process_time()
        left -= 1
        if left == 0:
            app.stop()
        return value["ts"]

    frame = app.dataframe(
        app.topic(clicks, value_deserializer="json", timestamp_extractor=timestamp_of)
    )
    frame = frame.filter(lambda click: click["url"].startswith("/shop/"))
    frame = frame.tumbling_window(duration_ms=60_000).count().final()
    frame.to_topic(app.topic(results, value_serializer="json"))
    app.run()
    assert begin is not None
    print(time.perf_counter() - begin[0], time.process_time() - begin[1])


def run(python: Path, *words: object) -> tuple[float, float]:
    """Runs this program there; returns its seconds of wall and of CPU."""
    done = subprocess.run(
        [python, __file__, *map(str, words)], capture_output=True, text=True, timeout=900
    )
    if done.returncode:
        raise RuntimeError(f"Quix Streams failed:\n{done.stderr[-3000:]}")
    wall, cpu = done.stdout.split()[-2:]
    return float(wall), float(cpu)


if __name__ == "__main__":
    main(*sys.argv[1:7])
