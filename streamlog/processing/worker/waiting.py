"""How many records wait for a task: what is left of a repartition topic, without the markers.

Writers tell stream time by markers, which are records of the log like any other. When a pipeline
has read everything, or was stopped, the last of them often stand behind its last checkpoint, and
nothing waits all the same. Where little is left it is read and counted; where much is left, a few
markers among it do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.errors import OffsetOutOfRangeError
from streamlog.processing.repartition.position import MARKER_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.client.values import FetchedChunk, TopicPartition

READ_MAX: Final = 1_000
"""Offsets of a partition; a reader is seldom this many markers behind."""
PATIENCE_S: Final = 2.0
POLL_WAIT_MS: Final = 100


async def count_waiting(
    client: Client, left: Mapping[TopicPartition, tuple[int, int]]
) -> dict[TopicPartition, int]:
    """Counts records that are no markers; partitions with too much left are missing.

    Args:
        client: Of the cluster.
        left: What is left of partitions: the next offset to read, and the end.
    """
    wanted = {key: (at, end) for key, (at, end) in left.items() if 0 < end - at <= READ_MAX}
    if not wanted:
        return {}
    counts = dict.fromkeys(wanted, 0)
    done: dict[TopicPartition, int] = {}
    async with open_consumer(client, ConsumerConfig()) as consumer:
        await consumer.assign({key: at for key, (at, _) in wanted.items()})
        with trio.move_on_after(PATIENCE_S):
            while len(done) < len(wanted):
                try:
                    chunks = await consumer.poll(POLL_WAIT_MS)
                except OffsetOutOfRangeError:
                    break  # Somebody deletes records meanwhile.
                for chunk in chunks:
                    key = chunk.topic_partition
                    counts[key] += _records_of(chunk, wanted[key][1])
                for key, (_, end) in wanted.items():
                    if key not in done and (consumer.position(key) or 0) >= end:
                        done[key] = counts[key]
                        await consumer.unassign([key])
    return done


def _records_of(chunk: FetchedChunk, end: int) -> int:
    """How many records of a chunk, before an end, are no markers."""
    columns = chunk.columns
    headers = columns.headers or [()] * len(columns)
    return sum(
        1
        for offset, own in zip(columns.offsets, headers, strict=True)
        if offset < end and not any(name == MARKER_HEADER for name, _ in own)
    )
