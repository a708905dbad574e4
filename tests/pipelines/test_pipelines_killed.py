"""The demo with seven partitions, killed while it loads and while it works, counts all once."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import flights_recomputed as recomputed
import pytest

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

PARTITIONS = 7


def kill_demo_when(folder: Path, pattern: str, size: int) -> bool:
    """Starts the demo and kills it once logs have a size; false if it was done before."""
    arguments = ["demo", "--exit", "--data", str(folder), "--listen", "127.0.0.1:0"]
    arguments += ["--partitions", str(PARTITIONS)]
    demo = subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    deadline = time.monotonic() + TIMEOUT_S
    while demo.poll() is None and bytes_of(folder, pattern) < size:
        assert time.monotonic() < deadline, f"{pattern} has only {bytes_of(folder, pattern)} bytes"
        try:
            demo.wait(0.01)
        except subprocess.TimeoutExpired:
            continue
    demo.kill()
    return demo.wait() != 0


@pytest.mark.slow
def test_a_demo_that_is_killed_again_and_again_counts_everything_once(tmp_path: Path) -> None:
    for size in (1, 40_000_000):
        assert kill_demo_when(tmp_path, "flights-*", size)
    for size in (1, 15_000_000):
        assert kill_demo_when(tmp_path, "*.repartition-*", size)
    done = streamlog("demo", "--exit", "--data", str(tmp_path), "--listen", "127.0.0.1:0")
    assert ", 0 late" in done.stderr
    with server(tmp_path) as address:
        described = streamlog("topic", "describe", "flights", "-b", address)
        assert f"flights\t{PARTITIONS}\t336776\t" in described.stdout
        for topic, recompute in (
            ("delays-per-carrier", recomputed.delays_per_carrier),
            ("cancellations-per-origin", recomputed.cancellations_per_origin),
        ):
            results, _ = read_results(address, topic)
            assert results == recompute()
