"""How `run` is stopped, and what it does while its broker is away."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from command_runner import COMMAND, TIMEOUT_S, environment, streamlog

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

@pipeline
def counted(words: Stream[Word]) -> Output:
    days = words.key_by(text).window(tumbling(timedelta(days=1)))
    return days.aggregate(Seen, times=count()).to("counts")

@pipeline
def copied(words: Stream[Word]) -> Output:
    return words.filter(lambda word: len(word.text) / 1 > 0).to("copies")
"""
STOP_S = 10.0


class Broker:
    """A server process that comes and goes at one address."""

    def __init__(self, data: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self._command = [*COMMAND, "server", "--data", str(data), "--listen", self.address]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stderr=subprocess.PIPE, text=True, env=environment()
        )
        assert self._process.stderr is not None
        assert "ready on" in self._process.stderr.readline()

    def kill(self) -> None:
        assert self._process.stderr is not None
        self._process.kill()
        self._process.stderr.close()
        self._process.wait()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "data")
    streamlog("topic", "create", "words", "-p", "2", "-b", broker.address)
    (tmp_path / "app.py").write_text(APP)
    yield broker
    broker.kill()


@contextmanager
def running(tmp_path: Path, address: str, *more: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "run", str(tmp_path / "app.py"), "-b", address, "--state",
         str(tmp_path / "state"), *more],
        stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def produce(address: str, number: int) -> None:
    subprocess.run(
        [*COMMAND, "produce", "words", "-b", address],
        input='{"text": "tree"}\n' * number,
        text=True, check=True, capture_output=True, timeout=TIMEOUT_S, env=environment(),
    )  # fmt: skip


def wait_for_copies(address: str, number: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        seen = subprocess.run(
            [*COMMAND, "consume", "copies", "-o", ":end", "-b", address],
            capture_output=True, text=True, check=False, timeout=TIMEOUT_S, env=environment(),
        )  # fmt: skip
        if seen.stdout.count("tree") >= number:
            return
    raise AssertionError(f"the worker did not copy {number} records")


def stopped(process: subprocess.Popen[str], *signals: signal.Signals) -> tuple[int, float]:
    """Sends signals; returns the exit code, and how long the end took."""
    began = time.monotonic()
    for each in signals:
        process.send_signal(each)
        time.sleep(0.2)
    return process.wait(TIMEOUT_S), time.monotonic() - began


@pytest.mark.slow
def test_a_stop_takes_the_last_checkpoint_and_leaves_in_time(
    tmp_path: Path, broker: Broker
) -> None:
    produce(broker.address, 10)
    with running(tmp_path, broker.address) as process:
        wait_for_copies(broker.address, 10)
        code, took_s = stopped(process, signal.SIGTERM)
    assert code == 0
    assert took_s < STOP_S
    assert "Empty" in streamlog("group", "list", "-b", broker.address).stdout
    done = streamlog(
        "run", str(tmp_path / "app.py"), "-b", broker.address,
        "--state", str(tmp_path / "state"), "--until", "end", "--drain",
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    counts = streamlog("consume", "counts", "-o", ":end", "-b", broker.address).stdout
    assert '"times":10' in counts
    assert streamlog("consume", "copies", "-o", ":end", "-b", broker.address).stdout.count(
        "tree"
    ) == 10  # fmt: skip


@pytest.mark.slow
def test_a_worker_outlives_its_broker_and_can_be_stopped_without_it(
    tmp_path: Path, broker: Broker
) -> None:
    produce(broker.address, 10)
    with running(tmp_path, broker.address) as process:
        wait_for_copies(broker.address, 10)
        broker.kill()
        time.sleep(1)
        broker.start()
        produce(broker.address, 10)
        wait_for_copies(broker.address, 20)
        broker.kill()
        code, took_s = stopped(process, signal.SIGTERM)
        assert code == 0
        assert took_s < STOP_S + 1
    with running(tmp_path, broker.address) as process:
        assert process.wait(TIMEOUT_S) == 3
        assert process.stderr is not None
        assert process.stderr.read().splitlines()[-1].startswith(
            f"streamlog: nobody answers at {broker.address}"
        )  # fmt: skip
    broker.start()


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_who_asks_twice_is_not_kept_waiting(
    tmp_path: Path, broker: Broker, asked: signal.Signals, workers: int
) -> None:
    produce(broker.address, 10)
    with running(tmp_path, broker.address, "--workers", str(workers)) as process:
        wait_for_copies(broker.address, 10)
        broker.kill()
        code, took_s = stopped(process, asked, asked)
    # 0: the last checkpoint was over before the second signal; 130: the workers were killed.
    assert code in (0, -asked, 130)
    assert took_s < 3
    broker.start()


@pytest.mark.slow
def test_a_pipeline_that_fails_names_the_record_and_the_other_goes_on(
    tmp_path: Path, broker: Broker
) -> None:
    broken = APP.replace("len(word.text) / 1", "len(word.text) / 0")
    (tmp_path / "app.py").write_text(broken)
    produce(broker.address, 10)
    with running(tmp_path, broker.address, "--until", "end", "--drain") as process:
        assert process.wait(TIMEOUT_S) == 1
        assert process.stderr is not None
        last = process.stderr.read().splitlines()[-1]
    assert "app.py:22) failed" in last
    assert "of words partition" in last
    assert "ZeroDivisionError: division by zero" in last
    assert "See it: streamlog consume words -p" in last
    assert '"times":10' in streamlog("consume", "counts", "-o", ":end", "-b", broker.address).stdout
    (tmp_path / "app.py").write_text(APP)
    with running(tmp_path, broker.address, "--until", "end", "--drain") as process:
        assert process.wait(TIMEOUT_S) == 0
    assert streamlog("consume", "copies", "-o", ":end", "-b", broker.address).stdout.count(
        "tree"
    ) == 10  # fmt: skip
