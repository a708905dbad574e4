"""A broker in this event loop, a small pipeline for it, and what its results must be."""

from __future__ import annotations

import json
import random
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from msgspec import Struct

from streamlog import Output, Stream, count, pipeline, sum_, tumbling
from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.broker.groups.config import GroupConfig
from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import Client, open_client
from streamlog.client.config import ClientConfig, ConsumerConfig, ProducerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import Producer, open_producer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamlog import Pipeline
    from streamlog.broker.broker import Broker

Results = dict[tuple[bytes, str], Any]
Record = tuple[bytes | None, bytes | None, int]
"""Key, value, timestamp."""
SESSION_MS = 1_000
EVENTS = "events"
PARTITIONS = 2


class Event(Struct):
    """An input."""

    key: str
    amount: int


class Total(Struct):
    """A result."""

    events: int
    amount: int


def key_of(event: Event) -> str:
    """Groups by the key."""
    return event.key


def amount_of(event: Event) -> int:
    """Sums the amount."""
    return event.amount


# No partition counts as idle: a machine that is busy for some seconds would make records late.
@pipeline(idle=None)
def totals(events: Stream[Event]) -> Output:
    """Events and their amount per key and second."""
    return (
        events.key_by(key_of, name="by-key")
        .window(tumbling(timedelta(seconds=1)), grace=timedelta(seconds=1))
        .aggregate(Total, events=count(), amount=sum_(amount_of), name="totals")
        .to("totals-out")
    )


@dataclass(slots=True)
class Cluster:
    """A broker with a client, and what was produced to it."""

    broker: Broker
    address: str
    folder: Path
    client: Client
    producer: Producer
    expected: dict[tuple[bytes, int], tuple[int, int]]
    time_ms: int = 1_000_000
    sent: int = 0

    @property
    def admin(self) -> Admin:
        """Administers the broker."""
        return Admin(self.client)

    def config(self, *, until_end: bool = True, drain: bool = False) -> RunConfig:
        """How workers run here."""
        return RunConfig(
            brokers=(self.address,), state_dir=self.folder / "state", until_end=until_end,
            drain=drain, checkpoint_interval_s=0.05, session_timeout_ms=SESSION_MS,
        )  # fmt: skip

    async def create_source(self) -> None:
        """Creates the topic that `totals` reads; its records are older than any retention."""
        configs = {"retention.ms": "-1"}
        await self.admin.create_topics([NewTopic(EVENTS, PARTITIONS, configs=configs)])

    async def run(
        self, *pipelines: Pipeline[..., object], drain: bool = False, until_end: bool = True
    ) -> RunStatus:
        """Runs pipelines to the end of their input; `totals` if none is named."""
        status = RunStatus()
        config = self.config(drain=drain, until_end=until_end)
        with trio.fail_after(60):
            await run_worker(pipelines or (totals,), config, status, trio.Event())
        return status

    async def send(
        self, topic: str, partition: int, *values: bytes, key: bytes | None = None
    ) -> int:
        """Produces values as they are; returns the offset after them."""
        times = [self.time_ms] * len(values)
        delivery = await self.producer.send_columns(
            topic, partition, [key] * len(values), list(values), times
        )
        return (await delivery.wait()).last_offset + 1

    async def send_events(self, number: int) -> None:
        """Produces events to both partitions, time passing, and notes what they add up to."""
        rng = random.Random(self.sent)
        for partition in range(PARTITIONS):
            values, times = list[bytes](), list[int]()
            for index in range(number):
                key, amount = f"k{rng.randrange(7)}", rng.randrange(100)
                time_ms = self.time_ms + index * 10
                window = (key.encode(), time_ms // 1000)
                events, total = self.expected.get(window, (0, 0))
                self.expected[window] = (events + 1, total + amount)
                values.append(json.dumps({"key": key, "amount": amount}).encode())
                times.append(time_ms)
            delivery = await self.producer.send_columns(
                EVENTS, partition, [None] * number, values, times
            )
            await delivery.wait()
        self.time_ms += number * 10
        self.sent += number

    async def values(self, topic: str) -> list[tuple[bytes | None, bytes | None]]:
        """Reads the keys and values of a topic to its end."""
        return [(key, value) for key, value, _ in await self.records(topic)]

    async def records(self, topic: str) -> list[Record]:
        """Reads a topic to its end."""
        partitions = [
            TopicPartition(topic, each) for each in range(await self.client.partition_count(topic))
        ]
        found: list[Record] = []
        async with open_consumer(self.client, ConsumerConfig()) as consumer:
            ends = await consumer.end_offsets(partitions)
            await consumer.assign(dict.fromkeys(partitions, EARLIEST))
            with trio.fail_after(30):
                while any((consumer.position(each) or 0) < end for each, end in ends.items()):
                    for chunk in await consumer.poll(100):
                        at = chunk.columns
                        found += zip(at.keys, at.values, at.timestamps, strict=True)
        return found

    async def assert_right(self) -> None:
        """Every result is what was expected, also those that came twice, and none is missing."""
        found: dict[tuple[bytes, int], tuple[int, int]] = {}
        for key, value in await self.values("totals-out"):
            result = json.loads(value or b"")
            assert key is not None
            begin = int(result["start"][17:19]) + 60 * int(result["start"][14:16])
            total = result["value"]["events"], result["value"]["amount"]
            assert found.setdefault((key, begin), total) == total
        expected = {(key, second % 3600): total for (key, second), total in self.expected.items()}
        assert found == expected


@asynccontextmanager
async def cluster(folder: Path, *, partitions_max: int = 1_000) -> AsyncIterator[Cluster]:
    """Serves a folder, with the pipeline's source in it."""
    config = BrokerConfig(
        data=folder / "data",
        listen=(("127.0.0.1", 0),),
        auto_create_topics=False,
        partitions_max=partitions_max,
        groups=GroupConfig(initial_rebalance_delay_ms=0, session_timeout_min_ms=SESSION_MS),
    )
    async with open_broker(config) as broker:
        address = f"127.0.0.1:{broker.port}"
        async with (
            open_client(ClientConfig(brokers=(address,), unknown_topic_patience_ms=200)) as client,
            open_producer(client, ProducerConfig(linger_ms=0)) as producer,
        ):
            found = Cluster(broker, address, folder, client, producer, {})
            await found.create_source()
            yield found


async def _work(address: str, folder: Path) -> None:
    config = RunConfig(
        brokers=(address,), state_dir=folder, checkpoint_interval_s=0.05,
        session_timeout_ms=SESSION_MS,
    )  # fmt: skip
    await run_worker((totals,), config, RunStatus(), trio.Event())


def worker_command(address: str, folder: Path) -> Sequence[str]:
    """A worker in a process of its own."""
    return [sys.executable, __file__, address, str(folder)]


if __name__ == "__main__":
    trio.run(_work, sys.argv[1], Path(sys.argv[2]))
