"""The sender task: takes ready batches out of the accumulator and brings them to the brokers.

One loop hands requests to the links, in order and without waiting; a task per request waits for the
answer and reports it. At most `in_flight_max` requests are under way per broker, so there are that
many tasks.
"""

from __future__ import annotations

from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING

import trio

from streamlog.client.errors import ConnectionLostError, ErrorCode, KafkaError
from streamlog.client.producer.partition_queue import ProducerIdentity
from streamlog.client.values import TopicPartition
from streamlog.errors import StreamlogError
from streamlog.records.batch import Codec
from streamlog.wire.messages.init_producer_id import InitProducerIdRequest
from streamlog.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)

if TYPE_CHECKING:
    from streamlog.client.client import Client
    from streamlog.client.cluster.link import Link, Pending
    from streamlog.client.config import ProducerConfig
    from streamlog.client.producer.accumulator import Accumulator
    from streamlog.client.producer.batch import Batch
    from streamlog.wire.messages.produce import PartitionProduceResponse, ProduceResponse

STALE_METADATA = frozenset(
    {
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.LEADER_NOT_AVAILABLE,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.KAFKA_STORAGE_ERROR,
        ErrorCode.FENCED_LEADER_EPOCH,
    }
)


class Sender:
    """See the module."""

    def __init__(self, client: Client, config: ProducerConfig, accumulator: Accumulator) -> None:
        self.purpose = client.new_purpose("producer")
        self._client = client
        self._config = config
        self._codec = Codec[config.compression.name]
        self._accumulator = accumulator
        self._in_flight: dict[int, int] = {}
        self._wake = trio.Event()
        self._progress = trio.Event()
        self._is_identifying = False
        self._is_looking = False

    def wake(self) -> None:
        """There is something new in the accumulator."""
        self._wake.set()

    async def wait_progress(self) -> None:
        """Waits until some batch has been answered."""
        await self._progress.wait()

    async def run(self) -> None:
        """Sends until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                self._send_ready(nursery)
                now_ms = trio.current_time() * 1000
                deadline_ms = self._accumulator.next_deadline(now_ms)
                with trio.move_on_at(inf if deadline_ms is None else deadline_ms / 1000):
                    await self._wake.wait()

    def _send_ready(self, nursery: trio.Nursery) -> None:
        now_ms = trio.current_time() * 1000
        accumulator = self._accumulator
        accumulator.expire(now_ms)
        free = {node: self._config.in_flight_max - n for node, n in self._in_flight.items()}
        drained = accumulator.drain(self._leader_of, free, now_ms)
        for node_id, batches in drained.requests.items():
            self._send(nursery, node_id, batches)
        if drained.needs_identity and not self._is_identifying:
            self._is_identifying = True
            nursery.start_soon(self._identify)
        if drained.leaderless and not self._is_looking:
            self._is_looking = True
            nursery.start_soon(self._look_for_leaders)
        self._note_progress()

    def _leader_of(self, partition: TopicPartition) -> int | None:
        info = self._client.metadata.leader(partition)
        return None if info is None else info.leader

    def _send(self, nursery: trio.Nursery, node_id: int, batches: list[Batch]) -> None:
        request, sent = self._request(batches)
        if not sent:
            self._wake.set()
            return
        try:
            link = self._client.link(node_id, self.purpose)
        except ConnectionLostError:
            self._accumulator.on_lost(sent, trio.current_time() * 1000)
            return
        self._in_flight[node_id] = self._in_flight.get(node_id, 0) + 1
        # Submitted here and not in the task: tasks start in any order.
        nursery.start_soon(self._wait_answer, node_id, link, link.submit(request), sent)

    def _request(self, batches: list[Batch]) -> tuple[ProduceRequest, list[Batch]]:
        """Encodes the batches; those that turn out to be too large go back, halved."""
        topics: dict[str, TopicProduceData] = {}
        sent = []
        for batch in batches:
            try:
                records = batch.encode(self._codec)
            except StreamlogError as error:
                self._accumulator.on_failed([batch], error)
                continue
            if len(records) > self._config.request_bytes_max:
                self._accumulator.on_too_large(batch)
                continue
            name, index = batch.partition
            topic = topics.setdefault(name, TopicProduceData(name=name))
            topic.partition_data.append(PartitionProduceData(index=index, records=records))
            sent.append(batch)
        request = ProduceRequest(
            acks=self._config.acks,
            timeout_ms=self._config.request_timeout_ms,
            topic_data=list(topics.values()),
        )
        return request, sent

    async def _wait_answer(
        self, node_id: int, link: Link, pending: Pending[ProduceResponse], batches: list[Batch]
    ) -> None:
        # The broker itself waits for its replicas for up to the producer's timeout.
        timeout_ms = self._config.request_timeout_ms + self._client.config.request_timeout_ms
        try:
            response = await link.wait(pending, timeout_ms)
        except ConnectionLostError:
            self._accumulator.on_lost(batches, trio.current_time() * 1000)
            self._client.keeper.request()
        except StreamlogError as error:
            self._accumulator.on_failed(batches, error)
        else:
            self._apply(response, batches)
        self._in_flight[node_id] -= 1
        self._note_progress()
        self._wake.set()

    def _apply(self, response: ProduceResponse, batches: list[Batch]) -> None:
        if self._config.acks == 0:
            for batch in batches:
                self._accumulator.on_success(batch, -1, -1)
            return
        answers = {
            TopicPartition(topic.name, each.index): each
            for topic in response.responses
            for each in topic.partition_responses
        }
        for batch in batches:
            self._apply_one(answers.get(batch.partition), batch)

    def _apply_one(self, answer: PartitionProduceResponse | None, batch: Batch) -> None:
        now_ms = trio.current_time() * 1000
        if answer is None:
            self._accumulator.on_lost([batch], now_ms)
        elif answer.error_code == ErrorCode.NONE:
            self._accumulator.on_success(batch, answer.base_offset, answer.log_append_time_ms)
        else:
            code = ErrorCode(answer.error_code)
            if code in STALE_METADATA:
                self._client.keeper.request()
            notes = [each.batch_index_error_message for each in answer.record_errors]
            message = answer.error_message or next((note for note in notes if note), None)
            self._accumulator.on_error(batch, code, message, now_ms)

    def _note_progress(self) -> None:
        self._progress.set()
        self._progress = trio.Event()

    async def _identify(self) -> None:
        """Gets a producer id."""
        try:
            self._accumulator.identity = await self._client.retrying(self._ask_identity)
        except StreamlogError as error:
            self._accumulator.fail_all(error)
        self._is_identifying = False
        self._wake.set()

    async def _ask_identity(self) -> ProducerIdentity:
        response = await self._client.call_any(
            InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        )
        if response.error_code:
            raise KafkaError(response.error_code, "no producer id")
        return ProducerIdentity(response.producer_id, response.producer_epoch)

    async def _look_for_leaders(self) -> None:
        """Asks for metadata, at most every so often, while something has nowhere to go."""
        # The keeper asks again after a while, and what waits has a time limit of its own.
        with suppress(ConnectionLostError):
            await self._client.keeper.refresh()
        await trio.sleep(self._client.config.retry_backoff_ms / 1000)
        self._is_looking = False
        self._wake.set()
