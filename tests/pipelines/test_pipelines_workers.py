"""The flights with several workers, of which some are killed, and with the local state lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import flights_recomputed as recomputed
import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import (
    COMMAND,
    TIMEOUT_S,
    bytes_of,
    environment,
    read_results,
    server,
    streamlog,
)

from streamlog.cli.connection import open_connection
from streamlog.cli.demo.dataset import find_data
from streamlog.cli.demo.loader import Progress, load
from streamlog.config import load_settings

PIPELINES = str(Path(__file__).parent.parent.parent / "pipelines" / "flights.py")


def load_flights(address: str) -> None:
    async def main() -> None:
        settings = load_settings([f"brokers={address}"], environment={}, files=[])
        async with open_connection(settings) as (client, admin):
            await load(client, admin, find_data(), 4, Progress())

    trio.run(main)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_bytes(run: subprocess.Popen[bytes], folder: Path, size: int) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while bytes_of(folder, "*.repartition-*") < size:
        assert run.poll() is None, "the run ended before it had done so much"
        assert time.monotonic() < deadline
        try:
            run.wait(0.01)
        except subprocess.TimeoutExpired:
            continue


@pytest.mark.slow
def test_killed_workers_and_lost_state_change_no_result(tmp_path: Path) -> None:
    data, state = tmp_path / "data", tmp_path / "state"
    with server(data) as address:
        load_flights(address)
        arguments = ["run", PIPELINES, "-b", address, "--state", str(state)]
        arguments += ["--until", "end", "--drain", "--quiet"]
        run = subprocess.Popen([*COMMAND, *arguments, "--workers", "2"], env=environment())
        wait_for_bytes(run, data, 10_000_000)
        first, second = children_of(run.pid)
        os.kill(first, signal.SIGKILL)
        wait_for_bytes(run, data, 25_000_000)
        os.kill(second, signal.SIGKILL)
        wait_for_bytes(run, data, 35_000_000)
        workers = children_of(run.pid)
        run.kill()
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        run.wait(TIMEOUT_S)
        shutil.rmtree(state)
        streamlog(*arguments, "--workers", "3")
        for topic, recompute in (
            ("delays-per-carrier", recomputed.delays_per_carrier),
            ("cancellations-per-origin", recomputed.cancellations_per_origin),
        ):
            results, _ = read_results(address, topic)
            assert results == recompute()
