"""One run of the pipeline `days` to the end of its input; its windows stay open.

`python state_worker.py NAME BROKER STATE CLICKS RESULTS` prints a line of JSON: how many records
were read from changelogs to restore the state, and the seconds which that took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from clicks_pipelines import PIPELINES

from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from streamlog.processing.worker.status import RestoreFigures

LOOK_INTERVAL_S = 0.002


async def run(name: str, broker: str, state: Path, clicks: str, results: str) -> None:
    """Runs it and prints."""
    pipeline = PIPELINES["days"](name, clicks, "", results)
    config = RunConfig(brokers=(broker,), state_dir=state, until_end=True)
    status = RunStatus()
    figures = status.of(name)
    seen: list[RestoreFigures] = []
    begin = end = 0.0

    async def watch() -> None:
        nonlocal begin, end
        # Figures are there to be looked at; nothing tells when they change.
        while True:
            now = time.perf_counter()
            if figures.restores:
                begin = begin or now
                seen[:] = {id(each): each for each in [*seen, *figures.restores.values()]}.values()
            elif begin and not end:
                end = now
            await trio.sleep(LOOK_INTERVAL_S)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await run_worker([pipeline], config, status, trio.Event())
        nursery.cancel_scope.cancel()
    print(json.dumps({"restored": sum(each.records for each in seen), "seconds": end - begin}))


if __name__ == "__main__":
    trio.run(run, sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4], sys.argv[5])
