"""Supervision: done is done, an error ends all, a killed worker comes back, but not for ever."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from streamlog.errors import RefusedError, UnreachableError
from streamlog.processing.worker import supervisor
from streamlog.processing.worker.supervisor import CrashLoopError, RestartPolicy, supervise

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def python(code: str, *args: object) -> Callable[[int, int], list[str]]:
    """The command of workers that run this code; their number and restarts are its last words."""
    return lambda number, restarts: [
        *(sys.executable, "-c", code, *map(str, args)),
        *(str(number), str(restarts)),
    ]


def test_quick_deaths_back_off_and_then_give_up() -> None:
    policy = RestartPolicy()
    delays = [policy.died(0.1) for _ in range(supervisor.QUICK_DEATHS_MAX)]
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] is None


def test_a_long_life_is_forgiven() -> None:
    policy = RestartPolicy()
    for _ in range(100):
        assert policy.died(supervisor.QUICK_DEATH_S + 1) == supervisor.BACKOFF_FIRST_S


def test_a_worker_that_loses_its_brokers_comes_back_only_if_it_had_worked() -> None:
    policy = RestartPolicy()
    assert policy.is_over(UnreachableError.exit_code, 1.0)
    assert policy.is_over(0, 100.0)
    assert not policy.is_over(UnreachableError.exit_code, 1.0)
    assert not policy.is_over(-signal.SIGSEGV, 1.0)
    assert policy.is_over(RefusedError.exit_code, 100.0)


async def test_workers_that_are_done_end_the_run() -> None:
    with trio.fail_after(30):
        assert await supervise(python("pass"), 2, trio.Event()) == 0


async def test_a_worker_that_fails_ends_the_others_with_its_code(tmp_path: Path) -> None:
    code = """
import os, sys, time
try:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    time.sleep(60)
sys.exit(6)
"""
    with trio.fail_after(30):
        assert await supervise(python(code, tmp_path / "first"), 2, trio.Event()) == 6


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    code = """
import os, signal, sys
try:
    os.close(os.open(sys.argv[1], os.O_CREAT | os.O_EXCL))
except FileExistsError:
    sys.exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    with trio.fail_after(30):
        assert await supervise(python(code, tmp_path / "once"), 1, trio.Event()) == 0
    assert (tmp_path / "once").exists()


async def test_a_worker_is_told_its_number_and_restarts(tmp_path: Path) -> None:
    code = """
import os, pathlib, signal, sys
folder, number, restarts = sys.argv[1:]
(pathlib.Path(folder) / f"{number}-{restarts}").touch()
if restarts == "0":
    os.kill(os.getpid(), signal.SIGKILL)
"""
    with trio.fail_after(30):
        assert await supervise(python(code, tmp_path), 2, trio.Event()) == 0
    assert sorted(os.listdir(tmp_path)) == ["0-0", "0-1", "1-0", "1-1"]


async def test_a_crash_loop_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF_FIRST_S", 0.001)
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    with trio.fail_after(30), pytest.raises(CrashLoopError, match="SIGKILL"):
        await supervise(python(code), 1, trio.Event())


async def test_stop_ends_workers_that_run(nursery: trio.Nursery, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    code = """
import signal, sys, pathlib
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
pathlib.Path(sys.argv[1]).touch()
signal.pause()
"""
    stop = trio.Event()

    async def stop_when_ready() -> None:
        while not ready.exists():  # noqa: ASYNC110 (another process makes it)
            await trio.sleep(0.01)
        stop.set()

    nursery.start_soon(stop_when_ready)
    with trio.fail_after(30):
        assert await supervise(python(code, ready), 1, stop) == 0


STUBBORN = """
import pathlib, signal, sys
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path(sys.argv[1] + ".asked").touch())
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""


async def test_who_is_in_a_hurry_kills_workers_that_take_their_time(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    stop, hurry = trio.Event(), trio.Event()

    async def ask_twice() -> None:
        for path, event in ((tmp_path / "ready", stop), (tmp_path / "ready.asked", hurry)):
            while not path.exists():  # noqa: ASYNC110 (another process makes it)
                await trio.sleep(0.01)
            event.set()

    nursery.start_soon(ask_twice)
    with trio.fail_after(10):
        assert await supervise(python(STUBBORN, tmp_path / "ready"), 1, stop, hurry) == 0


async def test_a_worker_notices_when_its_supervisor_dies(tmp_path: Path) -> None:
    worker = """
import pathlib, sys
pathlib.Path(sys.argv[1]).touch()
sys.stdin.buffer.read()
pathlib.Path(sys.argv[1] + ".over").touch()
"""
    supervising = f"""
import trio
from streamlog.processing.worker.supervisor import supervise
command = {[sys.executable, "-c", worker, str(tmp_path / "ready")]!r}
trio.run(supervise, lambda number, restarts: command, 1, trio.Event())
"""
    process = await trio.lowlevel.open_process([sys.executable, "-c", supervising])
    with trio.fail_after(30):
        while not (tmp_path / "ready").exists():  # noqa: ASYNC110 (another process makes it)
            await trio.sleep(0.01)
        process.kill()
        await process.wait()
        while not (tmp_path / "ready.over").exists():  # noqa: ASYNC110 (another process makes it)
            await trio.sleep(0.01)
