"""Loads the data set into topics, each record once, however often it is interrupted.

No bookkeeping is needed for that, because everything is decided by the data: which partition a
record goes to (its key, by Java's hash) and the order of records in it. One idempotent producer
appends each partition in that order, so whatever was interrupted, a partition holds a beginning of
its records, and its end offset says how long a beginning. The next load skips that many. Before it
appends, it compares the last record that is there with the one that should be there, so that a
topic of the same name with other content is refused instead of continued.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.cli.demo.dataset import TABLES, TableFile
from streamlog.client.admin.values import NewTopic
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.errors import RefusedError
from streamlog.processing.plan.topics import KEPT
from streamlog.records.murmur2 import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from streamlog.cli.demo.dataset import Chunk
    from streamlog.client.admin.admin import Admin
    from streamlog.client.client import Client
    from streamlog.client.producer.delivery import RangeDelivery
    from streamlog.client.producer.producer import Producer

PARTITIONS_DEFAULT = 4
CHUNKS_IN_FLIGHT = 8
"""Chunks that may be unacknowledged: enough to keep the broker busy, and a bound on memory."""
SETTLE_INTERVAL_S = 0.5
"""An interrupted loader's last requests may still be under way in a broker that goes on; when two
looks at the end, this far apart, agree, they have arrived."""


@dataclass(slots=True)
class Progress:
    """How far a load is: records of the whole data set, and those that were there already."""

    total: int = 0
    loaded: int = 0
    found: int = 0
    topic: str = ""


async def load(
    client: Client, admin: Admin, folder: Path, partitions: int | None, progress: Progress
) -> None:
    """Creates the topics and loads what they lack.

    Args:
        client: For producing and for a look at what is there.
        admin: For the topics.
        folder: Where the CSV files are.
        partitions: For topics that are created; existing ones keep theirs.
        progress: Is kept up to date.

    Raises:
        RefusedError: If a topic has another number of partitions than asked for, or other content.
    """
    counts = await _create_topics(admin, partitions)
    files = [TableFile(table, folder) for table in TABLES]
    progress.total = sum(len(file) for file in files)
    async with open_producer(client) as producer:
        for file in files:
            topic = progress.topic = file.table.topic
            ends = await _settled_ends(admin, topic, counts[topic], len(file))
            found = sum(ends)
            progress.found += found
            progress.loaded += found
            if found > len(file):
                raise _foreign(topic, f"it has {found} records, the data set {len(file)}")
            if found < len(file):
                loader = _TopicLoader(client, producer, topic, ends)
                await loader.load(file, progress)


async def _create_topics(admin: Admin, partitions: int | None) -> dict[str, int]:
    """Creates the topics that are missing; returns how many partitions each has."""
    names = [table.topic for table in TABLES]
    there = await admin.describe_topics(names)
    missing = [name for name in names if name not in there]
    wanted = partitions or PARTITIONS_DEFAULT
    if missing:
        await admin.create_topics(
            [NewTopic(name, partition_count=wanted, configs=KEPT) for name in missing]
        )
    counts = {name: len(topic.partitions) for name, topic in there.items()}
    for name, count in counts.items():
        if partitions is not None and count != partitions:
            raise RefusedError(
                f'topic "{name}" is there already and has {count} partitions, not {partitions}',
                hint=f"Leave out --partitions, or use another folder: --data demo-{partitions}",
            )
    return counts | dict.fromkeys(missing, wanted)


async def _settled_ends(admin: Admin, topic: str, count: int, expected: int) -> list[int]:
    """Returns how many records each partition has, once that does not change any more."""
    ends = await _ends(admin, topic, count)
    while 0 < sum(ends) < expected:
        await trio.sleep(SETTLE_INTERVAL_S)
        earlier, ends = ends, await _ends(admin, topic, count)
        if earlier == ends:
            break
    return ends


async def _ends(admin: Admin, topic: str, count: int) -> list[int]:
    partitions = [TopicPartition(topic, number) for number in range(count)]
    starts = await admin.list_offsets(dict.fromkeys(partitions, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(partitions, LATEST))
    if any(found is not None and found.offset > 0 for found in starts.values()):
        raise _foreign(topic, "its oldest records have been deleted")
    return [found.offset if (found := ends[partition]) else 0 for partition in partitions]


def _foreign(topic: str, why: str) -> RefusedError:
    return RefusedError(
        f'topic "{topic}" does not hold the demo\'s data: {why}',
        hint="Use another broker or folder, or delete it: "
        f"streamlog topic delete {topic} --execute",
    )


class _TopicLoader:
    """Appends to one topic what its partitions lack."""

    def __init__(self, client: Client, producer: Producer, topic: str, ends: Sequence[int]) -> None:
        self._client = client
        self._producer = producer
        self._topic = topic
        self._ends = ends
        self._positions = [0] * len(ends)
        self._partition_of_key: dict[bytes, int] = {}
        self._in_flight: deque[tuple[list[RangeDelivery], int]] = deque()

    async def load(self, file: TableFile, progress: Progress) -> None:
        """Loads the rest of a table."""

        def acknowledged(records: int) -> None:
            progress.loaded += records

        for chunk in file.chunks():
            await self._send(chunk)
            # The broker may live in this very process: let it work, and keep memory bounded.
            while len(self._in_flight) >= CHUNKS_IN_FLIGHT:
                await self._wait_oldest(acknowledged)
            await trio.lowlevel.checkpoint()
        while self._in_flight:
            await self._wait_oldest(acknowledged)

    async def _wait_oldest(self, acknowledged: Callable[[int], None]) -> None:
        deliveries, records = self._in_flight.popleft()
        for delivery in deliveries:
            await delivery.wait()
        acknowledged(records)

    async def _send(self, chunk: Chunk) -> None:
        deliveries = []
        records = 0
        for partition, rows in self._rows_of_partitions(chunk).items():
            position, end = self._positions[partition], self._ends[partition]
            self._positions[partition] = position + len(rows)
            if position < end <= position + len(rows):
                await self._check_last(partition, end, chunk, rows[end - position - 1])
            rows = rows[max(end - position, 0) :]
            if rows:
                records += len(rows)
                deliveries.append(
                    await self._producer.send_columns(
                        self._topic,
                        partition,
                        [chunk.keys[row] for row in rows],
                        [chunk.values[row] for row in rows],
                        [chunk.timestamps[row] for row in rows],
                    )
                )
        self._in_flight.append((deliveries, records))

    def _rows_of_partitions(self, chunk: Chunk) -> dict[int, list[int]]:
        rows: dict[int, list[int]] = {}
        partition_of_key, count = self._partition_of_key, len(self._ends)
        for row, key in enumerate(chunk.keys):
            partition = partition_of_key.get(key)
            if partition is None:
                partition = partition_of_key[key] = partition_of(key, count)
            rows.setdefault(partition, []).append(row)
        return rows

    async def _check_last(self, partition: int, end: int, chunk: Chunk, row: int) -> None:
        """Compares a partition's last record with the row that should be there."""
        place = TopicPartition(self._topic, partition)
        async with open_consumer(self._client) as consumer:
            await consumer.assign({place: end - 1})
            position = end - 1
            found = None
            while position < end:
                for fetched in await consumer.poll():
                    position = fetched.next_offset
                    columns = fetched.columns
                    if len(columns) and columns.offsets[0] == end - 1:
                        found = (columns.keys[0], columns.values[0], columns.timestamps[0])
        if found != (chunk.keys[row], chunk.values[row], chunk.timestamps[row]):
            raise _foreign(self._topic, f"the record at {place}@{end - 1} is another")
