"""Several workers on one machine: one process each, started again when killed.

A worker that ends by itself has said what it had to say: done (0) ends only that worker, an error
ends them all with its exit code. A worker that was killed by a signal is started again after a
back-off, and so is one that has worked and then lost its brokers. After several quick deaths in a
row it is given up, because repairing for ever hides the fault. `RestartPolicy` decides, `supervise`
acts.

A worker holds the other end of a pipe that is its standard input: should the supervisor be killed,
the pipe ends, and the worker stops in good order instead of going on with nobody to look after it.
"""

from __future__ import annotations

import logging
import shlex
import signal
import subprocess
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import trio

from streamlog.errors import StreamlogError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[[int, int], Sequence[str]]
    """Makes a worker's command from its number and how often it was restarted."""

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
    has_worked: bool = field(default=False, init=False)
    """Whether it has lived for long before."""

    def is_over(self, code: int, lived_s: float) -> bool:
        """Says whether an end with this exit code is final."""
        self.has_worked = self.has_worked or lived_s >= QUICK_DEATH_S
        lost_its_brokers = code == UnreachableError.exit_code and self.has_worked
        return code >= 0 and not lost_its_brokers

    def died(self, lived_s: float) -> float | None:
        """Returns the seconds to wait before the next start, or nothing to give up."""
        self.quick_deaths = self.quick_deaths + 1 if lived_s < QUICK_DEATH_S else 1
        if self.quick_deaths >= QUICK_DEATHS_MAX:
            return None
        return float(min(BACKOFF_FIRST_S * 2 ** (self.quick_deaths - 1), BACKOFF_MAX_S))


async def supervise(
    command: Command, workers: int, stop: trio.Event, hurry: trio.Event | None = None
) -> int:
    """Runs `workers` processes of `command` until all are done, one fails, or `stop` is set.

    Args:
        command: Makes the command of a worker.
        workers: How many.
        stop: Asks them to end; those which take too long are killed.
        hurry: Kills them at once.

    Returns:
        The exit code: 0 if all ended well, else that of the first which failed.

    Raises:
        CrashLoopError: If a worker was killed too often.
    """
    if hurry is None:
        hurry = trio.Event()
    codes: list[int] = []
    loops: list[CrashLoopError] = []
    async with trio.open_nursery() as nursery:

        async def keep_one(number: int) -> None:
            try:
                codes.append(await _keep_running(command, number, stop, hurry))
            except CrashLoopError as error:
                loops.append(error)
            if loops or codes[-1:] not in ([], [0]):
                stop.set()

        for number in range(workers):
            nursery.start_soon(keep_one, number)
    for loop in loops:
        raise loop
    return next((code for code in codes if code != 0), 0)


async def _keep_running(command: Command, number: int, stop: trio.Event, hurry: trio.Event) -> int:
    policy = RestartPolicy()
    for restarts in count():
        started = trio.current_time()
        line = command(number, restarts)
        code = await _run_once(line, stop, hurry)
        lived_s = trio.current_time() - started
        if policy.is_over(code, lived_s) or stop.is_set():
            return max(code, 0)
        why = f"was killed by {signal.Signals(-code).name}" if code < 0 else "lost its brokers"
        delay = policy.died(lived_s)
        if delay is None:
            raise CrashLoopError(
                f"worker {number} {why}, and died so soon {QUICK_DEATHS_MAX} times in a row that "
                "it was given up",
                hint=f"Run it alone to see why: {shlex.join(line)}",
            )
        logger.warning("worker %d %s; again in %.1f s", number, why, delay)
        with trio.move_on_after(delay):
            await stop.wait()
            return 0
    raise AssertionError("there is always another restart")


async def _run_once(command: Sequence[str], stop: trio.Event, hurry: trio.Event) -> int:
    """Runs the command; when `stop` is set asks it to end, and kills it if it does not."""
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        async with process.stdin, trio.open_nursery() as nursery:

            async def ask_to_stop() -> None:
                await stop.wait()
                process.terminate()
                with trio.move_on_after(STOP_TIMEOUT_S) as patience:
                    await hurry.wait()
                if patience.cancelled_caught:
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
