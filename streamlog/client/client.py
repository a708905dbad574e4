"""The client: connections to the brokers of one cluster, and what is known of it.

Producers, consumers, members and the administration share one client and its metadata. They do not
all share connections: brokers answer the requests of a connection in order, so whatever waits at
the broker (a fetch, a join) has a *purpose* of its own, and a link for it.
"""

from __future__ import annotations

import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import trio

from streamlog.client.backoff import Backoff
from streamlog.client.cluster.keeper import MetadataKeeper
from streamlog.client.cluster.link import Link
from streamlog.client.cluster.metadata import BrokerAddress, ClusterMetadata
from streamlog.client.config import parse_address
from streamlog.client.errors import (
    ConnectionLostError,
    ErrorCode,
    KafkaError,
    NotKafkaError,
    UnknownTopicError,
    is_retriable,
)
from streamlog.client.nursery import background_nursery
from streamlog.doors import TcpNetwork
from streamlog.errors import StreamlogError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from streamlog.client.cluster.metadata import PartitionInfo, TopicInfo
    from streamlog.client.config import ClientConfig
    from streamlog.client.values import TopicPartition
    from streamlog.doors import Network
    from streamlog.wire.schema import Request, Response

T = TypeVar("T")
R = TypeVar("R", bound="Response")

MAIN = "main"
"""The purpose of requests that are answered at once."""


