"""Loading the demo's data: each record once, whatever interrupts it."""

from __future__ import annotations

import zipfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from streamlog.cli.demo import dataset, loader
from streamlog.cli.demo.loader import Progress, load
from streamlog.client.admin.values import NewTopic, PartitionDescription, TopicDescription
from streamlog.client.values import (
    LATEST,
    FetchedChunk,
    OffsetAndTimestamp,
    RangeMetadata,
    TopicPartition,
)
from streamlog.errors import RefusedError
from streamlog.records.columns import Columns
from streamlog.records.murmur2 import partition_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

FLIGHTS = 50
RECORDS = FLIGHTS + 2 + 1 + 1 + 1

Record = tuple[bytes | None, bytes | None, int]


class KilledError(Exception):
    """Stands for a process that ends in the middle."""


class FakeDelivery:
    def __init__(self, where: RangeMetadata) -> None:
        self.where = where

    async def wait(self) -> RangeMetadata:
        return self.where


class FakeCluster:
    """Topics in memory, as admin, producer and consumer; dies after a number of appends."""

    def __init__(self) -> None:
        self.topics: dict[str, list[list[Record]]] = {}
        self.appends_left = 10**9

    async def describe_topics(self, names: Iterable[str]) -> dict[str, TopicDescription]:
        return {
            name: TopicDescription(
                name,
                "id",
                False,
                tuple(
                    PartitionDescription(number, 1, (1,), (1,))
                    for number in range(len(self.topics[name]))
                ),
            )
            for name in names
            if name in self.topics
        }

    async def create_topics(self, topics: Iterable[NewTopic]) -> None:
        for topic in topics:
            assert topic.configs["retention.ms"] == "-1"
            self.topics[topic.name] = [[] for _ in range(topic.partition_count)]

    async def list_offsets(
        self, wanted: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        return {
            place: OffsetAndTimestamp(
                len(self.topics[place.topic][place.partition]) if what == LATEST else 0, -1
            )
            for place, what in wanted.items()
        }

    async def send_columns(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes],
        values: Sequence[bytes],
        timestamps: Sequence[int],
    ) -> FakeDelivery:
        log = self.topics[topic][partition]
        base = len(log)
        for record in zip(keys, values, timestamps, strict=True):
            if self.appends_left == 0:
                raise KilledError
            self.appends_left -= 1
            log.append(record)
        return FakeDelivery(RangeMetadata(topic, partition, base, len(log) - 1))

    async def assign(self, offsets: Mapping[TopicPartition, int]) -> None:
        ((self.place, self.position),) = offsets.items()

    async def poll(self) -> list[FetchedChunk]:
        key, value, timestamp = self.topics[self.place.topic][self.place.partition][self.position]
        columns = Columns([self.position], [timestamp], [key], [value])
        end = self.position + 1
        return [FetchedChunk(self.place.topic, self.place.partition, columns, end, end)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()

    @asynccontextmanager
    async def opened(_client: object) -> AsyncIterator[FakeCluster]:
        yield fake

    monkeypatch.setattr(loader, "open_producer", opened)
    monkeypatch.setattr(loader, "open_consumer", opened)
    monkeypatch.setattr(dataset, "CHUNK_RECORDS", 7)
    return fake


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "airlines.csv").write_text("carrier,name\nUA,United\nAA,American\n")
    (tmp_path / "planes.csv").write_text("tailnum,year\nN1,2004\n")
    (tmp_path / "airports.csv").write_text("faa,name,tz\nEWR,Newark,-5\n")
    (tmp_path / "weather.csv").write_text("origin,temp,time_hour\nEWR,39.02,2013-01-01T06:00:00Z\n")
    with zipfile.ZipFile(tmp_path / "flights.csv.zip", "w") as archive:
        rows = [
            f"UA,{number},{number % 13},{number % 60},2013-01-01T10:00:00Z"
            for number in range(FLIGHTS)
        ]
        header = "carrier,flight,dep_delay,minute,time_hour"
        archive.writestr("flights.csv", "\n".join([header, *rows]) + "\n")
    return tmp_path


async def load_all(cluster: FakeCluster, folder: Path, partitions: int | None = None) -> Progress:
    progress = Progress()
    await load(cluster, cluster, folder, partitions, progress)  # type: ignore[arg-type]
    return progress


async def test_records_go_where_java_would_put_them(cluster: FakeCluster, folder: Path) -> None:
    progress = await load_all(cluster, folder)
    assert (progress.total, progress.loaded, progress.found) == (RECORDS, RECORDS, 0)
    flights = cluster.topics["flights"]
    assert len(flights) == 4
    assert sum(map(len, flights)) == FLIGHTS
    for number, partition in enumerate(flights):
        moments = [timestamp for _, _, timestamp in partition]
        assert moments == sorted(moments)
        assert all(key is not None and partition_of(key, 4) == number for key, _, _ in partition)


@pytest.mark.parametrize("partitions", [1, 3])
async def test_a_load_goes_on_after_every_interruption(
    cluster: FakeCluster, folder: Path, partitions: int, autojump_clock: object
) -> None:
    await load_all(cluster, folder, partitions)
    whole = cluster.topics
    for appends in range(RECORDS + 1):
        cluster.topics, cluster.appends_left = {}, appends
        if appends < RECORDS:
            with pytest.raises(KilledError):
                await load_all(cluster, folder, partitions)
        cluster.appends_left = 10**9
        progress = await load_all(cluster, folder, partitions)
        assert cluster.topics == whole
        assert progress.loaded == RECORDS
        assert progress.found == (appends if appends < RECORDS else 0)


async def test_nothing_is_loaded_twice(cluster: FakeCluster, folder: Path) -> None:
    await load_all(cluster, folder)
    cluster.appends_left = 0
    progress = await load_all(cluster, folder)
    assert progress.found == progress.loaded == RECORDS


async def test_other_numbers_of_partitions_are_refused(cluster: FakeCluster, folder: Path) -> None:
    await load_all(cluster, folder, 2)
    with pytest.raises(RefusedError, match="has 2 partitions, not 3"):
        await load_all(cluster, folder, 3)
    assert (await load_all(cluster, folder)).found == RECORDS


@pytest.mark.parametrize("count", [1, FLIGHTS + 1])
async def test_somebody_elses_topic_is_refused(
    cluster: FakeCluster, folder: Path, count: int, autojump_clock: object
) -> None:
    cluster.topics["flights"] = [[(b"k", b"something else", 0)] * count]
    with pytest.raises(RefusedError, match='"flights" does not hold the demo\'s data'):
        await load_all(cluster, folder)
    assert len(cluster.topics["flights"][0]) == count
