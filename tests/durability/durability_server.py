"""A `streamlog server` in a process of its own, to be killed, starved and lied to.

What it says on stderr is read by a thread, so that a test waits for a line and not for a while.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from free_ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
READY = r"ready on 127\.0\.0\.1:(\d+)"
POLL_INTERVAL_S = 0.01


def environment() -> dict[str, str]:
    """The caller's, without settings of a broker that somebody uses."""
    return {name: text for name, text in os.environ.items() if not name.startswith("STREAMLOG_")}


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 30) -> None:
    """Returns as soon as the condition holds; fails after the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(POLL_INTERVAL_S)


class Transcript:
    """The lines that a process has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._has_ended = False
        self._process = process
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def find(self, pattern: str, start: int = 0) -> re.Match[str] | None:
        return re.search(pattern, "\n".join(self.lines[start:]))

    def wait_for(self, pattern: str, *, start: int = 0, timeout_s: float = 30) -> re.Match[str]:
        """Waits for a line, from line `start` on."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while (found := self.find(pattern, start)) is None:
                left = deadline - time.monotonic()
                assert left > 0, f"nothing like {pattern!r} was said in {timeout_s} s:\n{self.text}"
                assert not self._has_ended, f"it ended without {pattern!r}:\n{self.text}"
                self._changed.wait(left)
        return found


class ServerProcess:
    """Starts a server on one data folder and one port, as often as it is killed."""

    def __init__(
        self,
        data: Path,
        *,
        command: Sequence[str] = (sys.executable, "-m", "streamlog", "server"),
        prefix: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> None:
        self.data = data
        self.port = free_port()
        self._prefix, self._command, self._options = tuple(prefix), tuple(command), tuple(options)
        self._process: subprocess.Popen[str] | None = None
        self.transcript: Transcript
        self.transcripts: list[Transcript] = []

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._process is None:
            return
        if kind is None:
            self.stop()
            for transcript in self.transcripts:
                # An error that nobody foresaw is a defect, whatever the test was about.
                assert "Traceback" not in transcript.text, transcript.text
        else:
            self.kill()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it is ready to serve."""
        self.spawn()
        self.wait_ready()

    def spawn(self) -> None:
        assert self._process is None
        self._process = subprocess.Popen(
            [*self._prefix, *self._command, "--data", str(self.data), "--listen", self.address,
             *self._options],
            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=environment(),
        )  # fmt: skip
        self.transcript = Transcript(self._process)
        self.transcripts.append(self.transcript)

    def wait_ready(self) -> None:
        self.transcript.wait_for(READY, timeout_s=START_TIMEOUT_S)

    def kill(self) -> None:
        """Ends it as a crash of the process does."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it as an operator does."""
        assert self._end(signal.SIGTERM) == 0, self.transcript.text

    def wait_ended(self, timeout_s: float = STOP_TIMEOUT_S) -> int:
        """Waits for an end that it comes to by itself; returns its exit code."""
        assert self._process is not None
        process, self._process = self._process, None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"it did not end:\n{self.transcript.text}")
        self.transcript.thread.join(STOP_TIMEOUT_S)
        assert process.stderr is not None
        process.stderr.close()
        return code

    def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        assert self._process.poll() is None, f"it had ended by itself:\n{self.transcript.text}"
        self._process.send_signal(how)
        return self.wait_ended()

    def restart(self) -> None:
        self.kill()
        self.start()

    def resident_bytes(self) -> int:
        """How much memory it holds now."""
        return self._status_bytes("VmRSS")

    def peak_bytes(self) -> int:
        """How much memory it has ever held at once."""
        return self._status_bytes("VmHWM")

    def _status_bytes(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def connection_count(self) -> int:
        """How many sockets are connected to its port, as the system sees it."""
        count = 0
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            count += int(local.split(":")[1], 16) == self.port and state == "01"
        return count

    def partition_dirs(self) -> set[str]:
        """The names of the partitions' directories."""
        return {
            path.name
            for path in self.data.iterdir()
            if path.is_dir() and re.fullmatch(r"[a-zA-Z0-9._-]+-\d+", path.name)
        }
