"""ListOffsets (key 2): offsets by time, and the special times earliest, latest and largest.

Only what consumers may read is told: latest is the high watermark, and a time whose first record
lies above it is answered as if there were none (offset -1, no error).

Version notes: 2 isolation level; 4 leader epoch; 6 flexible; 7 MAX_TIMESTAMP (-3).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamlog.broker.handlers.fetch_reads import check_leader_epoch, code_of_missing
from streamlog.broker.log.errors import LogError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.list_offsets import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.wire.messages.list_offsets import ListOffsetsPartition, ListOffsetsRequest

logger = logging.getLogger("streamlog.broker")

LATEST, EARLIEST, MAX_TIMESTAMP = -1, -2, -3
MAX_TIMESTAMP_VERSION_MIN = 7


def handle_list_offsets(
    request: ListOffsetsRequest, context: RequestContext
) -> ListOffsetsResponse:
    """Answers every partition; one that is named twice is refused."""
    seen: set[tuple[str, int]] = set()
    repeated: set[tuple[str, int]] = set()
    for topic in request.topics:
        for wanted in topic.partitions:
            key = (topic.name, wanted.partition_index)
            (repeated if key in seen else seen).add(key)
    return ListOffsetsResponse(
        topics=[
            ListOffsetsTopicResponse(
                name=topic.name,
                partitions=[
                    _refusal(wanted, ErrorCode.INVALID_REQUEST)
                    if (topic.name, wanted.partition_index) in repeated
                    else _answer(topic.name, wanted, context)
                    for wanted in topic.partitions
                ],
            )
            for topic in request.topics
        ]
    )


def _answer(
    topic: str, wanted: ListOffsetsPartition, context: RequestContext
) -> ListOffsetsPartitionResponse:
    log = context.broker.logs.get(topic, wanted.partition_index)
    if log is None:
        code = code_of_missing(context.broker.logs, topic, wanted.partition_index)
        return _refusal(wanted, code)
    code = check_leader_epoch(wanted.current_leader_epoch, log.leader_epoch)
    if code is not ErrorCode.NONE:
        return _refusal(wanted, code)
    lowest = EARLIEST if context.version < MAX_TIMESTAMP_VERSION_MIN else MAX_TIMESTAMP
    if wanted.timestamp < lowest:
        return _refusal(wanted, ErrorCode.UNSUPPORTED_VERSION)
    try:
        found = _look_up(log, wanted.timestamp)
    except (LogError, OSError) as error:
        logger.error("cannot search %s-%d by time: %s", topic, wanted.partition_index, error)
        return _refusal(wanted, ErrorCode.KAFKA_STORAGE_ERROR)
    if found is None:
        return ListOffsetsPartitionResponse(
            partition_index=wanted.partition_index, timestamp=-1, offset=-1
        )
    offset, timestamp = found
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index,
        timestamp=timestamp,
        offset=offset,
        leader_epoch=log.leader_epoch,
    )


def _look_up(log: PartitionLog, timestamp: int) -> tuple[int, int] | None:
    """Returns (offset, its timestamp), or None if no readable record fits."""
    if timestamp == LATEST:
        return log.high_watermark, -1
    if timestamp == EARLIEST:
        return log.log_start_offset, -1
    found = (
        log.offset_of_max_timestamp()
        if timestamp == MAX_TIMESTAMP
        else log.offset_for_timestamp(timestamp)
    )
    return found if found is not None and found[0] < log.high_watermark else None


def _refusal(wanted: ListOffsetsPartition, code: ErrorCode) -> ListOffsetsPartitionResponse:
    return ListOffsetsPartitionResponse(
        partition_index=wanted.partition_index, error_code=code, timestamp=-1, offset=-1
    )
