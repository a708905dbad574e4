"""Asks a partition's leader where an epoch ended, to see whether what was read is still there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.wire.messages.offset_for_leader_epoch import (
    OffsetForLeaderEpochRequest,
    OffsetForLeaderPartition,
    OffsetForLeaderTopic,
)

if TYPE_CHECKING:
    from streamlog.client.client import Client
    from streamlog.client.values import TopicPartition

CONSUMER = -1
UNDEFINED = -1


async def end_of_epoch(client: Client, partition: TopicPartition, epoch: int) -> int | None:
    """Returns the offset after the last record of the epoch, or of the last one before it.

    None if the leader knows nothing of epochs.
    """

    async def attempt() -> int | None:
        info = await client.leader(partition)
        request = OffsetForLeaderEpochRequest(
            replica_id=CONSUMER,
            topics=[
                OffsetForLeaderTopic(
                    topic=partition.topic,
                    partitions=[
                        OffsetForLeaderPartition(
                            partition=partition.partition,
                            current_leader_epoch=info.leader_epoch,
                            leader_epoch=epoch,
                        )
                    ],
                )
            ],
        )
        response = await client.call(info.leader, request)
        answer = response.topics[0].partitions[0]
        if answer.error_code != ErrorCode.NONE:
            raise KafkaError(answer.error_code, f"the end of epoch {epoch} of {partition}")
        return None if answer.end_offset == UNDEFINED else answer.end_offset

    return await client.retrying(attempt)
