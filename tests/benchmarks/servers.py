"""Brokers under measurement, each in a process of its own on a free port."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from free_ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_TIMEOUT_S = 30


@contextmanager
def streamlog_server(data: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], float]]:
    """Runs `streamlog server`; yields address, process and the seconds until it answered."""
    port = free_port()
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlog", "server", "--data", data,
         "--listen", f"127.0.0.1:{port}"],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                break
            except OSError:
                if process.poll() is not None or time.perf_counter() - begin > START_TIMEOUT_S:
                    raise RuntimeError("streamlog server did not start") from None
                time.sleep(0.005)
        yield f"127.0.0.1:{port}", process, time.perf_counter() - begin
    finally:
        process.terminate()
        process.wait(30)
