"""Several workers on one machine: one process each, started again when killed.

A worker that ends by itself has said what it had to say: done (0) ends only that worker, an error
ends them all with its exit code. A worker that was killed by a signal is started again after a
back-off, and given up after several quick deaths in a row, because repairing for ever hides the
fault. `RestartPolicy` decides, `supervise` acts.
"""

from __future__ import annotations

import logging
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 10.0
QUICK_DEATH_S = 30.0
QUICK_DEATHS_MAX = 5
"""So many deaths in a row, each within `QUICK_DEATH_S` of its start, are a crash loop."""
STOP_TIMEOUT_S = 15.0
"""How long a worker may take to write its last checkpoint and to leave its group."""


class CrashLoopError(StreamlogError):
    """A worker dies again and again."""


@dataclass(slots=True)
class RestartPolicy:
    """Decides whether and when one worker is started again; times in seconds."""

    quick_deaths: int = field(default=0, init=False)

    def died(self, lived_s: float) -> float | None:
        """Returns the seconds to wait before the next start, or nothing to give up."""
        self.quick_deaths = self.quick_deaths + 1 if lived_s < QUICK_DEATH_S else 1
        if self.quick_deaths >= QUICK_DEATHS_MAX:
            return None
        return float(min(BACKOFF_FIRST_S * 2 ** (self.quick_deaths - 1), BACKOFF_MAX_S))


async def supervise(command: Sequence[str], workers: int, stop: trio.Event) -> int:
    """Runs `workers` processes of `command` until all are done, one fails, or `stop` is set.

    Returns:
        The exit code: 0 if all ended well, else that of the first which failed.

    Raises:
        CrashLoopError: If a worker was killed too often.
    """
    codes: list[int] = []
    loops: list[CrashLoopError] = []
    async with trio.open_nursery() as nursery:

        async def keep_one(number: int) -> None:
            try:
                codes.append(await _keep_running(command, number, stop))
            except CrashLoopError as error:
                loops.append(error)
            if loops or codes[-1:] not in ([], [0]):
                stop.set()

        for number in range(workers):
            nursery.start_soon(keep_one, number)
    for loop in loops:
        raise loop
    return next((code for code in codes if code != 0), 0)


async def _keep_running(command: Sequence[str], number: int, stop: trio.Event) -> int:
    policy = RestartPolicy()
    while True:
        started = trio.current_time()
        code = await _run_once(command, stop)
        if code >= 0 or stop.is_set():
            return max(code, 0)
        name = signal.Signals(-code).name
        delay = policy.died(trio.current_time() - started)
        if delay is None:
            raise CrashLoopError(
                f"worker {number} was killed {QUICK_DEATHS_MAX} times in a row, last by {name}",
                hint=f"Run it alone to see why: {' '.join(command)}",
            )
        logger.warning("worker %d was killed by %s; again in %.1f s", number, name, delay)
        with trio.move_on_after(delay):
            await stop.wait()
            return 0


async def _run_once(command: Sequence[str], stop: trio.Event) -> int:
    """Runs the command; when `stop` is set asks it to end, and kills it if it does not."""
    process = await trio.lowlevel.open_process(command, stdin=subprocess.DEVNULL)
    try:
        async with trio.open_nursery() as nursery:

            async def ask_to_stop() -> None:
                await stop.wait()
                process.terminate()
                await trio.sleep(STOP_TIMEOUT_S)
                logger.warning("a worker did not stop within %d s; killed", STOP_TIMEOUT_S)
                process.kill()

            nursery.start_soon(ask_to_stop)
            code = await process.wait()
            nursery.cancel_scope.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    return code
