from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from handlers_harness import PEER, batch_of, produce_request, running

from streamlog.broker.handlers.produce import handle_produce
from streamlog.broker.handlers.services import Later, RequestContext
from streamlog.broker.server.reply import CloseConnectionError, Deferred
from streamlog.records.batch import Codec
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.framing import encode_request
from streamlog.wire.messages.produce import ProduceRequest, ProduceResponse, TopicProduceData

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_batch_is_appended_and_flushed_before_acks_all_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        assert await broker.produce("orders", b"a", b"b") == 0
        assert await broker.produce("orders", b"c") == 2
        log = broker.log("orders")
        assert log.log_end_offset == log.flushed_offset == log.high_watermark == 3


@pytest.mark.parametrize("version", range(3, 10))
async def test_every_version_of_produce_appends(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        answer = await broker.append("orders", batch_of(b"a"), version=version)
        assert (answer.error_code, answer.base_offset) == (0, 0)


async def test_appends_happen_in_order_before_any_of_them_is_waited_for(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        replies = []
        for value in (b"1", b"2", b"3"):
            frame = encode_request(produce_request("orders", batch_of(value)), 9, 1, None)
            replies.append(await broker.dispatcher.handle(memoryview(bytearray(frame))[4:], PEER))
        assert broker.log("orders").log_end_offset == 3
        assert all(isinstance(reply, Deferred) for reply in replies)
        for reply in reversed(replies):
            assert isinstance(reply, Deferred)
            await reply.complete()
        assert broker.log("orders").flushed_offset == 3


async def test_acks_1_is_answered_at_once_and_becomes_readable_soon(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        response = await broker.ask(produce_request("orders", batch_of(b"a"), acks=1))
        assert response.responses[0].partition_responses[0].error_code == 0
        with trio.fail_after(10):
            await broker.services.logs.wait_flushed(broker.log("orders"), 1)
        assert broker.log("orders").high_watermark == 1


async def test_acks_0_has_no_response_and_an_error_closes_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        good = encode_request(produce_request("orders", batch_of(b"a"), acks=0), 9, 1, None)
        assert await broker.send(good) is None
        assert broker.log("orders").log_end_offset == 1
        bad = encode_request(produce_request("nothing", batch_of(b"a"), acks=0), 9, 1, None)
        with pytest.raises(CloseConnectionError, match="nothing-0 UNKNOWN_TOPIC_OR_PARTITION"):
            await broker.send(bad)


async def test_each_partition_succeeds_or_fails_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", 2)
        request = produce_request("orders", batch_of(b"a"), 0)
        request.topic_data += produce_request("orders", batch_of(b"b"), 9).topic_data
        request.topic_data += produce_request("missing", batch_of(b"c"), 0).topic_data
        request.topic_data += produce_request("orders", batch_of(b"d"), 1).topic_data
        response = await broker.ask(request)
        codes = [topic.partition_responses[0].error_code for topic in response.responses]
        unknown = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert codes == [ErrorCode.NONE, unknown, unknown, ErrorCode.NONE]
        assert broker.log("orders", 1).log_end_offset == 1


@pytest.mark.parametrize("acks", [2, -2, 100])
async def test_other_acks_are_refused(tmp_path: Path, acks: int) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        response = await broker.ask(produce_request("orders", batch_of(b"a"), acks=acks))
        answer = response.responses[0].partition_responses[0]
        assert answer.error_code == ErrorCode.INVALID_REQUIRED_ACKS
        assert broker.log("orders").log_end_offset == 0


def damaged(position: int, value: int) -> bytearray:
    batch = batch_of(b"a" * 100)
    batch[position] ^= value
    return batch


@pytest.mark.parametrize(
    ("batch", "code"),
    [
        (b"", ErrorCode.INVALID_RECORD),
        (b"\0" * 22, ErrorCode.INVALID_RECORD),
        (b"\0" * 61, None),
        (bytes(batch_of(b"a" * 100))[:-1], None),
        (damaged(16, 3), None),  # magic
        (damaged(17, 0xFF), ErrorCode.CORRUPT_MESSAGE),  # CRC
        (damaged(100, 0xFF), ErrorCode.CORRUPT_MESSAGE),  # a record
        (damaged(8, 0x7F), None),  # length
        (batch_of(b"a") + batch_of(b"b"), ErrorCode.INVALID_RECORD),
        (batch_of(b"x" * 1_100_000), ErrorCode.MESSAGE_TOO_LARGE),
    ],
)
async def test_a_bad_batch_is_refused_with_a_code_and_nothing_is_appended(
    tmp_path: Path, batch: bytes, code: ErrorCode | None
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        answer = await broker.append("orders", batch)
        assert answer.error_code != 0
        assert code is None or answer.error_code == code
        assert answer.base_offset == -1
        assert broker.log("orders").log_end_offset == 0
        assert await broker.produce("orders", b"good") == 0


async def test_zstd_needs_produce_7(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        batch = batch_of(b"a" * 1000, codec=Codec.ZSTD)
        answer = await broker.append("orders", bytearray(batch), version=6)
        assert answer.error_code == ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
        assert (await broker.append("orders", batch, version=7)).error_code == 0


async def test_more_in_sync_replicas_than_there_are_is_told_before_anything_is_written(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", min_insync_replicas="2")
        answer = await broker.append("orders", batch_of(b"a"))
        assert answer.error_code == ErrorCode.NOT_ENOUGH_REPLICAS
        assert broker.log("orders").log_end_offset == 0


async def test_a_repeated_batch_of_an_idempotent_producer_is_answered_as_before(
    tmp_path: Path,
) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        first = batch_of(b"a", b"b", producer_id=5, producer_epoch=0, base_sequence=0)
        assert (await broker.append("orders", bytearray(first))).base_offset == 0
        assert (await broker.append("orders", bytearray(first))).base_offset == 0
        assert broker.log("orders").log_end_offset == 2
        gap = batch_of(b"z", producer_id=5, producer_epoch=0, base_sequence=7)
        answer = await broker.append("orders", gap)
        assert answer.error_code == ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


async def test_log_append_time_is_told(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders", message_timestamp_type="LogAppendTime")
        answer = await broker.append("orders", batch_of(b"a"))
        assert answer.error_code == 0
        assert answer.log_append_time_ms > 1_600_000_000_000


async def test_an_empty_request_is_answered(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        request = ProduceRequest(acks=-1, topic_data=[TopicProduceData(name="x")])
        assert (await broker.ask(request)).responses[0].partition_responses == []


async def test_what_is_not_flushed_in_time_is_told_and_stays(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.create("orders")
        request = produce_request("orders", bytearray(batch_of(b"a")))
        request.timeout_ms = 0
        request.topic_data[0].partition_data[0].records = bytearray(batch_of(b"a"))
        context = RequestContext(broker.services, 9, None, PEER)
        later = handle_produce(request, context)
        assert isinstance(later, Later)
        response = await later.complete()
        assert isinstance(response, ProduceResponse)
        answer = response.responses[0].partition_responses[0]
        assert answer.error_code == ErrorCode.REQUEST_TIMED_OUT
        assert answer.base_offset == -1
        assert broker.log("orders").log_end_offset == 1
