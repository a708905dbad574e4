"""Produce (key 0): appends batches, and answers when they are as safe as the producer wants.

Appends happen in the order of the requests, before this handler returns; only the waiting is put
off, so that one flush of the disk answers whatever was appended before it began.

* acks 0: no response at all; an error closes the connection, the one way to tell.
* acks 1: answered at once. The batch is in the page cache.
* acks -1: answered when the flushed offset is past the batch, or with REQUEST_TIMED_OUT after the
  producer's time; what was appended stays, and an idempotent producer's retry finds it.

Each partition succeeds or fails alone. Versions 0 to 2 are advertised and refused: librdkafka
before 2.11 believes that a broker without version 0 cannot do compression (KAFKA-18659).

Version notes: 3 batches v2; 5 log start offset; 7 zstd; 8 record errors; 9 flexible.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from streamlog.broker.handlers.fetch_reads import code_of_missing
from streamlog.broker.handlers.services import Later
from streamlog.broker.log.errors import AppendError, LogError
from streamlog.broker.server.reply import CloseConnectionError
from streamlog.records.batch import Codec
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.produce import (
    BatchIndexAndErrorMessage,
    PartitionProduceResponse,
    ProduceResponse,
    TopicProduceResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.handlers.services import RequestContext
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.wire.messages.produce import PartitionProduceData, ProduceRequest

logger = logging.getLogger("streamlog.broker")

ACKS_NONE, ACKS_LEADER, ACKS_ALL = 0, 1, -1
ZSTD_VERSION_MIN = 7
ATTRIBUTES_LOW_BYTE = 22
"""Where a batch says which codec it is in."""

Unflushed = tuple[PartitionProduceResponse, "PartitionLog", int]


def handle_produce(
    request: ProduceRequest, context: RequestContext
) -> ProduceResponse | Later | None:
    """Appends all batches of a request."""
    unflushed: list[Unflushed] = []
    has_failed = False
    topics: list[TopicProduceResponse] = []
    for topic in request.topic_data:
        answers: list[PartitionProduceResponse] = []
        for data in topic.partition_data:
            answer = _append(topic.name, data, request, context, unflushed)
            has_failed = has_failed or answer.error_code != 0
            if answer.error_code and context.broker.logs.get(topic.name, data.index) is not None:
                context.broker.traffic.of(topic.name).failed_produce_requests += 1
            answers.append(answer)
        topics.append(TopicProduceResponse(name=topic.name, partition_responses=answers))
    if request.acks == ACKS_NONE:
        if has_failed:
            raise CloseConnectionError(f"a Produce request with acks=0 failed: {_failures(topics)}")
        return None
    response = ProduceResponse(responses=topics)
    if not unflushed or request.acks == ACKS_LEADER:
        return response

    async def complete() -> ProduceResponse:
        await _wait_flushed(unflushed, request.timeout_ms, context)
        return response

    return Later(complete)


def _append(
    topic: str,
    data: PartitionProduceData,
    request: ProduceRequest,
    context: RequestContext,
    unflushed: list[Unflushed],
) -> PartitionProduceResponse:
    broker = context.broker
    log = broker.logs.get(topic, data.index)
    if log is None:
        return _refusal(data.index, code_of_missing(broker.logs, topic, data.index))
    code = _check(request, data, log, context.version)
    if code is not ErrorCode.NONE:
        return _refusal(data.index, code)
    assert isinstance(data.records, bytearray | memoryview)
    try:
        info = log.append(data.records, now_ms=broker.clock.wall_ms())
    except AppendError as error:
        return _refusal(data.index, error.code, error.message, error.record_errors)
    except LogError as error:
        logger.error("cannot append to %s-%d: %s", topic, data.index, error)
        return _refusal(data.index, error.code, error.message)
    if not info.duplicate:
        traffic = broker.traffic.of(topic)
        traffic.produce_requests += 1
        traffic.messages_in += info.last_offset - info.base_offset + 1
        traffic.bytes_in += len(data.records)
    answer = PartitionProduceResponse(
        index=data.index,
        base_offset=info.base_offset,
        log_append_time_ms=info.log_append_time_ms,
        log_start_offset=info.log_start_offset,
    )
    if log.high_watermark <= info.last_offset:
        unflushed.append((answer, log, info.last_offset + 1))
    return answer


def _check(
    request: ProduceRequest, data: PartitionProduceData, log: PartitionLog, version: int
) -> ErrorCode:
    """What can be said before the log looks at the batch."""
    if request.acks not in (ACKS_NONE, ACKS_LEADER, ACKS_ALL):
        return ErrorCode.INVALID_REQUIRED_ACKS
    if request.acks == ACKS_ALL and log.config.min_insync_replicas > 1:
        return ErrorCode.NOT_ENOUGH_REPLICAS
    records = data.records
    if records is None or len(records) <= ATTRIBUTES_LOW_BYTE:
        return ErrorCode.INVALID_RECORD
    if version < ZSTD_VERSION_MIN and records[ATTRIBUTES_LOW_BYTE] & 7 == Codec.ZSTD:
        return ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    return ErrorCode.NONE


async def _wait_flushed(
    unflushed: list[Unflushed], timeout_ms: int, context: RequestContext
) -> None:
    done = 0
    with trio.move_on_after(max(timeout_ms, 0) / 1000):
        for answer, log, offset in unflushed:
            try:
                await context.broker.logs.wait_flushed(log, offset)
            except LogError as error:
                _turn_into_error(answer, error.code, error.message)
            done += 1
    for answer, _, _ in unflushed[done:]:
        _turn_into_error(answer, ErrorCode.REQUEST_TIMED_OUT, "not flushed in time")


def _turn_into_error(answer: PartitionProduceResponse, code: ErrorCode, message: str) -> None:
    answer.error_code = code
    answer.base_offset = -1
    answer.log_append_time_ms = -1
    answer.log_start_offset = -1
    answer.error_message = message


def _refusal(
    index: int,
    code: ErrorCode,
    message: str | None = None,
    record_errors: Sequence[tuple[int, str]] = (),
) -> PartitionProduceResponse:
    return PartitionProduceResponse(
        index=index,
        error_code=code,
        base_offset=-1,
        log_append_time_ms=-1,
        log_start_offset=-1,
        record_errors=[
            BatchIndexAndErrorMessage(batch_index=position, batch_index_error_message=text)
            for position, text in record_errors
        ],
        error_message=message,
    )


def _failures(topics: list[TopicProduceResponse]) -> str:
    failed = [
        f"{topic.name}-{answer.index} {ErrorCode(answer.error_code).name}"
        for topic in topics
        for answer in topic.partition_responses
        if answer.error_code
    ]
    return ", ".join(failed[:5]) + (", ..." if len(failed) > 5 else "")
