"""Rewinds over a broker, with a real worker before and behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent.parent / "worker"))

from live_cluster import Cluster, cluster, totals

from streamlog.client.values import TopicPartition
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.errors import RefusedError
from streamlog.processing.errors import HistoryError
from streamlog.processing.rewind import rewinder
from streamlog.processing.rewind.intent import load_intent
from streamlog.processing.rewind.outline import decode_outline, outline_of
from streamlog.processing.rewind.rewinder import execute_rewind, plan_rewind
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime
from streamlog.processing.rewind.world import RewindWorld
from streamlog.processing.state.store import open_task_store
from streamlog.processing.state.view import open_view, task_folders
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.client.admin.values import TopicDescription
    from streamlog.processing.rewind.decide import Decision
    from streamlog.processing.rewind.procedure import Step
    from streamlog.processing.rewind.target import Target

OUTLINE = outline_of(totals.plan())
Rows = dict[tuple[str, int], list[tuple[bytes, bytes]]]


async def around(there: Cluster) -> RewindWorld:
    described = await there.admin.describe_cluster()
    folder = there.folder / "state" / (described.cluster_id or "") / "totals"
    return RewindWorld(
        client=there.client, clock=SystemClock(), threads=WorkerThreads(2), folder=folder
    )


async def rewind(there: Cluster, target: Target, *, rebuild: bool = False) -> Decision:
    return await execute_rewind(
        await around(there), OUTLINE, target, text="somewhere", rebuild=rebuild
    )


def rows(folder: Path) -> Rows:
    found: Rows = {}
    for sub, partition, home in task_folders(folder):
        with open_view(home) as view:
            assert view is not None
            found[sub, partition] = view.rows()
    return found


async def run_some(there: Cluster, times: int = 3) -> None:
    for _ in range(times):
        await there.send_events(150)
        await there.run()


async def test_state_and_positions_go_back_together_and_come_out_right(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        world = await around(there)
        before = rows(world.folder)
        planned = await plan_rewind(world, OUTLINE, Back(1))
        done = await rewind(there, Back(1))
        assert [c.name for c in planned.choices if c.touched] == [
            c.name for c in done.choices if c.touched
        ]
        sources = [choice for choice in done.choices if choice.name.sub_topology == "events"]
        assert any(choice.moved for choice in sources)
        committed = await there.admin.group_offsets("totals")
        for choice in sources:
            (read,) = choice.inputs
            assert committed[TopicPartition(read.topic, choice.name.partition)].offset == (
                read.read_from
            )
        await there.run()
        assert rows(world.folder) == before
        await there.run(drain=True)
        await there.assert_right()


async def test_the_changelogs_alone_give_the_rewound_state(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        world = await around(there)
        before = rows(world.folder)
        await rewind(there, Edge.START)
        assert not any(rows(world.folder).values())
        shutil.rmtree(world.folder)
        await there.run()
        assert rows(world.folder) == before
        await there.run(drain=True)
        await there.assert_right()


async def test_by_event_time_sources_stand_before_it(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        decision = await rewind(there, EventTime(1_002_000))
        for choice in decision.choices:
            if choice.name.sub_topology == "events":
                seen = choice.to.meta.stream_time_ms
                assert seen is not None
                assert 1_001_000 < seen < 1_002_000
        await there.run(drain=True)
        await there.assert_right()


async def test_without_history_only_a_rebuild_goes_back(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        world = await around(there)
        shutil.rmtree(world.folder)
        with pytest.raises(HistoryError, match=r"events\[0\].* does not reach back.*--rebuild"):
            await rewind(there, Back(1))
        await rewind(there, Back(1), rebuild=True)
        await there.run(drain=True)
        await there.assert_right()


async def test_a_pipeline_that_runs_is_not_rewound(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there, 1)
        stop, status = trio.Event(), RunStatus()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_worker, (totals,), there.config(until_end=False), status, stop)
            with trio.fail_after(20):
                while status.of("totals").phase != "running":  # noqa: ASYNC110
                    await trio.sleep(0.01)
            with pytest.raises(RefusedError, match=f"is running: process {os.getpid()} on "):
                await rewind(there, Back(1))
            stop.set()


PROGRAM = """
import fcntl, os, sys
lock = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
os.pwrite(lock, f"{os.getpid()}\\n".encode(), 0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.communicate()


async def test_a_worker_that_has_a_seat_and_another_rewind_hold_it_up(
    tmp_path: Path, holder: list[subprocess.Popen[str]]
) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there, 1)
        world = await around(there)
        for name, said in {
            "rewind.lock": "is under way",
            "workers/7.lock": "on this machine",
        }.items():
            process = subprocess.Popen(  # noqa: ASYNC220 (it is as quick)
                [sys.executable, "-c", PROGRAM, str(world.folder / name)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            holder.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(RefusedError, match=f"process {process.pid}|{said}"):
                await rewind(there, Back(1))
            process.communicate()


def topic_id(found: dict[str, TopicDescription]) -> str:
    return next(iter(found.values())).topic_id


class DiedError(Exception):
    """The rewind was killed here."""


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, 5, 10])
@pytest.mark.parametrize("by", ["run", "rewind"])
async def test_whoever_comes_next_finishes_what_was_cut_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, by: str
) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        world = await around(there)
        before = rows(world.folder)
        with monkeypatch.context() as patch:
            patch.setattr(rewinder._Rewinding, "_take", dying(steps))
            with pytest.raises(DiedError):
                await rewind(there, Back(1))
        assert load_intent(world.folder) is not None
        if by == "rewind":
            await rewind(there, Edge.END)
            assert rows(world.folder) != before
        await there.run()
        assert load_intent(world.folder) is None
        assert rows(world.folder) == before
        await there.run(drain=True)
        await there.assert_right()


