"""Warm copies: they follow their tasks, take over with nothing to restore, and are let go of."""

from __future__ import annotations

import fcntl
import glob
import os
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import trio
from live_cluster import EVENTS, PARTITIONS, Cluster, cluster, totals

from streamlog.client.values import TopicPartition
from streamlog.processing.worker import keeper, placement, standby
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import PipelineStatus, RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TASKS = {
    TaskName(sub, partition) for sub in ("events", "by-key") for partition in range(PARTITIONS)
}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """State of some hundred rows counts as large, and nobody waits for long."""
    monkeypatch.setattr(placement, "LAG_ACCEPTABLE", 20)
    monkeypatch.setattr(standby, "LAG_ACCEPTABLE", 20)
    monkeypatch.setattr(standby, "SETTLE_INTERVAL_S", 0.05)
    monkeypatch.setattr(keeper, "LOOK_INTERVAL_S", 0.05)
    monkeypatch.setattr(keeper, "PROBE_INTERVAL_S", 0.2)


@asynccontextmanager
async def working(it: Cluster, machine: str, standbys: int = 0) -> AsyncIterator[PipelineStatus]:
    """A worker with a state folder of its own, as on another machine."""
    config = replace(it.config(until_end=False), state_dir=it.folder / machine, standbys=standbys)
    status, stop = RunStatus(), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_worker, (totals,), config, status, stop)
        yield status.of("totals")
        stop.set()


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(40):
        while not condition():  # noqa: ASYNC110 (several tasks bring it about)
            await trio.sleep(0.02)


async def caught_up(it: Cluster) -> None:
    with trio.fail_after(40):
        while True:
            offsets = await it.admin.group_offsets("totals")
            at = [offsets.get(TopicPartition(EVENTS, each)) for each in range(PARTITIONS)]
            if all(each is not None and each.offset == it.sent for each in at):
                return
            await trio.sleep(0.02)


def warm(status: PipelineStatus) -> bool:
    """Whether every task that does not run here has a copy here, up to its changelog's end."""
    others = TASKS - status.by_task.keys()
    return others == status.standbys.keys() and all(
        copy.end > 0 and not copy.left for copy in status.standbys.values()
    )


async def test_copies_follow_their_tasks_and_take_over_with_nothing_to_restore(
    tmp_path: Path,
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        async with working(it, "x", standbys=1) as here:
            async with working(it, "y", standbys=1) as there:
                await until(lambda: len(here.by_task) == len(there.by_task) == 2)
                await it.send_events(400)
                await caught_up(it)
                await until(lambda: warm(here) and warm(there))
                before = here.restored_records
            await until(lambda: here.by_task.keys() == TASKS and not here.restores)
            assert here.restored_records - before <= 20
            # There is nobody left to keep copies for.
            await until(lambda: not here.standbys)
            await it.send_events(100)
            await caught_up(it)
        await it.run(drain=True)
        await it.assert_right()


async def test_a_task_moves_to_a_new_machine_once_its_copy_is_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        async with working(it, "x") as here:
            await caught_up(it)
            await until(lambda: here.by_task.keys() == TASKS)
            began = {name: figures.records_in for name, figures in here.by_task.items()}
            async with working(it, "y") as there:
                await until(lambda: len(here.by_task) == len(there.by_task) == 2)
                # Those that stay were never interrupted: they count on.
                stay = here.by_task.keys()
                assert all(here.by_task[name].records_in >= began[name] for name in stay)
                await it.send_events(200)
                await caught_up(it)
        await it.run(drain=True)
        await it.assert_right()


async def test_a_copy_is_handed_to_another_worker_of_its_machine(tmp_path: Path) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        async with working(it, "x", standbys=1) as here, working(it, "y", standbys=1) as there:
            await until(lambda: len(here.by_task) == len(there.by_task) == 2)
            await caught_up(it)
            await until(lambda: warm(here) and warm(there))
            async with working(it, "y", standbys=1) as beside:
                await until(lambda: len(beside.by_task) == 1 and not beside.restores)
                assert beside.restored_records <= 20
            await it.send_events(100)
            await caught_up(it)
        assert not glob.glob(f"{tmp_path}/*/*/totals/copy-*")
        await it.run(drain=True)
        await it.assert_right()


async def test_a_copy_that_cannot_be_kept_does_not_touch_the_tasks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with cluster(tmp_path) as it:
        await it.send_events(400)
        cluster_id = (await it.admin.describe_cluster()).cluster_id
        assert cluster_id is not None
        locks = hold_all(tmp_path / "y" / cluster_id / "totals")
        async with working(it, "x", standbys=1) as here, working(it, "y", standbys=1) as there:
            await until(lambda: len(here.by_task) == len(there.by_task) == 2)
            await until(lambda: caplog.text.count("no warm copy of task") >= 2)
            await until(lambda: warm(here))
            assert not there.standbys
            await caught_up(it)
        for lock in locks:
            os.close(lock)
        copies = glob.glob(f"{tmp_path}/y/*/totals/copy-1/*/*")
        assert len(copies) == 2
        # The copies beside the state go once somebody has the state itself.
        async with working(it, "y") as there:
            await until(lambda: there.by_task.keys() == TASKS)
        assert not glob.glob(f"{tmp_path}/y/*/totals/copy-1")
        await it.run(drain=True)
        await it.assert_right()


def hold_all(folder: Path) -> list[int]:
    """Holds the state of every task in a folder, as paused workers would."""
    locks = []
    for name in sorted(TASKS):
        home = folder / name.sub_topology / str(name.partition)
        home.mkdir(parents=True)
        locks.append(os.open(home / "owner.lock", os.O_CREAT | os.O_RDWR))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
    return locks
