"""The demo's pipelines under fire: killed, moved between workers, robbed of their state.

Whatever happens, in the end every result is the recomputed one, byte for byte, and there is exactly
one for each key and window. A result may come twice (outputs are at-least-once), never differently.
"""

from __future__ import annotations

import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import flights_recomputed as recomputed
import pytest
import trio

from streamlog.cli.demo.dataset import find_data
from streamlog.cli.demo.loader import Progress, load
from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import COMMAND, TIMEOUT_S, environment, read_results, server, streamlog

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
FLIGHTS_FILE = str(ROOT / "pipelines" / "flights.py")
EXPECTED = {
    "delays-per-carrier": recomputed.delays_per_carrier,
    "cancellations-per-origin": recomputed.cancellations_per_origin,
}
RUN_TO_THE_END = ("run", FLIGHTS_FILE, "--until", "end", "--drain")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the flights in it, and no pipeline run yet; copy it before use."""
    folder = tmp_path_factory.mktemp("flights")
    with server(folder) as address:
        trio.run(load_into, address)
    return folder


async def load_into(address: str) -> None:
    async with open_client(ClientConfig(brokers=(address,))) as client:
        await load(client, Admin(client), find_data(), 4, Progress())


def copied(loaded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loaded, tmp_path / "data"))


def assert_all_results(address: str) -> None:
    for topic, recompute in EXPECTED.items():
        results, _ = read_results(address, topic)
        expected = recompute()
        assert results.keys() == expected.keys()
        assert results == expected


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(),
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def kill_after(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Kills a process in the middle of its work; returns whether it was still at it."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_are_killed_come_back_and_count_nothing_twice(
    loaded: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with server(copied(loaded, tmp_path)) as address:
        run = (*RUN_TO_THE_END, "-b", address, "--state", str(tmp_path / "state"))
        for _ in range(6):
            with started(*run) as process:
                kill_after(process, rng.uniform(0.3, 2.0))
        streamlog(*run)
        assert_all_results(address)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_find_the_same_as_one(loaded: Path, tmp_path: Path, workers: int) -> None:
    with server(copied(loaded, tmp_path)) as address:
        streamlog(
            *RUN_TO_THE_END, "-b", address,
            "--workers", str(workers), "--state", str(tmp_path / "state"),
        )  # fmt: skip
        assert_all_results(address)


@pytest.mark.slow
def test_workers_that_join_and_leave_while_it_runs_change_nothing(
    loaded: Path, tmp_path: Path
) -> None:
    rng = random.Random(7)
    with server(copied(loaded, tmp_path)) as address:
        endless = ("run", FLIGHTS_FILE, "-b", address, "--state", str(tmp_path / "state"))
        for _ in range(4):
            with started(*endless) as first, started(*endless) as second:
                time_apart(first, rng.uniform(0.5, 1.5))
                second.send_signal(signal.SIGTERM)
                # On a busy machine it may not have come as far as to know how to end well.
                assert second.wait(TIMEOUT_S) in (0, -signal.SIGTERM)
                kill_after(first, rng.uniform(0.2, 1.0))
        streamlog(*RUN_TO_THE_END, "-b", address, "--state", str(tmp_path / "state"))
        assert_all_results(address)


def time_apart(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Lets a process work for a while; it must not end by itself."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)


@pytest.mark.slow
def test_a_worker_without_its_local_state_restores_it_from_the_changelog(
    loaded: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with server(copied(loaded, tmp_path)) as address:
        run = (*RUN_TO_THE_END, "-b", address, "--state", str(state))
        for seconds in (1.5, 1.5):
            with started(*run) as process:
                kill_after(process, seconds)
            shutil.rmtree(state, ignore_errors=True)
        streamlog(*run)
        assert_all_results(address)


@pytest.mark.slow
def test_a_server_that_is_killed_under_its_workers_loses_nothing(
    loaded: Path, tmp_path: Path
) -> None:
    data, state = copied(loaded, tmp_path), tmp_path / "state"
    port = _free_port()
    serve = ("server", "--data", str(data), "--listen", f"127.0.0.1:{port}")
    run = (*RUN_TO_THE_END, "-b", f"127.0.0.1:{port}", "--state", str(state))
    rng = random.Random(3)
    with started(*serve) as process:
        _wait_until_it_listens(port)
        with started(*run) as worker:
            for _ in range(3):
                kill_after(process, rng.uniform(0.5, 1.0))
                process = subprocess.Popen([*COMMAND, *serve], stderr=subprocess.DEVNULL)
                _wait_until_it_listens(port)
            worker.wait(TIMEOUT_S)
        try:
            streamlog(*run)
            assert_all_results(f"127.0.0.1:{port}")
        finally:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            continue
        return
    raise AssertionError("the server does not listen")
