"""Records that fail in a running worker: on a broker, with a group, and real waits."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "worker"))

from live_cluster import EVENTS, Event, Total, cluster, key_of

from streamlog import (
    Output,
    Stream,
    count,
    dead_letter,
    pipeline,
    retry,
    skip,
    sum_,
    tumbling,
)
from streamlog.cli.dead_letters import find_letters, first_letters, send_back
from streamlog.processing.errors import FunctionFailure
from streamlog.processing.failures.dead_letters import read_cause
from streamlog.processing.failures.returning import plan_return

if TYPE_CHECKING:
    from live_cluster import Cluster

    from streamlog.processing.failures.dead_letters import Cause

SECOND = timedelta(seconds=1)


async def amounts(it: Cluster, topic: str) -> list[int]:
    return sorted(json.loads(value or b"")["amount"] for _, value in await it.values(topic))


async def send(it: Cluster, *numbers: int, partition: int = 0) -> None:
    values = [json.dumps({"key": "k", "amount": each}).encode() for each in numbers]
    await it.send(EVENTS, partition, *values)


async def letters(it: Cluster, topic: str) -> list[Cause]:
    from streamlog.client.consumer.consumer import open_consumer
    from streamlog.client.values import EARLIEST, TopicPartition

    places = [TopicPartition(topic, n) for n in range(await it.client.partition_count(topic))]
    found: list[Cause] = []
    async with open_consumer(it.client) as consumer:
        ends = await consumer.end_offsets(places)
        await consumer.assign(dict.fromkeys(places, EARLIEST))
        while any((consumer.position(each) or 0) < end for each, end in ends.items()):
            for chunk in await consumer.poll(100):
                for headers in chunk.columns.headers or []:
                    cause = read_cause(headers)
                    assert cause is not None
                    found.append(cause)
    return found


async def test_dead_letters_leave_a_running_pipeline_and_come_back_after_the_fix(
    tmp_path: Path,
) -> None:
    broken = {3, 5}

    def picky(event: Event) -> Event:
        if event.amount in broken:
            raise ValueError("unlucky")
        return event

    @pipeline(on_error=dead_letter())
    def careful(events: Stream[Event]) -> Output:
        return events.map(picky).to("careful-out")

    async with cluster(tmp_path) as it:
        await send(it, *range(8))
        await it.send(EVENTS, 1, b"{")
        status = (await it.run(careful)).of("careful")
        assert await amounts(it, "careful-out") == [0, 1, 2, 4, 6, 7]
        assert (status.dead_letters, status.skipped) == (3, 0)
        found = {(each.partition, each.offset): each for each in await letters(it, "careful.dlq")}
        assert sorted(found) == [(0, 3), (0, 5), (1, 0)]
        assert found[0, 3].exception_class == "builtins.ValueError"
        assert found[0, 3].location.split(":")[0].endswith("test_failures_live.py")
        assert found[0, 3].time.startswith("20")
        assert found[1, 0].exception_class.endswith("SerdeError")
        broken.clear()
        extent = await find_letters(it.client, "careful")
        back = plan_return(await first_letters(it.client, extent, extent.sent, 100))
        assert back.count == 3
        for _ in range(2):
            # Twice, as after a crash between sending and remembering it.
            await send_back(it.producer, it.admin, extent, back)
        status = (await it.run(careful)).of("careful")
        assert await amounts(it, "careful-out") == list(range(8))
        # What still fails does so each time it comes: two more letters of one record.
        assert status.dead_letters == 5
        extent = await find_letters(it.client, "careful")
        back = plan_return(await first_letters(it.client, extent, extent.sent, 100))
        ((letter,),) = back.letters.values()
        assert (letter.value, letter.times_sent, letter.identity) == (b"{", 1, (EVENTS, 1, 0))


async def test_a_record_that_is_tried_again_holds_up_its_partition_alone(tmp_path: Path) -> None:
    tries: list[int] = []
    seen: list[int] = []

    def flaky(event: Event) -> Event:
        if event.amount == 3:
            tries.append(len(seen))
            if len(tries) < 4:
                raise ConnectionError("nobody answers")
        seen.append(event.amount)
        return event

    @pipeline(on_error=retry(attempts=9, backoff=timedelta(milliseconds=20)))
    def patient(events: Stream[Event]) -> Output:
        return events.map(flaky).to("patient-out")

    async with cluster(tmp_path) as it:
        await send(it, *range(6))
        await send(it, *range(10, 16), partition=1)
        status = (await it.run(patient)).of("patient")
        assert await amounts(it, "patient-out") == [*range(6), *range(10, 16)]
        assert [each for each in seen if each < 10] == list(range(6))
        assert (len(tries), status.retried) == (4, 3)


async def test_a_record_that_is_tried_in_vain_stops_the_pipeline(tmp_path: Path) -> None:
    tries: list[int] = []

    def broken(event: Event) -> Event:
        if event.amount == 3:
            tries.append(1)
            raise ConnectionError("nobody answers")
        return event

    @pipeline(on_error=retry(attempts=3, backoff=timedelta(milliseconds=5)))
    def patient(events: Stream[Event]) -> Output:
        return events.map(broken).to("patient-out")

    async with cluster(tmp_path) as it:
        await send(it, *range(6))
        with pytest.raises(FunctionFailure, match="nobody answers"):
            await it.run(patient)
        assert len(tries) == 3
        # What came before it was checkpointed while it waited, and does not come again.
        assert await amounts(it, "patient-out") == [0, 1, 2]


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_task_that_a_record_spoils_is_taken_over_again(
    tmp_path: Path, attempts: int
) -> None:
    def amount(event: Event) -> int:
        if event.amount == 13:
            raise ValueError("unlucky")
        return event.amount

    policy = retry(attempts=attempts, backoff=timedelta(milliseconds=5), then=skip())

    @pipeline(on_error=policy)
    def twice(events: Stream[Event]) -> None:
        keyed = events.key_by(key_of, name="by-key")
        one = keyed.window(tumbling(SECOND), grace=SECOND)
        one.aggregate(Total, events=count(), amount=sum_(lambda e: 1), name="one").to("one")
        two = keyed.window(tumbling(SECOND), grace=SECOND)
        two.aggregate(Total, events=count(), amount=sum_(amount), name="two").to("two")

    async with cluster(tmp_path) as it:
        await send(it, *range(10), 13, 1, 13, 2)
        status = (await it.run(twice, drain=True)).of("twice")
        assert (status.skipped, status.retried) == (2, 2 * (attempts - 1))
        for topic, amount_sum in (("one", 12), ("two", 48)):
            results = {value for _, value in await it.values(topic)}
            (result,) = [json.loads(value or b"")["value"] for value in results]
            assert result == {"events": 12, "amount": amount_sum}