def without_history(folder: Path, ids: dict[str, str]) -> int:
    """Takes a snapshot of every task and forgets what came before; returns the newest's time."""
    times: list[int] = []
    for sub, partition, _ in task_folders(folder):
        store = open_task_store(folder, sub, partition, identity=ids[f"totals.{sub}.changelog"])
        if not store.snapshots():
            store.take_snapshot()
        times.append(store.about.time_ms)
        store._transact(lambda txn: txn.drop(store._history, delete=False) or [])  # noqa: B023
        store.close()
    return max(times)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [2, 5, 10, None])
async def test_a_rebuild_from_snapshots_that_is_killed_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int | None
) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there, 2)
        world = await around(there)
        ids = {
            name: each.topic_id
            for name, each in (await there.admin.describe_topics(OUTLINE.topics)).items()
        }
        middle = rows(world.folder)
        target = ClockTime(without_history(world.folder, ids))
        await run_some(there, 2)
        before = rows(world.folder)
        without_history(world.folder, ids)
        with pytest.raises(HistoryError, match="does not reach"):
            await rewind(there, target)
        with monkeypatch.context() as patch:
            if steps is None:
                decision = await rewind(there, target, rebuild=True)
                assert any(choice.from_snapshot for choice in decision.choices)
                assert not any(choice.anew for choice in decision.choices)
                assert rows(world.folder) == middle
                # The changelogs tell the same.
                shutil.rmtree(world.folder)
                await rewind(there, Edge.END)
                assert rows(world.folder) == middle
            else:
                patch.setattr(rewinder._Rewinding, "_take", dying(steps))
                with pytest.raises(DiedError):
                    await rewind(there, target, rebuild=True)
        await there.run()
        assert rows(world.folder) == before
        await there.run(drain=True)
        await there.assert_right()


def dying(steps: int) -> object:
    """A `_take` after so many of which the rewind is killed."""
    take = rewinder._Rewinding._take
    taken = 0

    async def one(self: rewinder._Rewinding, step: Step) -> None:
        nonlocal taken
        if taken == steps:
            raise DiedError
        taken += 1
        await take(self, step)

    return one


async def test_where_nobody_sees_the_intent_nobody_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there)
        world = await around(there)
        with monkeypatch.context() as patch:
            patch.setattr(rewinder._Rewinding, "_take", dying(4))
            with pytest.raises(DiedError):
                await rewind(there, Back(1))
        shutil.rmtree(world.folder)
        with pytest.raises(RefusedError, match="under way or was cut short, on another machine"):
            await there.run()
        with pytest.raises(RefusedError, match="--to start --execute"):
            await rewind(there, Edge.END)
        await rewind(there, Edge.START)
        await there.run(drain=True)
        await there.assert_right()


async def test_the_state_of_a_running_worker_is_read_from_another_process(tmp_path: Path) -> None:
    async with cluster(tmp_path) as there:
        await run_some(there, 2)
        world = await around(there)
        expected = rows(world.folder)
        homes = {(sub, number): home for sub, number, home in task_folders(world.folder)}
        assert set(homes) == set(expected)
        identity = topic_id(await there.admin.describe_topics(["totals.by-key.changelog"]))
        store = open_task_store(world.folder, "by-key", 0, identity=identity)
        program = (
            "import sys; from pathlib import Path; "
            "from streamlog.processing.state.view import open_view\n"
            "with open_view(Path(sys.argv[1])) as view: print(repr(view.rows()))"
        )
        home = str(homes["by-key", 0])
        done = subprocess.run(  # noqa: ASYNC221 (nothing else runs)
            [sys.executable, "-c", program, home], capture_output=True, text=True, check=True
        )
        store.close()
        assert done.stdout.strip() == repr(expected["by-key", 0])
        with open_view(homes["events", 1]) as view:
            assert view is not None
            assert decode_outline(view.about.outline) == OUTLINE
            assert view.checkpoints()[0].meta == view.about.meta
        with open_view(world.folder / "nothing" / "0") as view:
            assert view is None
