"""DeleteRecords (key 21): moves the start of a partition's log up to an offset.

Offset -1 means the high watermark. The response bears the new log start. Records are gone for
readers at once; the space is freed by whole segments.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamlog.broker.handlers.fetch_reads import code_of_missing
from streamlog.broker.log.errors import LogError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_records import (
    DeleteRecordsPartitionResult,
    DeleteRecordsResponse,
    DeleteRecordsTopicResult,
)

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.delete_records import (
        DeleteRecordsPartition,
        DeleteRecordsRequest,
    )

logger = logging.getLogger("streamlog.broker")

HIGH_WATERMARK = -1


async def handle_delete_records(
    request: DeleteRecordsRequest, context: RequestContext
) -> DeleteRecordsResponse:
    """Moves the log start of every partition that is named."""
    topics = []
    for topic in request.topics:
        results = [await _delete(topic.name, wanted, context) for wanted in topic.partitions]
        topics.append(DeleteRecordsTopicResult(name=topic.name, partitions=results))
    return DeleteRecordsResponse(topics=topics)


async def _delete(
    topic: str, wanted: DeleteRecordsPartition, context: RequestContext
) -> DeleteRecordsPartitionResult:
    index = wanted.partition_index
    log = context.broker.logs.get(topic, index)
    if log is None:
        return _refusal(index, code_of_missing(context.broker.logs, topic, index))
    if log.config.is_compacted and not log.config.deletes:
        return _refusal(index, ErrorCode.POLICY_VIOLATION)
    if wanted.offset < HIGH_WATERMARK:
        return _refusal(index, ErrorCode.OFFSET_OUT_OF_RANGE)
    try:
        low_watermark = await context.broker.logs.delete_records(log, wanted.offset)
    except LogError as error:
        if error.code is not ErrorCode.OFFSET_OUT_OF_RANGE:
            logger.error("cannot delete records of %s-%d: %s", topic, index, error)
        return _refusal(index, error.code)
    return DeleteRecordsPartitionResult(partition_index=index, low_watermark=low_watermark)


def _refusal(partition: int, code: ErrorCode) -> DeleteRecordsPartitionResult:
    return DeleteRecordsPartitionResult(
        partition_index=partition, low_watermark=-1, error_code=code
    )
