"""A real process on the real disk, killed while it writes: nothing promised is missing."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

from log_support import read_all

from streamlog.broker.log.disk import OsDisk
from streamlog.broker.log.manager import open_log_manager
from streamlog.doors import SystemClock, WorkerThreads

if TYPE_CHECKING:
    from pathlib import Path

WRITER = """
import sys, time, uuid
from pathlib import Path
import trio
from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.disk import OsDisk
from streamlog.broker.log.manager import open_log_manager
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.records.codec import encode_batch

async def main():
    path = Path(sys.argv[1])
    async with open_log_manager(path, OsDisk(), WorkerThreads(4), SystemClock()) as logs:
        await logs.create("orders", uuid.UUID(int=1), 2, LogConfig(segment_bytes=50_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, logs, 0)
            nursery.start_soon(write, logs, 1)

async def write(logs, partition):
    log = logs.get("orders", partition)
    while True:
        values = [b"%d" % (log.log_end_offset + n) + b"." * 200 for n in range(7)]
        now_ms = time.time_ns() // 1_000_000
        batch = encode_batch([None] * 7, values, [now_ms] * 7)
        info = log.append(batch, now_ms=now_ms)
        await logs.wait_flushed(log, info.last_offset + 1)
        print(partition, info.last_offset, flush=True)

trio.run(main)
"""


def run_and_kill(folder: Path, lines: int, acknowledged: list[int]) -> None:
    """Lets a server write until it has acknowledged so often; notes what it said to the end."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.read().splitlines()[:-1]  # the very last may be half a line
    for line in said:
        partition, offset = map(int, line.split())
        acknowledged[partition] = max(acknowledged[partition], offset)


async def test_a_killed_server_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    acknowledged = [-1, -1]
    for life in range(3):
        run_and_kill(tmp_path, 150 + 31 * life, acknowledged)
        async with open_log_manager(tmp_path, OsDisk(), WorkerThreads(2), SystemClock()) as logs:
            assert not logs.was_clean
            assert logs.failures == {}
            for partition in range(2):
                log = logs.get("orders", partition)
                assert log is not None
                assert log.log_end_offset > acknowledged[partition] > 0
                for offset, value in read_all(log).items():
                    assert value is not None
                    assert int(value.split(b".")[0]) == offset
