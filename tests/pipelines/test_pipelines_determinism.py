"""The same input gives the same results, byte for byte: however many workers, whoever is slow.

The pipelines of `uneven_flights` run over some weeks of flights, on a broker of their own each
time. What they must find is recomputed here in plain Python, lateness included. For every number of
partitions, the first run is compared with that; every other run with the bytes of the first.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import islice
from math import fsum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import flights_recomputed as recomputed
import pytest
import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import Client, open_client
from streamlog.client.config import ClientConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import Producer, open_producer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.records.murmur2 import partition_of

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

from command_runner import TIMEOUT_S, started, streamlog
from interop_broker import own_broker

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

P = ParamSpec("P")
T = TypeVar("T")

pytestmark = pytest.mark.slow

PIPELINES_FILE = str(Path(__file__).parent / "uneven_flights.py")
TOPIC = "uneven-flights"
GROUPS = ("steady", "hasty")
OUTPUTS = tuple(f"{group}-{what}" for group in GROUPS for what in ("hours", "days"))
FLIGHTS = 24_000
"""Four weeks: some thousand windows, and more in a partition of four than is read at once."""
HOUR, TWO_DAYS = timedelta(hours=1), timedelta(days=2)
NO_GRACE = timedelta(0)
GRACES = {"steady": timedelta(days=1), "hasty": timedelta(minutes=5)}
START = datetime(1970, 1, 1, tzinfo=UTC)

Record = tuple[bytes | None, bytes | None, int]
"""Key, value, timestamp: as they are in the topic."""
Raw = dict[str, list[Record]]
"""By output topic the different records, sorted."""
Shares = list[dict[int, tuple[float, float]]]
"""Rounds of loading: which part of a partition's flights, from and to, as fractions."""


# The flights, and what is to be found out about them.


@cache
def flights() -> list[dict[str, Any]]:
    """Departed flights in the order in which they left, so that their schedules are mixed up."""
    departed = islice(
        (row for row in recomputed.read("flights") if row["dep_time"] != "NA"), FLIGHTS
    )
    found = [
        {
            "row": number,
            "carrier": row["carrier"],
            "origin": row["origin"],
            "scheduled": recomputed.scheduled(row).strftime(recomputed.RFC3339),
            "delay": int(row["dep_delay"]) / 60,
            "key": (row["carrier"] + row["flight"]).encode(),
            "time": recomputed.scheduled(row) + timedelta(milliseconds=number),
        }
        for number, row in enumerate(departed)
    ]
    return sorted(found, key=lambda flight: flight["time"] + timedelta(hours=flight["delay"]))


@cache
def partitioned(count: int) -> list[list[dict[str, Any]]]:
    partitions: list[list[dict[str, Any]]] = [[] for _ in range(count)]
    for flight in flights():
        partitions[partition_of(flight["key"], count)].append(flight)
    return partitions


def window_end(moment: datetime, size: timedelta) -> datetime:
    return moment - (moment - START) % size + size


def expected_hours(
    count: int, grace: timedelta, read: Iterable[int] | None = None
) -> dict[tuple[str, datetime], dict[str, Any]]:
    """By carrier and end; a flight is late by the times of those before it in its partition."""
    members: defaultdict[tuple[str, datetime], list[dict[str, Any]]] = defaultdict(list)
    for partition in range(count) if read is None else read:
        stream_time = START
        for flight in partitioned(count)[partition]:
            stream_time = max(stream_time, flight["time"])
            end = window_end(flight["time"], HOUR)
            if end + grace > stream_time:
                members[flight["carrier"], end].append(flight)
    hours = {}
    for (carrier, end), found in members.items():
        in_time = sorted(found, key=lambda flight: flight["time"])
        hours[carrier, end] = {
            "carrier": carrier,
            "flights": len(found),
            "delay": fsum(flight["delay"] for flight in found),
            "first_row": in_time[0]["row"],
            "last_row": in_time[-1]["row"],
        }
    return hours


