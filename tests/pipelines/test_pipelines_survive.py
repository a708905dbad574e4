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
from datetime import UTC, datetime
from pathlib import Path

import flights_recomputed as recomputed
import pytest
import trio
from free_ports import free_port
from pipeline_inputs import flights_file, send, table_records

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.processing.plan.topics import KEPT

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import (
    TIMEOUT_S,
    killed_when_written,
    read_results,
    server,
    started,
    streamlog,
)

UNTIL = datetime(2013, 3, 1, tzinfo=UTC)
"""Two months, 52,000 flights; `test_pipelines_killed` has them all."""
PARTITIONS = 4
EXPECTED = {
    "delays-per-carrier": recomputed.delays_per_carrier,
    "cancellations-per-origin": recomputed.cancellations_per_origin,
}
WRITTEN = "*.repartition-*"
BYTES = 5_000_000
"""About what an undisturbed run writes there."""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the flights in it, and no pipeline run yet; copy it before use."""
    folder = tmp_path_factory.mktemp("flights")
    with server(folder) as address:
        trio.run(load_into, address)
    return folder


async def load_into(address: str) -> None:
    async with open_client(ClientConfig(brokers=(address,))) as client:
        topics = ("airlines", "flights")
        await Admin(client).create_topics(
            [NewTopic(topic, PARTITIONS, configs=KEPT) for topic in topics]
        )
        for topic in topics:
            await send(client, table_records(topic, UNTIL), PARTITIONS)


def copied(loaded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loaded, tmp_path / "data"))


def run_command(tmp_path: Path, address: str, *options: str) -> tuple[str, ...]:
    state = str(tmp_path / "state")
    return ("run", flights_file(tmp_path), "-b", address, "--state", state, *options)


TO_THE_END = ("--until", "end", "--drain")


def assert_all_results(address: str) -> None:
    for topic, recompute in EXPECTED.items():
        results, _ = read_results(address, topic)
        expected = recompute(UNTIL)
        assert results.keys() == expected.keys()
        assert results == expected


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_workers_that_are_killed_come_back_and_count_nothing_twice(
    loaded: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    data = copied(loaded, tmp_path)
    with server(data) as address:
        run = run_command(tmp_path, address, *TO_THE_END)
        more = [rng.randrange(BYTES // 8) for _ in range(6)]
        killed = [killed_when_written(data, WRITTEN, each, *run) for each in more]
        assert any(killed)
        streamlog(*run)
        assert_all_results(address)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [2, 4])
def test_several_workers_find_the_same_as_one(loaded: Path, tmp_path: Path, workers: int) -> None:
    with server(copied(loaded, tmp_path)) as address:
        streamlog(*run_command(tmp_path, address, *TO_THE_END), "--workers", str(workers))
        assert_all_results(address)


@pytest.mark.slow
def test_workers_that_join_and_leave_while_it_runs_change_nothing(
    loaded: Path, tmp_path: Path
) -> None:
    rng = random.Random(7)
    data = copied(loaded, tmp_path)
    with server(data) as address:
        endless = run_command(tmp_path, address)
        for _ in range(4):
            with started(*endless) as first, started(*endless) as second:
                time_apart(first, rng.uniform(0.5, 1.5))
                second.send_signal(signal.SIGTERM)
                # On a busy machine it may not have come as far as to know how to end well.
                assert second.wait(TIMEOUT_S) in (0, -signal.SIGTERM)
                time_apart(first, rng.uniform(0.1, 0.5))
        streamlog(*run_command(tmp_path, address, *TO_THE_END))
        assert_all_results(address)


def time_apart(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Lets a process work for a while; it must not end by itself."""
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(seconds)


@pytest.mark.slow
def test_a_worker_without_its_local_state_restores_it_from_the_changelog(
    loaded: Path, tmp_path: Path
) -> None:
    data = copied(loaded, tmp_path)
    with server(data) as address:
        run = run_command(tmp_path, address, *TO_THE_END)
        for _ in range(2):
            assert killed_when_written(data, WRITTEN, BYTES // 4, *run)
            shutil.rmtree(tmp_path / "state")
        streamlog(*run)
        assert_all_results(address)


@pytest.mark.slow
def test_a_server_that_is_killed_under_its_workers_loses_nothing(
    loaded: Path, tmp_path: Path
) -> None:
    data = copied(loaded, tmp_path)
    port = free_port()
    address = f"127.0.0.1:{port}"
    serve = ("server", "--data", str(data), "--listen", address)
    run = run_command(tmp_path, address, *TO_THE_END)
    rng = random.Random(3)
    with started(*run) as worker:
        more = [rng.randrange(BYTES // 6) for _ in range(3)]
        killed = [killed_when_written(data, WRITTEN, each, *serve) for each in more]
        assert any(killed)
        with started(*serve):
            _wait_until_it_listens(port)
            worker.wait(TIMEOUT_S)
            streamlog(*run)
            assert_all_results(address)


def _wait_until_it_listens(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 0.2).close()
        except OSError:
            continue
        return
    raise AssertionError("the server does not listen")
