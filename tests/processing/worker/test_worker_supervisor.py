"""Supervision: done is done, an error ends all, a killed worker comes back, but not for ever."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from streamlog.processing.worker import supervisor
from streamlog.processing.worker.supervisor import CrashLoopError, RestartPolicy, supervise

if TYPE_CHECKING:
    from pathlib import Path


def python(code: str, *args: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, args)]


def test_quick_deaths_back_off_and_then_give_up() -> None:
    policy = RestartPolicy()
    delays = [policy.died(0.1) for _ in range(supervisor.QUICK_DEATHS_MAX)]
    assert delays[:4] == [0.2, 0.4, 0.8, 1.6]
    assert delays[-1] is None


def test_a_long_life_is_forgiven() -> None:
    policy = RestartPolicy()
    for _ in range(100):
        assert policy.died(supervisor.QUICK_DEATH_S + 1) == supervisor.BACKOFF_FIRST_S


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
