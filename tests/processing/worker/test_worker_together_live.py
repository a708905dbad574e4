"""Sources read together by a worker with a broker: ends, silence, back-pressure, rests."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import trio
from live_cluster import Cluster, cluster
from msgspec import Struct

from streamlog import Output, Stream, Table, pipeline, retry
from streamlog.client.admin.values import NewTopic
from streamlog.client.values import TopicPartition
from streamlog.errors import UsageError
from streamlog.processing.worker.merge import RECORDS_WAITING_MAX
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamlog import Pipeline

FAILURES: list[int] = []
"""Sales that have yet to fail, once for each entry."""


class Sale(Struct):
    number: int


class Price(Struct):
    cents: int


def result(sale: Sale, price: Price | None) -> list[int | None]:
    if sale.number in FAILURES:
        FAILURES.remove(sale.number)
        raise ValueError("not yet")
    return [sale.number, None if price is None else price.cents]


@pipeline(
    idle=timedelta(milliseconds=200), on_error=retry(attempts=9, backoff=timedelta(milliseconds=1))
)
def priced(sales: Stream[Sale], prices: Table[Price]) -> Output:
    return sales.join(prices, result, how="left").to("out")


@asynccontextmanager
async def shop(folder: Path, *, prices: int = 1) -> AsyncIterator[Cluster]:
    async with cluster(folder) as it:
        await it.admin.create_topics([NewTopic("sales", 1), NewTopic("prices", prices)])
        yield it


async def sell(it: Cluster, *numbers: int, at: int) -> None:
    values: list[bytes | None] = [json.dumps({"number": each}).encode() for each in numbers]
    keys: list[bytes | None] = [b"tea"] * len(numbers)
    times = list(range(at, at + len(numbers)))
    await (await it.producer.send_columns("sales", 0, keys, values, times)).wait()


async def price(it: Cluster, cents: int, *, at: int) -> None:
    value = json.dumps({"cents": cents}).encode()
    await (await it.producer.send_columns("prices", 0, [b"tea"], [value], [at])).wait()


async def results(it: Cluster) -> list[list[int | None]]:
    return [json.loads(value or b"") for _, value in await it.values("out")]


async def wait_for(it: Cluster, count: int) -> list[list[int | None]]:
    with trio.fail_after(30):
        while len(found := await results(it)) < count:  # noqa: ASYNC110 (asks a broker)
            await trio.sleep(0.02)
    return found


@asynccontextmanager
async def working(it: Cluster, declared: Pipeline[..., object] = priced) -> AsyncIterator[None]:
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        config = it.config(until_end=False)
        nursery.start_soon(run_worker, (declared,), config, RunStatus(), stop)
        with trio.fail_after(30):
            while "out" not in await it.admin.describe_topics(["out"]):  # noqa: ASYNC110
                await trio.sleep(0.02)
        yield
        stop.set()


async def test_a_run_to_the_end_waits_for_no_silence(tmp_path: Path) -> None:
    async with shop(tmp_path) as it:
        await price(it, 5, at=0)
        await sell(it, 1, 2, at=10)
        await it.run(priced)
        assert await results(it) == [[1, 5], [2, 5]]
        committed = await it.admin.group_offsets("priced")
        assert {at.topic: each.offset for at, each in committed.items()} == {
            "prices": 1,
            "sales": 2,
        }
        await price(it, 6, at=11)
        await sell(it, 3, 4, at=20)
        await it.run(priced)
        assert await results(it) == [[1, 5], [2, 5], [3, 6], [4, 6]]
        # The table alone has news; what it holds is found later on.
        await price(it, 7, at=30)
        await it.run(priced)
        await sell(it, 5, at=40)
        await it.run(priced, drain=True)
        assert (await results(it))[4:] == [[5, 7]]


async def test_a_silent_table_holds_up_nobody_for_long(tmp_path: Path) -> None:
    async with shop(tmp_path) as it, working(it):
        await sell(it, 1, at=10)
        assert await wait_for(it, 1) == [[1, None]]
        await price(it, 5, at=20)
        await sell(it, 2, at=15)
        await sell(it, 3, at=25)
        found = await wait_for(it, 3)
        assert found[1] == [2, None]
        assert found[2] in ([3, 5], [3, None]), "by when the table was heard again"
        # From then on it is known: whatever comes behind it has the row.
        with trio.fail_after(30):
            number = 3
            while (await results(it))[-1][1] != 5:
                number += 1
                await sell(it, number, at=20 + 10 * number)
                await wait_for(it, number)


async def test_much_may_wait_for_a_table(tmp_path: Path) -> None:
    """More than is kept in memory waits in the log, and comes in its order."""
    count = 2 * RECORDS_WAITING_MAX + 1_000
    async with shop(tmp_path) as it:
        await price(it, 5, at=0)
        for begin in range(0, count, 1_000):
            await sell(it, *range(begin, begin + 1_000), at=10 + begin)
        async with working(it):
            found = await wait_for(it, count)
        assert found == [[number, 5] for number in range(count)]
        committed = await it.admin.group_offsets("priced")
        assert committed[TopicPartition("sales", 0)].offset == count


@pytest.mark.parametrize("until_end", [True, False])
async def test_a_record_is_tried_again_in_its_place(tmp_path: Path, until_end: bool) -> None:
    FAILURES[:] = [2, 2, 2]
    async with shop(tmp_path) as it:
        await price(it, 5, at=0)
        await sell(it, 1, at=10)
        await price(it, 6, at=12)
        await sell(it, 2, 3, at=12)
        await price(it, 7, at=50)
        if until_end:
            await it.run(priced)
        else:
            async with working(it):
                await wait_for(it, 3)
        assert sorted({tuple(each) for each in await results(it)}) == [(1, 5), (2, 6), (3, 6)]
        assert FAILURES == []


async def test_topics_that_are_not_partitioned_alike_are_refused(tmp_path: Path) -> None:
    async with shop(tmp_path, prices=2) as it:
        with pytest.raises(UsageError, match="prices has 2, sales has 1 partitions") as caught:
            await it.run(priced)
        assert "test_worker_together_live.py" in caught.value.message
        assert "out" not in await it.admin.describe_topics(["out"]), "before anything was made"