class Client:
    """Connections and metadata, shared by producers, consumers, members and admin.

    Args:
        config: Where to begin, and how long to try.
        network: To dial with.
        rng: Jitter and choices.
        server_nursery: Where links live; the one nursery that is handed on.
    """

    def __init__(
        self,
        config: ClientConfig,
        network: Network,
        rng: random.Random,
        server_nursery: trio.Nursery,
    ) -> None:
        self.config = config
        self.rng = rng
        self.metadata = ClusterMetadata()
        self._network = network
        self._nursery = server_nursery
        self._links: dict[tuple[int, str], Link] = {}
        self._seeds = {
            -1 - index: BrokerAddress(-1 - index, *parse_address(address))
            for index, address in enumerate(config.brokers)
        }
        self._purpose_count = 0
        self.keeper = MetadataKeeper(
            self.metadata, self.call_any, config.metadata_max_age_ms, self.new_backoff()
        )

    def new_backoff(self) -> Backoff:
        """Makes a back-off between attempts at a request."""
        config = self.config
        return Backoff(config.retry_backoff_ms, config.retry_backoff_max_ms, self.rng)

    # Links and requests.

    def new_purpose(self, what: str) -> str:
        """Names connections of one's own, for requests that wait at the broker."""
        self._purpose_count += 1
        return f"{what}-{self._purpose_count}"

    def release(self, purpose: str) -> None:
        """Closes the connections of a purpose."""
        for key in [key for key in self._links if key[1] == purpose]:
            self._links.pop(key).close()

    def link(self, node_id: int, purpose: str = MAIN) -> Link:
        """Returns the link to a broker; raises `ConnectionLostError` if no such broker is known."""
        address = self._seeds.get(node_id) or self.metadata.brokers.get(node_id)
        if address is None:
            self.keeper.request()
            raise ConnectionLostError(f"no broker {node_id} is known at the moment")
        link = self._links.get((node_id, purpose))
        if link is not None and link.address == address and not link.is_closed:
            return link
        if link is not None:
            link.close()
        origin = "" if node_id in self._seeds else self.config.brokers[0]
        backoff = Backoff(
            self.config.reconnect_backoff_ms, self.config.reconnect_backoff_max_ms, self.rng
        )
        link = Link(address, origin, self.config, self._network, backoff)
        self._links[node_id, purpose] = link
        self._nursery.start_soon(link.run)
        return link

    async def call(
        self,
        node_id: int,
        request: Request[R],
        *,
        purpose: str | None = None,
        timeout_ms: float | None = None,
    ) -> R:
        """Sends a request to one broker and returns its answer."""
        wait_ms = self.config.request_timeout_ms if timeout_ms is None else timeout_ms
        return await self.link(node_id, purpose or MAIN).call(request, wait_ms)

    async def call_any(self, request: Request[R]) -> R:
        """Sends a request to one broker after the other until one answers."""
        failure: ConnectionLostError | NotKafkaError | None = None
        for node_id in self._candidates():
            try:
                return await self.call(node_id, request)
            except NotKafkaError as error:
                failure = error
            except ConnectionLostError as error:
                failure = failure if isinstance(failure, NotKafkaError) else error
        assert failure is not None, "there is always a seed"
        raise failure

    def _candidates(self) -> list[int]:
        """Returns the brokers to try: connected ones, then known ones, then the seeds."""
        known = list(self.metadata.brokers)
        seeds = list(self._seeds)
        self.rng.shuffle(known)
        self.rng.shuffle(seeds)
        links = {node: self._links.get((node, MAIN)) for node in known}
        return sorted(
            (*known, *seeds),
            key=lambda node: (
                node < 0,
                not ((link := links.get(node)) is not None and link.is_connected),
            ),
        )

    async def call_controller(self, request: Request[R]) -> R:
        """Sends a request to the controller (in a cluster of one, to that one)."""
        if self.metadata.controller not in self.metadata.brokers:
            await self.keeper.refresh()
        if self.metadata.controller in self.metadata.brokers:
            return await self.call(self.metadata.controller, request)
        return await self.call_any(request)

    async def retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Tries until it succeeds, fails for good, or the time is up.

        Raises:
            StreamlogError: the last failure.
        """
        backoff = self.new_backoff()
        give_up_at = trio.current_time() + self.config.api_timeout_ms / 1000
        while True:
            try:
                return await attempt()
            except StreamlogError as error:
                wait_s = backoff.next_ms() / 1000
                if not is_retriable(error) or trio.current_time() + wait_s >= give_up_at:
                    raise
                if isinstance(error, KafkaError) and error.code is ErrorCode.NOT_CONTROLLER:
                    self.metadata.controller = -1
                self.keeper.request()
            await trio.sleep(wait_s)

    # Topics.

    async def topic(self, name: str, *, create: bool = False) -> TopicInfo:
        """Returns what is known of a topic, asking if that is nothing.

        Args:
            name: The topic.
            create: Lets the broker create it, if it is configured to do that.

        Raises:
            UnknownTopicError: it does not exist.
            KafkaError: it is not allowed, or its name is impossible.
        """
        info = self.metadata.topics.get(name)
        if info is not None and info.partitions and info.error is ErrorCode.NONE:
            return info
        backoff = self.new_backoff()
        now = trio.current_time()
        missing_at = now + self.config.unknown_topic_patience_ms / 1000
        give_up_at = now + self.config.api_timeout_ms / 1000
        while True:
            self.keeper.track([name], create=create)
            problem = await self._topic_problem(name)
            if problem is None:
                return self.metadata.topics[name]
            is_missing = isinstance(problem, UnknownTopicError)
            if is_missing or not is_retriable(problem):
                if not is_missing or trio.current_time() >= missing_at:
                    self.keeper.untrack(name)
                    raise problem
            elif trio.current_time() >= give_up_at:
                raise problem
            await trio.sleep(backoff.next_ms() / 1000)

    async def _topic_problem(self, name: str) -> StreamlogError | None:
        try:
            await self.keeper.refresh()
        except ConnectionLostError as error:
            return error
        info = self.metadata.topics.get(name)
        if info is None or info.error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            return UnknownTopicError(name)
        if info.error is not ErrorCode.NONE:
            return KafkaError(info.error, f"topic {name!r}")
        return None if info.partitions else UnknownTopicError(name)

    async def partition_count(self, topic: str) -> int:
        """Returns how many partitions a topic has; raises `UnknownTopicError` if there is none."""
        return (await self.topic(topic)).partition_count

    async def leader(self, partition: TopicPartition) -> PartitionInfo:
        """Returns a partition that has a leader; raises a retriable error if it has none now."""
        topic = await self.topic(partition.topic)
        if partition.partition not in topic.partitions:
            raise UnknownTopicError(partition.topic, partition.partition)
        info = self.metadata.leader(partition)
        if info is None:
            self.keeper.request()
            raise KafkaError(ErrorCode.LEADER_NOT_AVAILABLE, str(partition))
        return info

    async def bootstrap(self) -> None:
        """Asks the seeds for the cluster; see `open_client`."""
        failure: StreamlogError | None = None
        with trio.move_on_after(self.config.bootstrap_timeout_ms / 1000):
            while True:
                try:
                    await self.keeper.refresh()
                except ConnectionLostError as error:
                    failure = error
                else:
                    return
        seconds = self.config.bootstrap_timeout_ms / 1000
        brokers = ", ".join(self.config.brokers)
        if failure is None:
            raise UnreachableError(f"no answer from {brokers} within {seconds:g} s")
        raise UnreachableError(failure.message, hint=failure.hint) from failure


@asynccontextmanager
async def open_client(
    config: ClientConfig, *, network: Network | None = None, rng: random.Random | None = None
) -> AsyncIterator[Client]:
    """Opens a client; raises `UnreachableError` if no broker answers in time.

    Entering waits for the first answer; leaving closes all connections at once.

    Args:
        config: Where to begin, and how long to try.
        network: To dial with; real sockets by default.
        rng: For jitter and choices; seed it to have them again.
    """
    async with background_nursery() as nursery:
        client = Client(config, network or TcpNetwork(), rng or random.Random(), nursery)
        nursery.start_soon(client.keeper.run)
        await client.bootstrap()
        yield client
