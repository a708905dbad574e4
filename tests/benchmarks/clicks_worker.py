"""One run of a pipeline over the clicks, as `streamlog run --until end --drain` does it.

`python clicks_worker.py PIPELINE NAME BROKER STATE CLICKS USERS RESULTS` prints a line of JSON:
when it had its tasks and when it had committed the last checkpoint, in seconds since 1970, and the
seconds of CPU which this process took from then to its end.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import trio
from clicks_pipelines import PIPELINES

from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

LOOK_INTERVAL_S = 0.002


async def run(kind: str, name: str, broker: str, state: Path, topics: list[str]) -> None:
    """Runs it and prints."""
    pipeline = PIPELINES[kind](name, *topics)
    config = RunConfig(brokers=(broker,), state_dir=state, until_end=True, drain=True)
    status = RunStatus()
    figures = status.of(name)
    begin = cpu = 0.0

    async def watch() -> None:
        nonlocal begin, cpu
        # Figures are there to be looked at; nothing tells when they change.
        while figures.phase != "running":  # noqa: ASYNC110
            await trio.sleep(LOOK_INTERVAL_S)
        begin, cpu = time.time(), time.process_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await run_worker([pipeline], config, status, trio.Event())
        cpu = time.process_time() - cpu
        nursery.cancel_scope.cancel()
    end = (figures.last_checkpoint_ms or 0) / 1000
    print(json.dumps({"begin": begin, "end": end, "cpu_s": cpu}))


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]), sys.argv[5:8])
