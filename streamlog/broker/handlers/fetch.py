"""Fetch (key 1): record batches from an offset on, by long poll, straight from the page cache.

The response names ranges of segment files; the connection sends them with `sendfile`, so records
pass through this process uncopied and undecoded. When there is less than the client's `min_bytes`,
the request parks (`fetch_purgatory`) until there is enough or its time is over, and is read anew.
Errors are told at once.

Version notes: 4 isolation level (no transactions are served, so it makes no difference); 7 sessions
(`fetch_sessions`); 9 leader epoch; 10 zstd; 11 preferred replica; 12 flexible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.handlers.fetch_purgatory import ParkedFetch
from streamlog.broker.handlers.fetch_reads import FetchRead, PartitionRead, read_partitions
from streamlog.broker.handlers.fetch_sessions import (
    FetchContext,
    FetchSessionError,
    WantedPartition,
)
from streamlog.broker.handlers.services import FetchAnswer
from streamlog.wire.messages.fetch import FetchableTopicResponse, FetchResponse, PartitionData

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext, Services
    from streamlog.broker.log.log_slice import LogSlice
    from streamlog.wire.messages.fetch import FetchRequest

WAIT_MS_MAX = 300_000
"""No request parks for longer; clients ask for half a second, and resend."""

READ_COMMITTED = 1


async def handle_fetch(request: FetchRequest, context: RequestContext) -> FetchAnswer:
    """Reads what was asked for, waiting for it if need be."""
    broker = context.broker
    try:
        fetch = broker.fetch_sessions.open(
            request.session_id,
            request.session_epoch,
            _wanted_partitions(request),
            [
                (topic.topic, partition)
                for topic in request.forgotten_topics_data
                for partition in topic.partitions
            ],
            now_ms=broker.clock.wall_ms(),
        )
    except FetchSessionError as error:
        return FetchAnswer(FetchResponse(error_code=error.code), [])
    bytes_max = min(request.max_bytes, broker.config.fetch_bytes_max)
    read = read_partitions(broker.logs, fetch.partitions, bytes_max, version=context.version)
    wait_ms = min(request.max_wait_ms, WAIT_MS_MAX)
    if wait_ms > 0 and fetch.partitions and not read.has_errors and read.size < request.min_bytes:
        await _park(broker, read, request.min_bytes, wait_ms)
        read = read_partitions(broker.logs, fetch.partitions, bytes_max, version=context.version)
    _count(broker, read)
    return _respond(fetch, read, with_transactions=request.isolation_level == READ_COMMITTED)


def _count(broker: Services, read: FetchRead) -> None:
    for partition in read.partitions:
        # Names that are no topics are not remembered: anybody may make up any number of them.
        if partition.log is not None and (partition.size or partition.error_code):
            traffic = broker.traffic.of(partition.wanted.topic)
            traffic.fetch_requests += 1
            traffic.bytes_out += partition.size
            traffic.failed_fetch_requests += partition.error_code != 0


def _wanted_partitions(request: FetchRequest) -> list[WantedPartition]:
    return [
        WantedPartition(
            topic=topic.topic,
            partition=wanted.partition,
            fetch_offset=wanted.fetch_offset,
            bytes_max=wanted.partition_max_bytes,
            leader_epoch=wanted.current_leader_epoch,
        )
        for topic in request.topics
        for wanted in topic.partitions
    ]


async def _park(broker: Services, read: FetchRead, bytes_min: int, wait_ms: int) -> None:
    """Waits for more than what `read` found; no other task runs between that read and this."""
    watched = {}
    available = {}
    for partition in read.partitions:
        if partition.log is not None:
            wanted = partition.wanted
            watched[partition.log] = (wanted.fetch_offset, wanted.bytes_max)
            available[partition.log] = partition.size
    await broker.purgatory.wait(ParkedFetch(bytes_min, watched, available), wait_ms / 1000)


def _respond(fetch: FetchContext, read: FetchRead, *, with_transactions: bool) -> FetchAnswer:
    responses: list[FetchableTopicResponse] = []
    slices: list[LogSlice | None] = []
    for partition in read.partitions:
        if fetch.session is not None:
            is_news = partition.wanted.is_news(
                size=partition.size,
                error_code=partition.error_code,
                high_watermark=partition.high_watermark,
                log_start_offset=partition.log_start_offset,
            )
            if fetch.is_incremental and not is_news:
                continue
        topic = partition.wanted.topic
        # Consecutive partitions of a topic share an entry; their order is the request's.
        if not responses or responses[-1].topic != topic:
            responses.append(FetchableTopicResponse(topic=topic))
        responses[-1].partitions.append(_data(partition, with_transactions=with_transactions))
        slices.append(partition.records)
    if fetch.session is not None:
        fetch.session.move_to_end(
            (partition.wanted.topic, partition.wanted.partition)
            for partition in read.partitions
            if partition.size
        )
    response = FetchResponse(session_id=fetch.session_id, responses=responses)
    return FetchAnswer(response, slices)


def _data(partition: PartitionRead, *, with_transactions: bool) -> PartitionData:
    return PartitionData(
        partition_index=partition.wanted.partition,
        error_code=partition.error_code,
        high_watermark=partition.high_watermark,
        last_stable_offset=partition.high_watermark,
        log_start_offset=partition.log_start_offset,
        aborted_transactions=[] if with_transactions else None,
    )
