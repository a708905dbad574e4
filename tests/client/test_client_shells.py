"""Producer, consumer and metadata against scripted brokers: what they do when things go wrong."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from scripted_broker import ScriptedBroker, ScriptedNetwork, versions
from trio.testing import wait_all_tasks_blocked

from streamlog.client.client import Client, open_client
from streamlog.client.config import ClientConfig, ConsumerConfig, OffsetReset, ProducerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.errors import DeliveryTimeoutError, LogTruncatedError, NotKafkaError
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import TopicPartition
from streamlog.errors import UnreachableError
from streamlog.records.batch import read_header
from streamlog.records.codec import encode_batch
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.api_versions import ApiVersionsRequest
from streamlog.wire.messages.fetch import (
    FetchableTopicResponse,
    FetchRequest,
    FetchResponse,
    PartitionData,
)
from streamlog.wire.messages.init_producer_id import (
    InitProducerIdRequest,
    InitProducerIdResponse,
)
from streamlog.wire.messages.metadata import MetadataRequest
from streamlog.wire.messages.offset_for_leader_epoch import (
    EpochEndOffset,
    OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)
from streamlog.wire.messages.produce import (
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

T0 = TopicPartition("t", 0)


@asynccontextmanager
async def client_of(nursery: trio.Nursery, *brokers: ScriptedBroker) -> AsyncIterator[Client]:
    for broker in brokers:
        broker.answers.setdefault(
            InitProducerIdRequest, lambda _: InitProducerIdResponse(producer_id=7)
        )
    config = ClientConfig(brokers=("broker:9092",))
    network = ScriptedNetwork(nursery, *brokers)
    async with open_client(config, network=network, rng=random.Random(1)) as client:
        yield client


class ProduceLog:
    """Takes produce requests for `t[0]` and answers as told."""

    def __init__(self) -> None:
        self.sequences: list[int] = []
        self.codes: list[ErrorCode | None] = []
        """The next answers; None: no answer. When they are used up, it is NONE."""
        self.offset = 0

    def __call__(self, request: ProduceRequest) -> ProduceResponse | None:
        ((records,),) = [[p.records for p in topic.partition_data] for topic in request.topic_data]
        assert records is not None
        header = read_header(records)
        self.sequences.append(header.base_sequence)
        code = self.codes.pop(0) if self.codes else ErrorCode.NONE
        if code is None:
            return None
        offset = self.offset if code is ErrorCode.NONE else -1
        self.offset += header.record_count if code is ErrorCode.NONE else 0
        answer = PartitionProduceResponse(index=0, error_code=code, base_offset=offset)
        if request.acks == 0:
            return None
        return ProduceResponse(
            responses=[TopicProduceResponse(name="t", partition_responses=[answer])]
        )


async def test_a_batch_whose_answer_is_lost_is_sent_again_with_its_number(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1
    broker.answers[ProduceRequest] = log
    async with client_of(nursery, broker) as client, open_producer(client) as producer:
        await (await producer.send("t", b"0")).wait()
        log.codes = [None]
        delivery = await producer.send("t", b"1")
        await trio.sleep(0.1)
        await broker.break_connections()
        assert (await delivery.wait()).offset == 1
    assert log.sequences == [0, 1, 1]


async def test_a_silent_leader_costs_a_delivery_after_its_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1
    broker.answers[ProduceRequest] = log
    async with client_of(nursery, broker) as client:
        config = ProducerConfig(delivery_timeout_ms=100_000)
        async with open_producer(client, config) as producer:
            log.codes = [None] * 100
            delivery = await producer.send("t", b"1")
            with pytest.raises(
                DeliveryTimeoutError, match="were not acknowledged within 100,000 ms"
            ):
                await delivery.wait()
    assert set(log.sequences) == {0}


async def test_a_new_leader_is_looked_up(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    old, new = ScriptedBroker(1), ScriptedBroker(2, host="other")
    old_log, new_log = ProduceLog(), ProduceLog()
    for broker, log in ((old, old_log), (new, new_log)):
        broker.topics["t"] = 1
        broker.answers[ProduceRequest] = log
    old_log.codes = [ErrorCode.NOT_LEADER_OR_FOLLOWER]
    async with client_of(nursery, old, new) as client, open_producer(client) as producer:
        delivery = await producer.send("t", b"1")
        await wait_all_tasks_blocked()
        old.answers[MetadataRequest] = new.metadata
        assert (await delivery.wait()).offset == 0
    assert (old_log.sequences, new_log.sequences) == ([0], [0])


async def test_without_confirmation_nothing_is_waited_for(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1
    broker.answers[ProduceRequest] = log
    config = ProducerConfig(acks=0, idempotent=False)
    async with client_of(nursery, broker) as client, open_producer(client, config) as producer:
        assert (await (await producer.send("t", b"1")).wait()).offset == -1
    assert log.sequences == [-1]


async def test_senders_wait_for_room_and_go_on(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1

    async def slow(request: ProduceRequest) -> ProduceResponse | None:
        await trio.sleep(1)
        return log(request)

    broker.answers[ProduceRequest] = slow
    config = ProducerConfig(buffer_bytes=1_000, linger_ms=0)
    async with client_of(nursery, broker) as client, open_producer(client, config) as producer:
        started = trio.current_time()
        for _ in range(10):
            await producer.send("t", b"x" * 800)
        assert trio.current_time() - started == pytest.approx(9, abs=0.5)


async def test_a_producer_that_fails_drops_what_is_not_sent(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1
    broker.answers[ProduceRequest] = log
    config = ProducerConfig(linger_ms=60_000)
    async with client_of(nursery, broker) as client:
        with pytest.raises(ValueError, match="the user's own"):  # noqa: PT012
            async with open_producer(client, config) as producer:
                delivery = await producer.send("t", b"1")
                raise ValueError("the user's own")
        with pytest.raises(UnreachableError, match="producer was closed"):
            await delivery.wait()
    assert log.sequences == []


class FetchLog:
    """Answers fetches from a list of batches of `t[0]`; waits when there is nothing new."""

    def __init__(self) -> None:
        self.batches: list[bytearray] = []
        self.end = 0
        self.requests: list[FetchRequest] = []
        self.codes: list[ErrorCode] = []
        """Partition errors to answer first."""
        self.session_codes: list[ErrorCode] = []
        self._known: dict[tuple[str, int], int] = {}

    def append(self, *values: bytes, epoch: int = 0) -> None:
        count = len(values)
        self.batches.append(
            encode_batch(
                [None] * count, list(values), [0] * count, base_offset=self.end, leader_epoch=epoch
            )
        )
        self.end += count

    async def __call__(self, request: FetchRequest) -> FetchResponse:
        self.requests.append(request)
        if self.session_codes:
            return FetchResponse(error_code=self.session_codes.pop(0))
        if request.session_epoch <= 0:
            self._known.clear()
        for topic in request.topics:
            for each in topic.partitions:
                self._known[topic.topic, each.partition] = each.fetch_offset
        for forgotten in request.forgotten_topics_data:
            for number in forgotten.partitions:
                self._known.pop((forgotten.topic, number), None)
        code = self.codes.pop(0) if self.codes else ErrorCode.NONE
        offset = self._known.get(("t", 0), self.end)
        found = [each for each in self.batches if read_header(each).last_offset >= offset]
        if code is ErrorCode.NONE and not found:
            await trio.sleep(request.max_wait_ms / 1000)
        answer = PartitionData(
            partition_index=0,
            error_code=code,
            high_watermark=self.end,
            records=b"".join(found) if code is ErrorCode.NONE else None,
        )
        return FetchResponse(
            session_id=55 if request.session_epoch >= 0 else 0,
            responses=[FetchableTopicResponse(topic="t", partitions=[answer])],
        )


async def values_until(consumer: object, count: int) -> list[bytes | None]:
    values: list[bytes | None] = []
    with trio.fail_after(60):
        while len(values) < count:
            for chunk in await consumer.poll():  # type: ignore[attr-defined]
                values += chunk.columns.values
    return values


async def test_a_consumer_says_only_what_changes(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), FetchLog()
    broker.topics["t"] = 1
    broker.answers[FetchRequest] = log
    log.append(b"0", b"1")
    async with client_of(nursery, broker) as client, open_consumer(client) as consumer:
        await consumer.assign({T0: 0})
        assert await values_until(consumer, 2) == [b"0", b"1"]
        await trio.sleep(1.2)
        log.append(b"2")
        assert await values_until(consumer, 1) == [b"2"]
    main = [each for each in log.requests if each.session_epoch >= 0]
    assert [(each.session_id, each.session_epoch) for each in main[:3]] == [
        (0, 0),
        (55, 1),
        (55, 2),
    ]
    assert [len(each.topics) for each in main[:3]] == [1, 1, 0]


async def test_a_lost_session_is_begun_anew(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), FetchLog()
    broker.topics["t"] = 1
    broker.answers[FetchRequest] = log
    log.append(b"0")
    async with client_of(nursery, broker) as client, open_consumer(client) as consumer:
        await consumer.assign({T0: 0})
        assert await values_until(consumer, 1) == [b"0"]
        log.session_codes = [ErrorCode.FETCH_SESSION_ID_NOT_FOUND]
        await trio.sleep(1)
        log.append(b"1")
        assert await values_until(consumer, 1) == [b"1"]
    assert [each.session_epoch for each in log.requests].count(0) == 2


async def test_retriable_errors_are_waited_out(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), FetchLog()
    broker.topics["t"] = 1
    broker.answers[FetchRequest] = log
    log.append(b"0")
    log.codes = [
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.OFFSET_NOT_AVAILABLE,
    ]
    async with client_of(nursery, broker) as client, open_consumer(client) as consumer:
        before = broker.count(MetadataRequest)
        await consumer.assign({T0: 0})
        assert await values_until(consumer, 1) == [b"0"]
        assert broker.count(MetadataRequest) > before


async def test_a_resumed_partition_does_not_wait_for_a_fetch_under_way(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), FetchLog()
    broker.topics["t"] = 2
    broker.answers[FetchRequest] = log
    log.append(b"0")
    config = ConsumerConfig(fetch_max_wait_ms=30_000)
    async with client_of(nursery, broker) as client, open_consumer(client, config) as consumer:
        await consumer.assign({TopicPartition("t", 1): 0})
        await trio.sleep(1)
        started = trio.current_time()
        await consumer.assign({T0: 0})
        assert await values_until(consumer, 1) == [b"0"]
        assert trio.current_time() - started < 0.1


@pytest.mark.parametrize("reset", [OffsetReset.NONE, OffsetReset.EARLIEST])
async def test_a_log_that_was_cut_is_noticed_at_the_new_leader(
    nursery: trio.Nursery, autojump_clock: MockClock, reset: OffsetReset
) -> None:
    broker, log = ScriptedBroker(), FetchLog()
    broker.topics["t"] = 1
    broker.answers[FetchRequest] = log
    log.append(b"0")
    log.append(b"1", b"2")
    asked: list[int] = []

    def end_of_epoch(request: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse:
        asked.append(request.topics[0].partitions[0].leader_epoch)
        end = EpochEndOffset(partition=0, leader_epoch=0, end_offset=1)
        return OffsetForLeaderEpochResponse(
            topics=[OffsetForLeaderTopicResult(topic="t", partitions=[end])]
        )

    broker.answers[OffsetForLeaderEpochRequest] = end_of_epoch
    config = ConsumerConfig(auto_offset_reset=reset)
    async with client_of(nursery, broker) as client, open_consumer(client, config) as consumer:
        await consumer.assign({T0: 0})
        assert await values_until(consumer, 3) == [b"0", b"1", b"2"]
        log.batches.pop()
        log.end = 1
        log.append(b"other", epoch=5)
        broker.leader_epoch = 5
        log.codes = [ErrorCode.FENCED_LEADER_EPOCH]
        if reset is OffsetReset.NONE:
            with pytest.raises(LogTruncatedError, match=r"up to offset 3, .* below 1"):
                await values_until(consumer, 1)
        else:
            assert await values_until(consumer, 1) == [b"other"]
        assert asked == [0]


async def test_many_who_need_news_ask_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker = ScriptedBroker()
    broker.topics["t"] = 1
    async with client_of(nursery, broker) as client:
        before = broker.count(MetadataRequest)
        async with trio.open_nursery() as callers:
            for _ in range(50):
                callers.start_soon(client.keeper.refresh)
        assert broker.count(MetadataRequest) == before + 1


async def test_metadata_is_refreshed_when_it_is_old(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker = ScriptedBroker()
    broker.topics["t"] = 1
    async with client_of(nursery, broker) as client:
        assert await client.partition_count("t") == 1
        broker.topics["t"] = 3
        await trio.sleep(301)
        assert await client.partition_count("t") == 3


async def test_an_older_epoch_than_the_known_one_is_not_believed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker = ScriptedBroker()
    broker.topics["t"] = 1
    broker.leader_epoch = 5
    async with client_of(nursery, broker) as client:
        assert (await client.leader(T0)).leader_epoch == 5
        broker.leader_epoch = 4
        await client.keeper.refresh()
        assert (await client.leader(T0)).leader_epoch == 5


async def test_the_next_seed_is_tried_when_one_is_down(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    down, up = ScriptedBroker(1), ScriptedBroker(2, host="other")
    down.is_down = True
    network = ScriptedNetwork(nursery, down, up)
    config = ClientConfig(brokers=("broker:9092", "other:9092"))
    async with open_client(config, network=network, rng=random.Random(3)) as client:
        assert client.metadata.cluster_id == "scripted"


async def test_a_seed_that_is_no_broker_is_said_at_once(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker = ScriptedBroker()
    broker.answers[ApiVersionsRequest] = lambda _: b"HTTP/1.1 400 Bad Request\r\n"
    started = trio.current_time()
    with pytest.raises(NotKafkaError, match="broker:9092 answered with HTTP"):
        async with client_of(nursery, broker):
            raise AssertionError("it is no broker")
    assert trio.current_time() == started


async def test_an_old_broker_is_spoken_to_in_its_versions(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker, log = ScriptedBroker(), ProduceLog()
    broker.topics["t"] = 1
    broker.answers[ProduceRequest] = log
    broker.answers[ApiVersionsRequest] = lambda _: versions(
        produce=3, metadata=1, init_producer_id=0
    )
    async with client_of(nursery, broker) as client, open_producer(client) as producer:
        assert (await (await producer.send("t", b"1")).wait()).offset == 0
