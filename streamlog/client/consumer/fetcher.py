"""The fetcher: keeps one fetch under way to each broker that leads something to be read.

One loop plans and starts tasks; each task does one thing (one fetch, one round of look-ups),
applies what it learnt to the partition states, and wakes the loop. Whatever changes what is wanted
(assign, seek, pause, poll taking from the buffer) wakes it too. What is fetched ahead is bounded: a
fetch asks for no more than there is room for, counting the fetches under way.

A fetch waits at the broker while it has nothing new. A partition that becomes wanted meanwhile (it
was resumed, or its buffer full) must not wait for that, so it is fetched on a second connection
without waiting: on the *side*. If there is nothing for it either, it joins the next main fetch.
"""

from __future__ import annotations

from collections import defaultdict
from enum import Enum
from math import inf
from typing import TYPE_CHECKING

import trio

from streamlog.client.config import Isolation
from streamlog.client.consumer.fetch_session import FetchSession, Wanted
from streamlog.client.consumer.fetched import FetchedRecords
from streamlog.client.consumer.finding_out import OFFSET_OF_POLICY, find_out
from streamlog.client.errors import (
    ErrorCode,
    KafkaError,
    UnknownTopicError,
    is_retriable,
)
from streamlog.client.values import TopicPartition
from streamlog.errors import StreamlogError
from streamlog.wire.messages.fetch import (
    FetchPartition,
    FetchRequest,
    FetchTopic,
    ForgottenTopic,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.client.client import Client
    from streamlog.client.config import ConsumerConfig
    from streamlog.client.consumer.fetch_session import SessionRequest
    from streamlog.client.consumer.partition_state import PartitionState
    from streamlog.wire.messages.fetch import FetchResponse, PartitionData

WITHOUT_SESSION = -1
"""As a session's epoch: the request stands alone."""

MISSING = frozenset({ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, ErrorCode.UNKNOWN_TOPIC_ID})


class Lane(Enum):
    """Which of the two connections to a broker; see the module."""

    MAIN = "main"
    SIDE = "side"


Versioned = tuple["PartitionState", int]
"""A state and the incarnation that a question was asked about."""


class Fetcher:
    """See the module.

    Args:
        client: To fetch with.
        config: The consumer's.
        states: The assigned partitions; the consumer's own dictionary.
        on_news: Called when there is something for `poll`.
    """

    def __init__(
        self,
        client: Client,
        config: ConsumerConfig,
        states: dict[TopicPartition, PartitionState],
        on_news: Callable[[], None],
    ) -> None:
        self._purpose = client.new_purpose("consumer")
        self._client = client
        self._config = config
        self._states = states
        self._on_news = on_news
        self._sessions: dict[int, FetchSession] = {}
        self._fetching: dict[tuple[int, Lane], int] = {}
        """Bytes that the fetches under way may bring."""
        self._rounds: dict[int, int] = {}
        """How many main fetches each broker was sent."""
        self._is_finding_out = False
        self._is_looking = False
        self._backoff = client.new_backoff()
        self._wake = trio.Event()

    def wake(self) -> None:
        """What is wanted has changed."""
        self._wake.set()

    def close(self) -> None:
        """Closes the connections."""
        for lane in Lane:
            self._client.release(f"{self._purpose}-{lane.value}")

    async def run(self) -> None:
        """Fetches until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                self._wake = trio.Event()
                now_ms = trio.current_time() * 1000
                self._start(nursery, now_ms)
                retries = (s.retry_at_ms for s in self._states.values() if s.retry_at_ms > now_ms)
                with trio.move_on_at(min(retries, default=inf) / 1000):
                    await self._wake.wait()

    def _start(self, nursery: trio.Nursery, now_ms: float) -> None:
        by_leader: defaultdict[int, list[PartitionState]] = defaultdict(list)
        unclear: list[PartitionState] = []
        is_leaderless = False
        for state in self._states.values():
            if state.error is not None or now_ms < state.retry_at_ms:
                continue
            leader = self._client.metadata.leader(state.partition)
            if leader is None:
                is_leaderless = True
                continue
            state.led_by(leader.leader_epoch)
            if state.is_unclear:
                unclear.append(state)
            elif state.is_fetchable and state.buffered_bytes < self._config.max_partition_bytes:
                by_leader[leader.leader].append(state)
        for node_id, states in by_leader.items():
            if (node_id, Lane.MAIN) not in self._fetching:
                self._start_fetch(nursery, node_id, Lane.MAIN, states)
            elif (node_id, Lane.SIDE) not in self._fetching:
                untried = [each for each in states if each.tried_round != self._rounds[node_id]]
                if untried:
                    self._start_fetch(nursery, node_id, Lane.SIDE, untried)
        if unclear and not self._is_finding_out:
            self._is_finding_out = True
            nursery.start_soon(self._find_out, unclear)
        if is_leaderless and not self._is_looking:
            self._is_looking = True
            nursery.start_soon(self._look_for_leaders)

    def _start_fetch(
        self, nursery: trio.Nursery, node_id: int, lane: Lane, states: list[PartitionState]
    ) -> None:
        taken = sum(state.buffered_bytes for state in self._states.values())
        room = self._config.prefetch_bytes - taken - sum(self._fetching.values())
        if room <= 0:
            return
        self._fetching[node_id, lane] = min(room, self._config.fetch_max_bytes)
        if lane is Lane.MAIN:
            self._rounds[node_id] = self._rounds.get(node_id, 0) + 1
        for state in states:
            state.fetching = state.incarnation
        asked = {state.partition: (state, state.incarnation) for state in states}
        nursery.start_soon(self._fetch, node_id, lane, asked)

    # One fetch.

    async def _fetch(
        self, node_id: int, lane: Lane, asked: dict[TopicPartition, Versioned]
    ) -> None:
        session = FetchSession()
        if lane is Lane.MAIN:
            session = self._sessions.setdefault(node_id, session)
        wait_ms = self._config.fetch_max_wait_ms if lane is Lane.MAIN else 0
        limit = self._config.max_partition_bytes
        said = session.next_request(
            {
                partition: Wanted(state.fetch_offset, limit, state.leader_epoch)
                for partition, (state, _) in asked.items()
            }
        )
        request = self._request(said, self._fetching[node_id, lane], wait_ms)
        if lane is Lane.SIDE:
            request.session_epoch = WITHOUT_SESSION
        try:
            response = await self._client.call(
                node_id,
                request,
                purpose=f"{self._purpose}-{lane.value}",
                timeout_ms=wait_ms + self._client.config.request_timeout_ms,
            )
        except StreamlogError as error:
            session.lost()
            self._on_fetch_failed(asked, error)
        else:
            self._backoff.reset()
            session.answered(ErrorCode(response.error_code), response.session_id)
            self._apply(response, asked)
        self._end_fetch(node_id, lane, asked)

    def _end_fetch(self, node_id: int, lane: Lane, asked: dict[TopicPartition, Versioned]) -> None:
        del self._fetching[node_id, lane]
        for state, incarnation in asked.values():
            if state.fetching == incarnation:
                state.fetching = None
            if lane is Lane.SIDE and not state.buffered:
                state.tried_round = self._rounds[node_id]
        self._wake.set()

    def _request(self, said: SessionRequest, max_bytes: int, wait_ms: int) -> FetchRequest:
        topics: dict[str, FetchTopic] = {}
        for (name, number), wanted in said.partitions.items():
            topics.setdefault(name, FetchTopic(topic=name)).partitions.append(
                FetchPartition(
                    partition=number,
                    current_leader_epoch=wanted.leader_epoch,
                    fetch_offset=wanted.offset,
                    partition_max_bytes=wanted.max_bytes,
                )
            )
        forgotten: dict[str, ForgottenTopic] = {}
        for name, number in said.forgotten:
            forgotten.setdefault(name, ForgottenTopic(topic=name)).partitions.append(number)
        return FetchRequest(
            replica_id=-1,
            max_wait_ms=wait_ms,
            min_bytes=self._config.fetch_min_bytes,
            max_bytes=max_bytes,
            isolation_level=self._config.isolation.value,
            session_id=said.session_id,
            session_epoch=said.epoch,
            topics=list(topics.values()),
            forgotten_topics_data=list(forgotten.values()),
        )

    def _on_fetch_failed(
        self, asked: dict[TopicPartition, Versioned], error: StreamlogError
    ) -> None:
        """Tries again after a while; or tells the caller if that is of no use."""
        retry_at_ms = trio.current_time() * 1000 + self._backoff.next_ms()
        for state, incarnation in asked.values():
            if state.incarnation != incarnation:
                continue
            if is_retriable(error):
                state.retry_at_ms = retry_at_ms
            else:
                state.fail(error)
        self._client.keeper.request()
        self._on_news()

    def _apply(self, response: FetchResponse, asked: dict[TopicPartition, Versioned]) -> None:
        now_ms = trio.current_time() * 1000
        has_news = False
        for topic in response.responses:
            for answer in topic.partitions:
                partition = TopicPartition(topic.topic, answer.partition_index)
                state, incarnation = asked.get(partition, (None, 0))
                if state is None or state.incarnation != incarnation:
                    continue
                try:
                    has_news |= self._apply_one(state, answer, now_ms)
                except StreamlogError as error:
                    state.fail(error)
                has_news |= state.error is not None
        if has_news:
            self._on_news()

    def _apply_one(self, state: PartitionState, answer: PartitionData, now_ms: float) -> bool:
        """Takes in what was fetched of one partition; returns whether there is news for `poll`."""
        code = ErrorCode(answer.error_code)
        if code is ErrorCode.NONE:
            state.high_watermark = answer.high_watermark
            if not answer.records:
                return False
            aborted = answer.aborted_transactions or ()
            fetched = FetchedRecords(
                answer.records,
                state.fetch_offset,
                [(each.first_offset, each.producer_id) for each in aborted]
                if self._config.isolation is Isolation.READ_COMMITTED
                else (),
                check_crc=self._config.check_crc,
            )
            state.add(fetched)
            return bool(state.buffered)
        if code is ErrorCode.OFFSET_OUT_OF_RANGE:
            self._reset(state)
        elif code in MISSING:
            self._on_missing(state, now_ms)
        elif code.retriable:
            state.retry_at_ms = now_ms + self._client.config.retry_backoff_ms
            self._client.keeper.request()
        else:
            state.fail(KafkaError(code, f"cannot fetch {state.partition}"))
        return False

    def _reset(self, state: PartitionState) -> None:
        offset = OFFSET_OF_POLICY.get(self._config.auto_offset_reset)
        if offset is not None:
            state.seek(offset)
        else:
            state.is_out_of_range = True

    def _on_missing(self, state: PartitionState, now_ms: float) -> None:
        """A new leader may not know its partition yet; after a while it counts as gone."""
        if state.missing_since_ms is None:
            state.missing_since_ms = now_ms
        if now_ms - state.missing_since_ms > self._client.config.api_timeout_ms:
            state.fail(UnknownTopicError(state.partition.topic, state.partition.partition))
        state.retry_at_ms = now_ms + self._client.config.retry_backoff_ms
        self._client.keeper.request()

    async def _find_out(self, states: list[PartitionState]) -> None:
        if await find_out(self._client, self._config, states):
            self._on_news()
        self._is_finding_out = False
        self._wake.set()

    async def _look_for_leaders(self) -> None:
        """Asks for metadata, at most every so often, while something has no leader."""
        try:
            await self._client.keeper.refresh()
        except StreamlogError:
            # The keeper goes on trying, and so do we; `poll` returns nothing meanwhile.
            await trio.sleep(self._client.config.retry_backoff_max_ms / 1000)
        self._note_missing(trio.current_time() * 1000)
        await trio.sleep(self._client.config.retry_backoff_ms / 1000)
        self._is_looking = False
        self._wake.set()

    def _note_missing(self, now_ms: float) -> None:
        for state in self._states.values():
            topic = self._client.metadata.topics.get(state.partition.topic)
            if topic is None or state.partition.partition not in topic.partitions:
                self._on_missing(state, now_ms)
                if state.error is not None:
                    self._on_news()
