"""Watching pipelines as an operator does: ps, top, describe --running, and what workers serve."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from command_runner import COMMAND, TIMEOUT_S, environment, server, streamlog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = """
from datetime import timedelta
from msgspec import Struct
from streamlog import Output, Stream, count, pipeline, tumbling

class Word(Struct):
    text: str

class Seen(Struct):
    times: int

def text(word: Word) -> str:
    return word.text

@pipeline(standbys=1)
def counted(words: Stream[Word]) -> Output:
    days = words.key_by(text, name="by-text").window(tumbling(timedelta(days=1)))
    return days.aggregate(Seen, times=count(), name="counts").to("counts")
"""
RECORDS = 200


@contextmanager
def worker(tmp_path: Path, address: str, state: str) -> Iterator[str]:
    """Runs the app with figures served; yields where."""
    process = subprocess.Popen(
        [*COMMAND, "run", str(tmp_path / "app.py"), "-b", address, "--state",
         str(tmp_path / state), "--metrics", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        served = re.search(r"metrics on (http://\S+)/metrics", line)
        assert served, line + process.stderr.read()
        yield served[1]
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: str = answer.read().decode()
    return text


def figure(url: str, name: str) -> float:
    samples = re.findall(rf"^streamlog_pipeline_{name}{{[^}}]*}} (\S+)$", fetch(url), re.MULTILINE)
    return sum(map(float, samples))


def listed(address: str, *arguments: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(
        streamlog(*arguments, "--format", "json", "-b", address).stdout
    )
    return rows


def wait_for(condition: Any) -> None:  # noqa: ANN401
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.05)


@pytest.mark.slow
def test_pipelines_are_seen_where_they_run(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    with server(tmp_path / "data") as address:
        assert listed(address, "ps") == []
        streamlog("topic", "create", "words", "-p", "2", "-b", address)
        subprocess.run(
            [*COMMAND, "produce", "words", "-b", address],
            input="".join(f'{{"text": "w{n}"}}\n' for n in range(RECORDS)),
            text=True, check=True, capture_output=True, timeout=TIMEOUT_S, env=environment(),
        )  # fmt: skip
        with worker(tmp_path, address, "x") as one:
            wait_for(lambda: figure(f"{one}/metrics", "state_rows") == RECORDS)
            with worker(tmp_path, address, "y") as two:
                wait_for(lambda: figure(f"{two}/metrics", "tasks") == 2)
                wait_for(lambda: figure(f"{two}/metrics", "standby_tasks") == 2)
                assert fetch(f"{two}/healthz") == fetch(f"{two}/readyz") == "ok\n"
                _check_listings(tmp_path, address, one)
            wait_for(lambda: figure(f"{one}/metrics", "tasks") == 4)
            wait_for(lambda: [row["tasks"] for row in listed(address, "ps")] == [4])
        (stopped,) = listed(address, "ps")
        assert (stopped["state"], stopped["lag"], stopped["host"]) == ("stopped", 0, None)
        assert listed(address, "ps", "--running") == []
        missing = subprocess.run(
            [*COMMAND, "ps", "countd", "-b", address],
            capture_output=True, text=True, check=False, env=environment(),
        )  # fmt: skip
        assert missing.returncode == 4
        assert 'Did you mean "counted"?' in missing.stderr


def _check_listings(tmp_path: Path, address: str, served: str) -> None:
    rows = listed(address, "ps", "counted")
    assert [row["tasks"] for row in rows] == [2, 2]
    assert served.removeprefix("http://") in {row["metrics"] for row in rows}
    assert len({row["pid"] for row in rows}) == 2
    tasks = listed(address, "ps", "--tasks")
    assert {(row["topic"], row["partition"]) for row in tasks} == {
        (topic, partition)
        for topic in ("words", "counted.by-text.repartition")
        for partition in range(2)
    }
    assert sum(row["offset"] or 0 for row in tasks if row["topic"] == "words") == RECORDS
    (top,) = listed(address, "top", "--once")
    assert (top["workers"], top["tasks"], top["restoring"]) == (2, 4, 0)
    assert top["state_mb"] > 0
    assert len(listed(address, "top", "--once", "--tasks")) == 4
    (described,) = listed(address, "describe", str(tmp_path / "app.py"), "--running")
    assert described["state"] == "running"
    assert [len(sub["tasks"]) for sub in described["sub_topologies"]] == [2, 2]
    text = streamlog("describe", str(tmp_path / "app.py"), "--running", "-b", address).stdout
    assert "pipeline counted (running)" in text
