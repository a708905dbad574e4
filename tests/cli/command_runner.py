"""Runs the `streamlog` command as a user does: in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from streamlog.cli.main import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

Results = dict[tuple[str, str], dict[str, Any]]
"""By key and start of the window, the JSON value of the record."""

COMMAND = [sys.executable, "-m", "streamlog"]
TIMEOUT_S = 240


def environment() -> dict[str, str]:
    """The caller's, without settings that would lead to somebody's own broker."""
    return {name: text for name, text in os.environ.items() if not name.startswith("STREAMLOG_")}


def streamlog(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end; it must succeed."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env=environment(),
    )
    assert done.returncode == 0, done.stderr
    return done


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a command; kills it at last, if it still runs."""
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def server(data: Path) -> Iterator[str]:
    """Serves a data folder; yields the address."""
    process = subprocess.Popen(
        [*COMMAND, "server", "--data", str(data), "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        ready = re.search(r"ready on (\S+:\d+),", line)
        assert ready, line + process.stderr.read()
        yield ready[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.stderr.close()
        assert process.wait(TIMEOUT_S) == 0


def read_results(address: str, topic: str) -> tuple[Results, int]:
    """Returns a topic's results by key and start, and how many records they came in.

    A result that comes again must be the same again.
    """
    done = streamlog("consume", topic, "-o", ":end", "-J", "-b", address)
    results: Results = {}
    lines = done.stdout.splitlines()
    for line in lines:
        envelope = json.loads(line)
        result = json.loads(envelope["payload"])
        identity = (envelope["key"], result["start"])
        assert results.setdefault(identity, result) == result
    return results, len(lines)


def bytes_of(folder: Path, pattern: str) -> int:
    """The size of the logs of the topics whose folders match; they may go away while we look."""
    total = 0
    for path in folder.glob(f"{pattern}/*.log"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def killed_when_written(folder: Path, pattern: str, more: int, *arguments: str) -> bool:
    """Runs a command, and kills it once the topics of a pattern have so many bytes more.

    Returns whether it was still at it.
    """
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    size, deadline = bytes_of(folder, pattern) + more, time.monotonic() + TIMEOUT_S
    try:
        while process.poll() is None and bytes_of(folder, pattern) < size:
            assert time.monotonic() < deadline, f"{pattern} has not {size} bytes"
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.005)
    finally:
        process.kill()
        process.wait()
    return process.returncode == -signal.SIGKILL


class Shell:
    """Runs commands in this process; a command must end with the code that is expected."""

    def __init__(
        self, address: str, capsys: pytest.CaptureFixture[str], feed: Callable[[str], None]
    ) -> None:
        self.address = address
        self.err = ""
        self._capsys = capsys
        self._feed = feed

    def __call__(self, *arguments: str, stdin: str = "", code: int = 0) -> str:
        self._feed(stdin)
        self._capsys.readouterr()
        ended = run([*arguments, "-b", self.address])
        out, self.err = self._capsys.readouterr()
        assert ended == code, self.err
        return out

    def json(self, *arguments: str) -> object:
        return json.loads(self(*arguments, "--format", "json"))
