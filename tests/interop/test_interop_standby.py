"""A worker is killed, and the one that keeps warm copies goes on: on our broker and on Kafka."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import apache_kafka
import pytest
import trio
from standby_worker import NAME, Account, accounts, config

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import Client, open_client
from streamlog.client.config import ClientConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.processing.plan.topics import KEPT
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import PipelineStatus, RunStatus

if TYPE_CHECKING:
    from collections.abc import Callable

MISSING = apache_kafka.unavailable()
pytestmark = [pytest.mark.interop, pytest.mark.slow]

WORKER = str(Path(__file__).parent / "standby_worker.py")
PARTITIONS = 2
SOURCES = [TopicPartition("payments", each) for each in range(PARTITIONS)]
TASKS = 2 * PARTITIONS
ACCOUNTS = 3_000
RESTORED_MAX = 200
"""What the copies may lack when the worker dies; the whole state is many times that."""
PATIENCE_S = 90


@pytest.fixture(
    params=[
        pytest.param("broker", id="our-broker"),
        pytest.param(
            "kafka",
            id="apache-kafka",
            marks=pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
        ),
    ]
)
def address(request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(request.param)
    return found


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 (several tasks bring it about)
        await trio.sleep(0.02)


def is_warm(status: PipelineStatus) -> bool:
    """Whether half of the tasks run here, and what the others have is here as well."""
    return (
        len(status.by_task) == len(status.standbys) == TASKS // 2
        and not status.by_task.keys() & status.standbys.keys()
        and all(copy.end > 0 and not copy.left for copy in status.standbys.values())
    )


class Books:
    """Sends payments and knows what they add up to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._admin = Admin(client)
        self.expected = {str(each): Account(0, 0) for each in range(ACCOUNTS)}
        self._sent = 0

    async def send(self, cents: int, accounts: int) -> None:
        """A payment for each of the first accounts, to each partition."""
        async with open_producer(self._client) as producer:
            for source in SOURCES:
                values = []
                for number in range(accounts):
                    account = self.expected[str(number)]
                    account.payments += 1
                    account.cents += cents
                    values.append(json.dumps({"account": number, "cents": cents}).encode())
                nothing: list[bytes | None] = [None] * accounts
                await producer.send_columns(
                    source.topic, source.partition, nothing, values, [1_000_000] * accounts
                )
        self._sent += accounts

    async def are_read(self) -> None:
        """Waits until checkpoints say that everything sent has been read."""
        while True:
            offsets = await self._admin.group_offsets(NAME)
            found = [offsets.get(each) for each in SOURCES]
            if all(each is not None and each.offset == self._sent for each in found):
                return
            await trio.sleep(0.05)

    async def are_right(self) -> None:
        """Waits until the newest balances are those that they must be."""
        partitions = [TopicPartition("balances", each) for each in range(PARTITIONS)]
        found: dict[str, Account] = {}
        async with open_consumer(self._client) as consumer:
            await consumer.assign(dict.fromkeys(partitions, EARLIEST))
            while found != self.expected:
                for chunk in await consumer.poll(100):
                    for key, value in zip(chunk.columns.keys, chunk.columns.values, strict=True):
                        row = json.loads(value or b"")
                        assert key is not None
                        found[key.decode()] = Account(row["payments"], row["cents"])


async def test_a_standby_goes_on_for_a_worker_that_is_killed_with_nothing_to_restore(
    address: str, tmp_path: Path
) -> None:
    status, stop = RunStatus(), trio.Event()
    here = status.of(NAME)
    with trio.fail_after(PATIENCE_S):
        async with open_client(ClientConfig(brokers=(address,))) as client:
            await Admin(client).create_topics([NewTopic("payments", PARTITIONS, configs=KEPT)])
            books = Books(client)
            await books.send(5, ACCOUNTS)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(
                    run_worker, (accounts,), config(address, tmp_path / "here"), status, stop
                )
                command = [sys.executable, WORKER, address, str(tmp_path / "there")]
                other = await nursery.start(partial(trio.run_process, command, check=False))
                await until(lambda: len(here.by_task) == TASKS // 2)
                await books.send(7, ACCOUNTS)
                await books.are_read()
                await until(lambda: is_warm(here))
                before = here.restored_records
                other.kill()
                await until(lambda: len(here.by_task) == TASKS and not here.restores)
                assert here.restored_records - before <= RESTORED_MAX
                await books.send(11, 100)
                await books.are_read()
                await books.are_right()
                stop.set()