def expected_days(
    hours: dict[tuple[str, datetime], dict[str, Any]], count: int, group: str
) -> dict[tuple[str, datetime], dict[str, Any]]:
    """By busyness and end."""
    members: defaultdict[tuple[str, datetime], list[tuple[Any, ...]]] = defaultdict(list)
    for (carrier, end), hour in hours.items():
        key = f"{min(hour['flights'], 5)} flights"
        moment = end - timedelta(milliseconds=1)
        place = (moment, partition_of(carrier.encode(), count), carrier)
        members[key, window_end(moment, TWO_DAYS)].append((place, carrier, hour))
    return {
        at: {
            "hours": len(found),
            "mean_delay": fsum(hour["delay"] for _, _, hour in found) / len(found),
            "busiest": max(hour["flights"] for _, _, hour in found),
            # Ties of event time go by writer (a partition), then by sequence (sorted keys).
            "carrier": max(found)[1] if group == "hasty" else max(each for _, each, _ in found),
        }
        for at, found in members.items()
    }


def as_records(
    results: dict[tuple[str, datetime], dict[str, Any]], size: timedelta
) -> list[tuple[bytes, dict[str, Any], int]]:
    return [
        (
            key.encode(),
            recomputed.windowed(end - size, size, value),
            (end - START) // timedelta(milliseconds=1) - 1,
        )
        for (key, end), value in sorted(results.items())
    ]


def expected(
    count: int, read: Iterable[int] | None = None
) -> dict[str, list[tuple[bytes, dict[str, Any], int]]]:
    found = {}
    for group, grace in GRACES.items():
        hours = expected_hours(count, grace, read)
        found[f"{group}-hours"] = as_records(hours, HOUR)
        found[f"{group}-days"] = as_records(expected_days(hours, count, group), TWO_DAYS)
    return found


# Loading, running, reading.


def in_client(
    address: str, function: Callable[Concatenate[Client, P], Awaitable[T]],
    *arguments: P.args, **options: P.kwargs,
) -> T:  # fmt: skip
    async def main() -> T:
        async with open_client(ClientConfig(brokers=(address,))) as client:
            return await function(client, *arguments, **options)

    return trio.run(main)


async def create(client: Client, count: int) -> None:
    await Admin(client).create_topics([NewTopic(TOPIC, count, configs={"retention.ms": "-1"})])


async def feed(client: Client, count: int, rounds: Shares, readers: Sequence[str] = ()) -> None:
    """Loads the flights in rounds; each only when the readers have committed the one before."""
    ends = dict.fromkeys(range(count), 0)
    async with open_producer(client) as producer:
        for shares in rounds:
            for partition, (begin, end) in shares.items():
                rows = partitioned(count)[partition]
                part = rows[round(begin * len(rows)) : round(end * len(rows))]
                await send(producer, partition, part)
                ends[partition] += len(part)
            await producer.flush()
            with trio.fail_after(TIMEOUT_S):
                for group in readers:
                    await committed(client, group, ends)


