"""Reads and writes the registry's topic; `registry` says what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.config import ConsumerConfig, ProducerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.errors import UnreachableError
from streamlog.processing.plan.topics import COMPACTED
from streamlog.processing.replay.registry import TOPIC, Registry

if TYPE_CHECKING:
    from streamlog.client.client import Client

READ_TIMEOUT_S = 30
"""For some kilobytes; who waits longer has lost the broker."""
POLL_WAIT_MS = 500

_PARTITION = TopicPartition(TOPIC, 0)


async def read_registry(client: Client) -> Registry:
    """Returns what the cluster knows of versions; all that was acknowledged before is in it."""
    registry = Registry()
    if TOPIC not in await Admin(client).describe_topics([TOPIC]):
        return registry
    async with open_consumer(client, ConsumerConfig()) as consumer:
        end = (await consumer.end_offsets([_PARTITION]))[_PARTITION]
        if end == 0:
            return registry
        await consumer.assign({_PARTITION: EARLIEST})
        with trio.move_on_after(READ_TIMEOUT_S) as scope:
            while (consumer.position(_PARTITION) or 0) < end:
                for chunk in await consumer.poll(POLL_WAIT_MS):
                    columns = chunk.columns
                    registry.feed(zip(columns.keys, columns.values, strict=True))
    if scope.cancelled_caught:
        raise UnreachableError(f"topic {TOPIC} could not be read within {READ_TIMEOUT_S} s")
    return registry


async def write_registry(client: Client, *records: tuple[bytes, bytes | None]) -> None:
    """Writes records, all or none, and waits until they are durable."""
    admin = Admin(client)
    if TOPIC not in await admin.describe_topics([TOPIC]):
        try:
            await admin.create_topics([NewTopic(TOPIC, 1, configs=COMPACTED)])
        except KafkaError as error:
            if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS:
                raise
    async with open_producer(client, ProducerConfig()) as producer:
        keys, values = [key for key, _ in records], [value for _, value in records]
        now_ms = _now_ms()
        delivery = await producer.send_columns(
            TOPIC, 0, keys, values, [now_ms] * len(records), atomic=True
        )
        await delivery.wait()


def _now_ms() -> int:
    from streamlog.doors import SystemClock

    return SystemClock().wall_ms()
