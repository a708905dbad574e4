"""Global tables: a whole copy in every worker, complete before the first event, then kept current.

A table's topic is read from its beginning: the newest value of a key holds, a null value removes
the key. Loading ends by position, at the end offsets seen when it began, because the last offsets
of a compacted topic may hold no record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.processing.operators.tables import TableView

POLL_WAIT_MS = 500


async def keep_tables(
    client: Client,
    tables: Mapping[str, TableView],
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Loads the tables (by topic), says that it has started once they are complete, goes on."""
    if not tables:
        task_status.started()
        return
    async with open_consumer(client, ConsumerConfig()) as consumer:
        partitions = [
            TopicPartition(topic, partition)
            for topic in tables
            for partition in range(await client.partition_count(topic))
        ]
        missing = {
            each: end for each, end in (await consumer.end_offsets(partitions)).items() if end > 0
        }
        await consumer.assign(dict.fromkeys(partitions, EARLIEST))
        loading = True
        while True:
            if loading and all(
                (consumer.position(each) or 0) >= end for each, end in missing.items()
            ):
                loading = False
                task_status.started()
            for chunk in await consumer.poll(POLL_WAIT_MS):
                tables[chunk.topic].apply(chunk.columns, chunk.partition)
