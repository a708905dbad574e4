"""OffsetForLeaderEpoch (key 23): where a leader's epoch ended, so that a reader finds a cut log.

A consumer that saw offset N under epoch E asks for the end of E; an end below N means that the log
was cut since (KIP-320). An epoch above the newest is answered with -1, never with a guess.

Version notes: 2 is all that librdkafka sends; 3 replica id; 4 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.handlers.fetch_reads import check_leader_epoch, code_of_missing
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.offset_for_leader_epoch import (
        OffsetForLeaderEpochRequest,
        OffsetForLeaderPartition,
    )


def handle_offset_for_leader_epoch(
    request: OffsetForLeaderEpochRequest, context: RequestContext
) -> OffsetForLeaderEpochResponse:
    """Answers every partition."""
    return OffsetForLeaderEpochResponse(
        topics=[
            OffsetForLeaderTopicResult(
                topic=topic.topic,
                partitions=[_answer(topic.topic, wanted, context) for wanted in topic.partitions],
            )
            for topic in request.topics
        ]
    )


def _answer(
    topic: str, wanted: OffsetForLeaderPartition, context: RequestContext
) -> EpochEndOffset:
    log = context.broker.logs.get(topic, wanted.partition)
    if log is None:
        code = code_of_missing(context.broker.logs, topic, wanted.partition)
        return _refusal(wanted.partition, code)
    code = check_leader_epoch(wanted.current_leader_epoch, log.leader_epoch)
    if code is not ErrorCode.NONE:
        return _refusal(wanted.partition, code)
    epoch, end_offset = log.end_offset_for_epoch(wanted.leader_epoch)
    return EpochEndOffset(partition=wanted.partition, leader_epoch=epoch, end_offset=end_offset)


def _refusal(partition: int, code: ErrorCode) -> EpochEndOffset:
    return EpochEndOffset(partition=partition, error_code=code, leader_epoch=-1, end_offset=-1)
