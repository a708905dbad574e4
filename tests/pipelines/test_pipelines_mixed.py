"""Sessions, an interval join and a table: the same results and state, however they are run.

Real workers in processes of their own read the same topics: one, two and four of them, in chunks of
a few and of many records, killed with `kill -9`, robbed of their local state, rewound in the
middle. Compared are the bytes of all results and of all rows of state, once when all was read, and
once after everything has been closed.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
from mixed_pipeline import mixed

from streamlog.client.admin.values import NewTopic
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.processing.plan.topics import KEPT
from streamlog.processing.rewind.outline import outline_of
from streamlog.processing.rewind.rewinder import execute_rewind
from streamlog.processing.rewind.target import EventTime
from streamlog.processing.rewind.world import RewindWorld
from streamlog.processing.state.view import open_view, task_folders
from streamlog.records.murmur2 import partition_of

sys.path.insert(0, str(Path(__file__).parent.parent / "processing" / "worker"))

from live_cluster import Cluster, Record, cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.slow

PROGRAM = str(Path(__file__).parent / "mixed_pipeline.py")
PARTITIONS = 3
USERS, VISITS, ORDERS, MOVES = 12, 900, 300, 60
BATCH = 10
"""Chunks end where batches do."""
START_MS, SPAN_MS = 1_000_000, 600_000
MIDDLE_MS = START_MS + SPAN_MS // 2
TIMEOUT_S = 60

Rows = dict[tuple[str, int], list[tuple[bytes, bytes]]]


@dataclass(frozen=True)
class Outcome:
    """Results by topic, sorted and each once; rows of state by task."""

    results: dict[str, list[Record]]
    rows: Rows


@cache
def inputs() -> dict[str, list[Record]]:
    """By topic what is sent, in that order; some of it is out of order, and some far out."""
    rng = random.Random(11)
    visits = [
        (at_ms, {"user": user_of(rng), "row": row, "seconds": rng.random()})
        for row, at_ms in enumerate(rng.sample(range(START_MS, START_MS + SPAN_MS), VISITS))
    ]
    orders = [
        (at_ms + rng.randrange(-1_500, 4_000), {**visit, "row": row, "visit": visit["row"]})
        for row, (at_ms, visit) in enumerate(rng.sample(visits, ORDERS))
    ]
    moves = [
        (rng.randrange(START_MS, START_MS + SPAN_MS), {"user": user_of(rng), "town": f"town{row}"})
        for row in range(MOVES)
    ]
    return {
        "people": arriving(rng, moves, (0,)),
        "orders": arriving(rng, orders, (0, 0, 300, 900, 20_000)),
        "visits": arriving(rng, visits, (0, 0, 0, 300, 900, 20_000)),
    }


def user_of(rng: random.Random) -> str:
    """Some are there more often than others."""
    return f"user{int(USERS * rng.random() ** 2)}"


def arriving(
    rng: random.Random, rows: list[tuple[int, dict[str, Any]]], delays_ms: tuple[int, ...]
) -> list[Record]:
    """Records in the order in which they arrive."""
    delayed = sorted((at_ms + rng.choice(delays_ms), at_ms, fields) for at_ms, fields in rows)
    return [
        (fields["user"].encode(), json.dumps(fields).encode(), at_ms)
        for _, at_ms, fields in delayed
    ]


class World:
    """A broker, the inputs, and workers."""

    def __init__(self, there: Cluster) -> None:
        self._there = there
        self.state = there.folder / "state"

    async def create(self) -> None:
        topics = [NewTopic(topic, PARTITIONS, configs=KEPT) for topic in inputs()]
        await self._there.admin.create_topics(topics)

    async def send(self, begin: float, end: float) -> None:
        """Sends a part of each topic, from and to as fractions."""
        for topic, rows in inputs().items():
            part = rows[round(begin * len(rows)) : round(end * len(rows))]
            for partition in range(PARTITIONS):
                mine = [each for each in part if self._home(topic, each) == partition]
                for at in range(0, len(mine), BATCH):
                    columns = zip(*mine[at : at + BATCH], strict=True)
                    keys, values, times = map(list, columns)
                    delivery = await self._there.producer.send_columns(
                        topic, partition, keys, values, times
                    )
                    await delivery.wait()

    def _home(self, topic: str, record: Record) -> int:
        """Tables are partitioned by key; streams by something else, so that writers differ."""
        key, value, _ = record
        return partition_of((key if topic == "people" else value) or b"", PARTITIONS)

    def command(self, chunk: int, *, drain: bool = False) -> list[str]:
        drained = ["drain"] if drain else []
        return [sys.executable, PROGRAM, self._there.address, str(self.state), str(chunk), *drained]

    async def run(self, workers: int, chunk: int, *, drain: bool = False) -> None:
        """Runs to the end."""
        with trio.fail_after(TIMEOUT_S):
            async with trio.open_nursery() as nursery:
                for _ in range(workers):
                    nursery.start_soon(trio.run_process, self.command(chunk, drain=drain))

    @asynccontextmanager
    async def killed_within(self, chunk: int) -> AsyncIterator[None]:
        """A worker that is killed behind the block."""
        async with trio.open_nursery() as nursery:
            start = partial(trio.run_process, self.command(chunk), check=False)
            process = await nursery.start(start)
            try:
                yield
            finally:
                process.kill()

    async def has_committed_more(self) -> None:
        """Waits until somebody has taken a checkpoint."""
        before = await self._there.admin.group_offsets("mixed")
        with trio.fail_after(TIMEOUT_S):
            while await self._there.admin.group_offsets("mixed") == before:  # noqa: ASYNC110
                await trio.sleep(0.01)

    async def rewind(self, to_ms: int) -> None:
        described = await self._there.admin.describe_cluster()
        folder = self.state / (described.cluster_id or "") / "mixed"
        around = RewindWorld(
            client=self._there.client, clock=SystemClock(), threads=WorkerThreads(2), folder=folder
        )
        outline = outline_of(mixed.plan())
        decision = await execute_rewind(around, outline, EventTime(to_ms), text="the middle")
        assert any(choice.moved and not choice.anew for choice in decision.choices)

    async def outcome(self) -> Outcome:
        """Everything that the last run has left."""
        rows: Rows = {}
        (folder,) = self.state.glob("*/mixed")
        for sub, partition, home in task_folders(folder):
            with open_view(home) as view:
                assert view is not None
                rows[sub, partition] = view.rows()
        results = {topic: await self.records(topic) for topic in ("sittings", "placed")}
        return Outcome(results, rows)

    async def records(self, topic: str) -> list[Record]:
        return sorted(set(await self._there.records(topic)), key=repr)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    async with cluster(folder) as there:
        found = World(there)
        await found.create()
        yield found


async def read_then_closed(it: World, workers: int = 1, chunk: int = 5_000) -> tuple[Outcome, ...]:
    """Runs to the end, and closes what is open; returns what there is after both."""
    await it.run(workers, chunk)
    read = await it.outcome()
    await it.run(1, chunk, drain=True)
    return read, await it.outcome()


class Reference:
    """One worker that reads everything at once."""

    found: tuple[Outcome, ...] = ()

    async def outcomes(self, folder: Path) -> tuple[Outcome, ...]:
        if not self.found:
            async with world(folder / "reference") as it:
                await it.send(0, 1)
                self.found = await read_then_closed(it)
        return self.found


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference()


async def test_there_is_something_to_compare(reference: Reference, tmp_path: Path) -> None:
    read, closed = await reference.outcomes(tmp_path)
    placed = [json.loads(value or b"") for _, value, _ in closed.results["placed"]]
    matched = [each for each in placed if each["order"] is not None]
    assert 50 < len(matched) < len(placed) - 50
    assert {each["town"] is None for each in placed} == {True, False}
    sittings = [json.loads(value or b"")["value"] for _, value, _ in closed.results["sittings"]]
    assert sum(each["visits"] > 1 for each in sittings) > 50
    assert sum(each["visits"] for each in sittings) < VISITS * 0.95
    assert sum(map(len, read.rows.values())) > sum(map(len, closed.rows.values())) > 0
    assert read.results != closed.results


@pytest.mark.parametrize(("workers", "chunk"), [(2, 40), (4, 11)])
async def test_neither_workers_nor_chunks_show(
    reference: Reference, tmp_path: Path, workers: int, chunk: int
) -> None:
    async with world(tmp_path) as it:
        await it.send(0, 1)
        found = await read_then_closed(it, workers, chunk)
    assert found == await reference.outcomes(tmp_path)


async def test_workers_that_are_killed_do_not_show(reference: Reference, tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.send(0, 1)
        for _ in range(3):
            async with it.killed_within(chunk=5):
                await it.has_committed_more()
        found = await read_then_closed(it, chunk=7)
    assert found == await reference.outcomes(tmp_path)


async def test_a_rewind_does_not_show(reference: Reference, tmp_path: Path) -> None:
    """Behind a drain as well, and if the changelog is all that is left."""
    read, closed = await reference.outcomes(tmp_path)
    async with world(tmp_path) as it:
        await it.send(0, 0.5)
        await it.run(1, chunk=10)
        await it.send(0.5, 1)
        await it.run(2, chunk=10, drain=True)
        assert await it.outcome() == closed
        await it.rewind(MIDDLE_MS)
        await it.run(2, chunk=30)
        assert (await it.outcome()).rows == read.rows
        await it.rewind(MIDDLE_MS)
        shutil.rmtree(it.state)
        await it.run(1, chunk=100)
        assert (await it.outcome()).rows == read.rows
        await it.run(1, chunk=100, drain=True)
        assert await it.outcome() == closed