async def send(producer: Producer, partition: int, rows: Sequence[dict[str, Any]]) -> None:
    fields = ("row", "carrier", "origin", "scheduled", "delay")
    await producer.send_columns(
        TOPIC,
        partition,
        [row["key"] for row in rows],
        [json.dumps({field: row[field] for field in fields}).encode() for row in rows],
        [(row["time"] - START) // timedelta(milliseconds=1) for row in rows],
    )


async def committed(client: Client, group: str, ends: dict[int, int]) -> None:
    while True:
        offsets = await Admin(client).group_offsets(group)
        found = {each.partition: at.offset for each, at in offsets.items() if each.topic == TOPIC}
        if all(found.get(partition, 0) == end for partition, end in ends.items()):
            return
        await trio.sleep(0.05)


async def some_committed(client: Client, topic: str) -> None:
    """Waits until a group has committed more than it had."""
    before = await positions(client, topic)
    with trio.fail_after(TIMEOUT_S):
        while True:
            if await positions(client, topic) != before:
                return
            await trio.sleep(0.02)


async def positions(client: Client, topic: str) -> list[int]:
    return [
        at.offset
        for group in GROUPS
        for each, at in sorted((await Admin(client).group_offsets(group)).items())
        if each.topic == topic
    ]


async def read(client: Client) -> Raw:
    """Reads the results; a record that is there several times counts once."""
    found: dict[str, set[Record]] = {topic: set() for topic in OUTPUTS}
    topics = await Admin(client).describe_topics(OUTPUTS)
    async with open_consumer(client) as consumer:
        partitions = [
            TopicPartition(topic, each.partition)
            for topic in OUTPUTS
            for each in topics[topic].partitions
        ]
        ends = await consumer.end_offsets(partitions)
        await consumer.assign(dict.fromkeys(partitions, EARLIEST))
        while any((consumer.position(each) or 0) < end for each, end in ends.items()):
            for chunk in await consumer.poll():
                columns = chunk.columns
                found[chunk.topic].update(
                    zip(columns.keys, columns.values, columns.timestamps, strict=True)
                )
    return {topic: sorted(records, key=repr) for topic, records in found.items()}


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[None]:
    """Runs a command that goes on until it is asked to stop."""
    with started(*arguments) as process:
        yield
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0


def run_command(address: str, state: Path, workers: int) -> tuple[str, ...]:
    return (
        "run", PIPELINES_FILE, "-b", address, "--state", str(state), "--workers", str(workers),
        "--quiet",
    )  # fmt: skip


def results(folder: Path, count: int, workers: int, rounds: Shares | None = None) -> Raw:
    """Runs both pipelines: over all that is there, or while it is loaded in rounds."""
    with own_broker(folder / "data") as address:
        run = run_command(address, folder / "state", workers)
        in_client(address, create, count)
        if rounds is None:
            load_all: Shares = [dict.fromkeys(range(count), (0.0, 1.0))]
            in_client(address, feed, count, load_all)
        else:
            with running(*run):
                in_client(address, feed, count, rounds, GROUPS)
        streamlog(*run, "--until", "end", "--drain")
        return in_client(address, read)


def results_run_by_run(folder: Path, count: int, rounds: Shares) -> Raw:
    """Runs to the end after each round, with other workers each time; the state gets lost once."""
    state = folder / "state"
    with own_broker(folder / "data") as address:
        in_client(address, create, count)
        for number, shares in enumerate(rounds):
            in_client(address, feed, count, [shares])
            streamlog(*run_command(address, state, workers=1 + number % 2), "--until", "end")
            if number == 1:
                shutil.rmtree(state)
        streamlog(*run_command(address, state, workers=1), "--until", "end", "--drain")
        return in_client(address, read)


def results_with_kills(folder: Path, count: int, rounds: Shares) -> Raw:
    """Two workers of which one is killed in each round, and another takes its place."""
    with own_broker(folder / "data") as address, contextlib.ExitStack() as cleanup:
        run = run_command(address, folder / "state", workers=1)

        def start() -> subprocess.Popen[bytes]:
            return cleanup.enter_context(started(*run))

        in_client(address, create, count)
        workers = [start(), start()]
        for shares in rounds:
            in_client(address, feed, count, [shares])
            in_client(address, some_committed, TOPIC)
            oldest = workers.pop(0)
            assert oldest.poll() is None
            oldest.kill()
            workers.append(start())
        for worker in workers:
            worker.kill()
        # As many as there were: of one that stays away, the group would wait for a sign of life.
        two = run_command(address, folder / "state", workers=2)
        streamlog(*two, "--until", "end", "--drain")
        return in_client(address, read)


class References:
    """The first run for each number of partitions: one worker, everything loaded before."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._found: dict[int, Raw] = {}

    def of(self, count: int) -> Raw:
        if count not in self._found:
            folder = self._factory.mktemp(f"reference-{count}")
            self._found[count] = results(folder, count, workers=1)
        return self._found[count]


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> References:
    return References(tmp_path_factory)


def decoded(records: Iterable[Record]) -> list[tuple[bytes, dict[str, Any], int]]:
    by_key_and_time = sorted(records, key=lambda record: (record[0] or b"", record[2]))
    return [(key or b"", json.loads(value or b""), at) for key, value, at in by_key_and_time]


# The tests.


@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_results_are_those_that_plain_python_finds(references: References, count: int) -> None:
    found = references.of(count)
    for topic, records in expected(count).items():
        assert decoded(found[topic]) == records, topic


def test_the_flights_put_determinism_to_the_test() -> None:
    """Otherwise the others would show nothing: much is late, and what is late depends on where."""
    counted = {
        (group, count): sum(hour["flights"] for hour in expected_hours(count, grace).values())
        for group, grace in GRACES.items()
        for count in (1, 4, 7)
    }
    assert {counted["steady", count] for count in (1, 4, 7)} == {FLIGHTS}
    assert len({counted["hasty", count] for count in (1, 4, 7)}) == 3
    assert all(counted["hasty", count] < FLIGHTS * 0.95 for count in (1, 4, 7))


@pytest.mark.parametrize("count", [4, 7])
def test_the_number_of_partitions_does_not_show(references: References, count: int) -> None:
    one, several = references.of(1), references.of(count)
    for topic in ("steady-hours", "steady-days"):
        assert several[topic] == one[topic]


@pytest.mark.parametrize(("workers", "count"), [(2, 4), (4, 4), (2, 7)])
def test_the_number_of_workers_does_not_show(
    references: References, tmp_path: Path, workers: int, count: int
) -> None:
    assert results(tmp_path, count, workers) == references.of(count)


ONE_AFTER_ANOTHER: Shares = [{partition: (0.0, 1.0)} for partition in range(4)]
AT_THEIR_OWN_SPEED: Shares = [
    {0: (0.0, 1.0), 1: (0.0, 0.1), 3: (0.0, 0.5)},
    {1: (0.1, 1.0), 2: (0.0, 0.01), 3: (0.5, 0.51)},
    {2: (0.01, 1.0), 3: (0.51, 1.0)},
]


@pytest.mark.parametrize(
    ("workers", "rounds"),
    [
        pytest.param(2, ONE_AFTER_ANOTHER, id="one-after-another"),
        pytest.param(1, ONE_AFTER_ANOTHER[::-1], id="the-other-way-round"),
        pytest.param(2, AT_THEIR_OWN_SPEED, id="at-their-own-speed"),
    ],
)
def test_how_fast_the_partitions_come_does_not_show(
    references: References, tmp_path: Path, workers: int, rounds: Shares
) -> None:
    assert results(tmp_path, 4, workers, rounds) == references.of(4)


def test_runs_one_after_another_find_the_same_as_one(
    references: References, tmp_path: Path
) -> None:
    assert results_run_by_run(tmp_path, 4, AT_THEIR_OWN_SPEED) == references.of(4)


def test_workers_that_are_killed_change_nothing_even_of_what_is_late(
    references: References, tmp_path: Path
) -> None:
    assert results_with_kills(tmp_path, 4, AT_THEIR_OWN_SPEED) == references.of(4)


def test_partitions_in_which_nothing_comes_hold_nothing_up(tmp_path: Path) -> None:
    """Time stands still until every partition was heard of, but a drain moves it all the same."""
    found = results(tmp_path, 4, 2, [{2: (0.0, 1.0)}])
    for topic, records in expected(4, read=(2,)).items():
        assert decoded(found[topic]) == records, topic
