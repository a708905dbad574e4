"""The power goes, at any step that the log takes on its disk, while clients write and read.

A whole broker with its clients runs on a disk that keeps only what was synced, and of the rest
whatever chance leaves. What producers were told is written must be there afterwards, each record
once and where it was promised; and what a consumer has seen must stay true.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

sys.path.insert(0, str(Path(__file__).parent / "log"))

from fake_disk import DiskCrashError, FakeDisk

from streamlog.broker.broker import Doors, open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig, ProducerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.doors import SystemClock, TcpNetwork, WorkerThreads

if TYPE_CHECKING:
    from streamlog.client.consumer.consumer import Consumer

LIVES = 20
STEPS_MAX = 400
"""Of the disk, in one life: start, recovery and work."""
TOPIC, PARTITIONS = "numbers", 2
SETTINGS = {"segment.bytes": "2000", "retention.ms": "-1"}
"""Small segments: the power goes while they are closed and begun, too."""
PRODUCERS = 3
PATIENCE_S = 60

Place = tuple[int, int]
"""Partition and offset."""


class Books:
    """What clients were told, and what they saw."""

    def __init__(self) -> None:
        self.acknowledged: dict[Place, bytes] = {}
        self.seen: dict[Place, bytes] = {}
        self._number = 0

    def new_value(self) -> bytes:
        self._number += 1
        return b"%d" % self._number

    def check(self, found: dict[Place, bytes]) -> None:
        for told in (self.acknowledged, self.seen):
            missing = {place: value for place, value in told.items() if found.get(place) != value}
            assert not missing
        assert max(Counter(found.values()).values(), default=1) == 1, "a record comes twice"


def client_of(port: int) -> ClientConfig:
    return ClientConfig(brokers=(f"127.0.0.1:{port}",))


async def produce(port: int, partition: int, books: Books) -> None:
    """Sends record by record, two at a time, as long as it is let."""
    config = ProducerConfig(linger_ms=0)
    async with (
        open_client(client_of(port)) as client,
        open_producer(client, config) as producer,
    ):
        while True:
            values = [books.new_value(), books.new_value()]
            sent = [await producer.send(TOPIC, value, partition=partition) for value in values]
            for value, delivery in zip(values, sent, strict=True):
                written = await delivery.wait()
                books.acknowledged[partition, written.offset] = value


async def consume(port: int, books: Books) -> None:
    """Reads everything and whatever comes, without end."""
    async with open_client(client_of(port)) as client, open_consumer(client) as consumer:
        await consumer.assign({TopicPartition(TOPIC, each): EARLIEST for each in range(PARTITIONS)})
        while True:
            for place, value in await polled(consumer):
                assert books.seen.setdefault(place, value) == value


async def polled(consumer: Consumer) -> list[tuple[Place, bytes]]:
    return [
        ((chunk.partition, offset), value or b"")
        for chunk in await consumer.poll(100)
        for offset, value in zip(chunk.columns.offsets, chunk.columns.values, strict=True)
    ]


async def everything(port: int) -> dict[Place, bytes]:
    """What is in the topic now."""
    found: dict[Place, bytes] = {}
    async with open_client(client_of(port)) as client, open_consumer(client) as consumer:
        partitions = [TopicPartition(TOPIC, each) for each in range(PARTITIONS)]
        await consumer.assign(dict.fromkeys(partitions, EARLIEST))
        ends = await consumer.end_offsets(partitions)
        while any((consumer.position(each) or 0) < end for each, end in ends.items()):
            found.update(await polled(consumer))
    return found


class Machine:
    """A computer with one disk; the coordination store keeps itself, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.disk = FakeDisk()
        self._config = BrokerConfig(data=folder / "data", listen=(("127.0.0.1", 0),))
        self._doors = Doors(
            clock=SystemClock(), network=TcpNetwork(), threads=WorkerThreads(8), disk=self.disk,
            random=random.Random(1),
        )  # fmt: skip

    async def create_topic(self) -> None:
        async with (
            open_broker(self._config, self._doors) as broker,
            open_client(client_of(broker.port)) as client,
        ):
            await Admin(client).create_topics([NewTopic(TOPIC, PARTITIONS, configs=SETTINGS)])

    async def check(self, books: Books) -> None:
        async with open_broker(self._config, self._doors) as broker:
            books.check(await everything(broker.port))

    async def work(self, books: Books) -> None:
        """Starts, checks and works until the disk ends it."""
        async with open_broker(self._config, self._doors) as broker:
            books.check(await everything(broker.port))
            async with trio.open_nursery() as nursery:
                for number in range(PRODUCERS):
                    nursery.start_soon(produce, broker.port, number % PARTITIONS, books)
                nursery.start_soon(consume, broker.port, books)


@pytest.mark.slow
async def test_loss_of_power_takes_nothing_that_was_acknowledged_or_seen(tmp_path: Path) -> None:
    rng = random.Random(5)
    machine, books = Machine(tmp_path), Books()
    with trio.fail_after(PATIENCE_S):
        await machine.create_topic()
    for life in range(LIVES):
        machine.disk.crash_at = machine.disk.steps + rng.randint(1, STEPS_MAX)
        ended = False
        with trio.fail_after(PATIENCE_S):
            try:
                await machine.work(books)
            except* DiskCrashError:
                ended = True
        assert ended
        machine.disk.lose_power(rng if life % 2 else None)
    with trio.fail_after(PATIENCE_S):
        await machine.check(books)
    assert len(books.acknowledged) > 20 * LIVES
    assert len(books.seen) > 20 * LIVES
