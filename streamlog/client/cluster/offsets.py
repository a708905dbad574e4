"""Looks up offsets by time, or the ends of partitions, at their leaders."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import trio

from streamlog.client.errors import ConnectionLostError, ErrorCode, KafkaError
from streamlog.client.values import OffsetAndTimestamp, TopicPartition
from streamlog.errors import StreamlogError
from streamlog.wire.messages.list_offsets import (
    ListOffsetsPartition,
    ListOffsetsRequest,
    ListOffsetsTopic,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.client.config import Isolation

Found = dict[TopicPartition, OffsetAndTimestamp | None]


async def list_offsets(
    client: Client, wanted: Mapping[TopicPartition, int], isolation: Isolation
) -> Found:
    """Looks up, for each partition, `EARLIEST`, `LATEST` or the first record at or after a time.

    Returns:
        None for a partition in which nothing is as late as that.

    Raises:
        StreamlogError: what the last attempt failed with.
    """
    found: Found = {}

    async def attempt() -> None:
        missing = {each: at for each, at in wanted.items() if each not in found}
        by_leader: defaultdict[int, dict[TopicPartition, int]] = defaultdict(dict)
        for partition, timestamp in missing.items():
            by_leader[(await client.leader(partition)).leader][partition] = timestamp
        failures: list[StreamlogError] = []

        async def ask(leader: int, asked: Mapping[TopicPartition, int]) -> None:
            try:
                found.update(await _ask_leader(client, leader, asked, isolation, failures))
            except StreamlogError as error:
                failures.append(error)

        async with trio.open_nursery() as nursery:
            for leader, asked in by_leader.items():
                nursery.start_soon(ask, leader, asked)
        if failures:
            raise failures[0]

    await client.retrying(attempt)
    return {each: found[each] for each in wanted}


async def _ask_leader(
    client: Client,
    leader: int,
    asked: Mapping[TopicPartition, int],
    isolation: Isolation,
    failures: list[StreamlogError],
) -> Found:
    topics: dict[str, ListOffsetsTopic] = {}
    for partition, timestamp in asked.items():
        info = client.metadata.leader(partition)
        topic = topics.setdefault(partition.topic, ListOffsetsTopic(name=partition.topic))
        topic.partitions.append(
            ListOffsetsPartition(
                partition_index=partition.partition,
                current_leader_epoch=-1 if info is None else info.leader_epoch,
                timestamp=timestamp,
            )
        )
    response = await client.call(
        leader,
        ListOffsetsRequest(
            replica_id=-1, isolation_level=isolation.value, topics=list(topics.values())
        ),
    )
    found: Found = {}
    for topic_answer in response.topics:
        for answer in topic_answer.partitions:
            partition = TopicPartition(topic_answer.name, answer.partition_index)
            if answer.error_code != ErrorCode.NONE:
                failures.append(KafkaError(answer.error_code, f"no offset of {partition}"))
            elif answer.offset < 0:
                found[partition] = None
            else:
                found[partition] = OffsetAndTimestamp(
                    answer.offset, answer.timestamp, answer.leader_epoch
                )
    if found.keys() != asked.keys() and not failures:
        failures.append(ConnectionLostError(f"broker {leader} left out partitions that were asked"))
    return found
