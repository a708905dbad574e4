"""The producer: sends records in batches and says what became of each."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from streamlog.client.config import Compression, ProducerConfig
from streamlog.client.errors import ConnectionLostError, UnknownTopicError
from streamlog.client.nursery import background_nursery
from streamlog.client.producer.accumulator import Accumulator, too_large_as_one
from streamlog.client.producer.delivery import Delivery, RangeDelivery, wait_settled
from streamlog.client.producer.partitioner import Partitioner
from streamlog.client.producer.sender import Sender
from streamlog.client.values import TopicPartition
from streamlog.doors import SystemClock
from streamlog.errors import UsageError
from streamlog.records.batch import HEADER_SIZE, Codec
from streamlog.records.codec import encode_batch
from streamlog.records.sizes import column_sizes, columns_size, record_size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamlog.client.client import Client
    from streamlog.doors import Clock
    from streamlog.errors import StreamlogError
    from streamlog.records.columns import Headers


class Producer:
    """Sends records; made by `open_producer`."""

    def __init__(self, client: Client, config: ProducerConfig, clock: Clock) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._accumulator = Accumulator(config, client.new_backoff)
        self._partitioner = Partitioner(client.rng, config.batch_bytes)
        self._sender = Sender(client, config, self._accumulator)
        self._partitions: dict[str, tuple[TopicPartition, ...]] = {}
        self._available: dict[str, list[int]] = {}
        self._metadata_version = -1

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Puts a record into a batch; waits only while the buffer is full.

        It lets other tasks run whenever a batch begins, not at every record.

        Args:
            topic: Where to; it must exist, unless the broker creates topics on demand.
            value: None deletes the key in a compacted topic.
            key: Decides the partition, as in Kafka's Java client.
            partition: Overrides that.
            timestamp_ms: Since 1970; now if not given.
            headers: Pairs of a name and bytes.

        Raises:
            UnknownTopicError: the topic or partition does not exist.
            RecordTooLargeError: it is larger than the producer's limit.
        """
        partitions = self._known(topic) or await self._look_up(topic)
        size = record_size(key, value, headers)
        if partition is None:
            if key is not None:
                partition = self._partitioner.of_key(topic, key, len(partitions))
            else:
                partition = self._partitioner.without_key(topic, self._available[topic], size)
        elif not 0 <= partition < len(partitions):
            raise UnknownTopicError(topic, partition)
        target = partitions[partition]
        if timestamp_ms is None:
            timestamp_ms = self._clock.wall_ms()
        accumulator = self._accumulator
        accumulator.check_size(target, size)
        if not accumulator.has_room(size):
            await self._wait_room(size)
        fate, index, is_news = accumulator.append(
            target, key, value, timestamp_ms, headers, size, trio.current_time() * 1000
        )
        if is_news:
            self._sender.wake()
            await trio.lowlevel.checkpoint()
        return Delivery(target, fate, index, timestamp_ms, self._on_raised)

    async def send_columns(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None = None,
        *,
        atomic: bool = False,
    ) -> RangeDelivery:
        """Puts records straight into batches of one partition, in order, as few as can be.

        They are sent without lingering. With `atomic`, all of them go into one record batch, which
        is in the log whole or not at all.

        Raises:
            BatchTooLargeError: `atomic` was asked for and they do not fit into one batch.
        """
        if not values or not len(keys) == len(values) == len(timestamps):
            raise UsageError(
                f"columns of {len(keys)} keys, {len(values)} values and {len(timestamps)} "
                "timestamps",
                hint="Give at least one row, and columns of one length",
            )
        partitions = self._known(topic) or await self._look_up(topic)
        if not 0 <= partition < len(partitions):
            raise UnknownTopicError(topic, partition)
        target = partitions[partition]
        size = columns_size(keys, values, headers)
        if size + HEADER_SIZE > self._config.request_bytes_max:
            self._accumulator.check_size(target, max(column_sizes(keys, values, headers)))
            if atomic:
                self._check_fits(target, keys, values, timestamps, headers, size)
        if not self._accumulator.has_room(size):
            await self._wait_room(size)
        fates = self._accumulator.append_columns(
            target,
            keys,
            values,
            timestamps,
            headers,
            trio.current_time() * 1000,
            atomic=atomic,
            size=size,
        )
        self._sender.wake()
        await trio.lowlevel.checkpoint()
        return RangeDelivery(target, fates, self._on_raised)

    async def flush(self) -> None:
        """Waits until all that was sent is acknowledged.

        Raises:
            StreamlogError: the first failure since the last time that nobody has been told of.
        """
        accumulator = self._accumulator
        accumulator.hurry_count += 1
        self._sender.wake()
        try:
            await trio.lowlevel.checkpoint()
            for fate in accumulator.unfinished():
                await wait_settled(fate)
        finally:
            accumulator.hurry_count -= 1
        failure = accumulator.take_failure()
        if failure is not None:
            raise failure

    async def run(self) -> None:
        """The sender task."""
        await self._sender.run()

    def close(self) -> None:
        """Fails what is not acknowledged, and closes the connections."""
        error = ConnectionLostError("the producer was closed before the record was acknowledged")
        for fate in self._accumulator.unfinished():
            fate.fail(error)
        self._client.release(self._sender.purpose)

    def _known(self, topic: str) -> tuple[TopicPartition, ...] | None:
        """Returns the partitions of a topic if metadata has them and has not changed."""
        if self._metadata_version != self._client.metadata.version:
            self._partitions.clear()
            self._metadata_version = self._client.metadata.version
        return self._partitions.get(topic)

    async def _look_up(self, topic: str) -> tuple[TopicPartition, ...]:
        info = await self._client.topic(topic, create=self._config.allow_auto_create)
        self._client.keeper.track([topic])
        numbers = range(info.partition_count)
        partitions = tuple(TopicPartition(topic, number) for number in numbers)
        leader = self._client.metadata.leader
        led = [each.partition for each in partitions if leader(each) is not None]
        self._known(topic)
        self._partitions[topic] = partitions
        self._available[topic] = led or list(numbers)
        return partitions

    async def _wait_room(self, size: int) -> None:
        accumulator = self._accumulator
        accumulator.hurry_count += 1
        self._sender.wake()
        try:
            while not accumulator.has_room(size):
                await self._sender.wait_progress()
        finally:
            accumulator.hurry_count -= 1

    def _check_fits(
        self,
        target: TopicPartition,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None,
        size: int,
    ) -> None:
        """Refuses what is too large for one batch also when it is compressed."""
        if self._config.compression is not Compression.NONE:
            codec = Codec[self._config.compression.name]
            rows = None if headers is None else list(headers)
            batch = encode_batch(list(keys), list(values), list(timestamps), rows, codec=codec)
            if len(batch) <= self._config.request_bytes_max:
                return
        raise too_large_as_one(target, len(values), size)

    def _on_raised(self, error: StreamlogError) -> None:
        """Somebody has been told of this failure; flush need not tell it again."""
        if self._accumulator.first_failure is error:
            self._accumulator.take_failure()


@asynccontextmanager
async def open_producer(
    client: Client, config: ProducerConfig | None = None, *, clock: Clock | None = None
) -> AsyncIterator[Producer]:
    """Opens a producer.

    Leaving the block normally flushes, and raises if something failed that nobody was told of;
    leaving it by an exception drops what is not acknowledged.
    """
    producer = Producer(client, config or ProducerConfig(), clock or SystemClock())
    try:
        async with background_nursery() as nursery:
            nursery.start_soon(producer.run)
            yield producer
            await producer.flush()
    finally:
        producer.close()
