"""A broker without listeners: requests go to the dispatcher as bytes and come back as messages."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, TypeVar, cast

import trio

from streamlog.broker.config import BrokerConfig
from streamlog.broker.coordination.lmdb_store import open_lmdb_store
from streamlog.broker.coordination.topics import TopicRegistry
from streamlog.broker.handlers.dispatch import Dispatcher
from streamlog.broker.handlers.fetch_purgatory import FetchPurgatory
from streamlog.broker.handlers.fetch_sessions import FetchSessions
from streamlog.broker.handlers.producer_ids import ProducerIds
from streamlog.broker.handlers.services import Services
from streamlog.broker.handlers.topic_admin import TopicAdmin
from streamlog.broker.log.disk import OsDisk
from streamlog.broker.log.manager import open_log_manager
from streamlog.broker.server.reply import Deferred, Peer
from streamlog.doors import SystemClock, WorkerThreads
from streamlog.records.codec import encode_batch
from streamlog.wire.api import API, spec_of
from streamlog.wire.framing import decode_response, encode_request
from streamlog.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
)
from streamlog.wire.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from streamlog.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    TopicProduceData,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable
    from pathlib import Path

    from streamlog.broker.groups.service import GroupService
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.broker.server.reply import Parts
    from streamlog.wire.schema import Request, Response

R = TypeVar("R", bound="Response")
PEER = Peer(address="192.0.2.1", port=4711, local_address="192.0.2.2", local_port=9092)


@dataclass
class NoGroups:
    """Stands for the group service where a test is about topics."""

    forgotten: list[str] = field(default_factory=list)

    async def forget_topics(self, names: Iterable[str]) -> None:
        await trio.lowlevel.checkpoint()
        self.forgotten.extend(names)


@dataclass
class Harness:
    """What tests talk to."""

    services: Services
    dispatcher: Dispatcher
    groups: NoGroups

    async def send(self, frame: bytes) -> bytes | None:
        """Sends a frame, as received into a writable buffer; returns the frame that answers it."""
        reply = await self.dispatcher.handle(memoryview(bytearray(frame))[4:], PEER)
        parts = await reply.complete() if isinstance(reply, Deferred) else reply
        return None if parts is None else joined(parts)

    async def ask(self, request: Request[R], version: int | None = None) -> R:
        """Sends a request, by default in the newest version, and returns the response."""
        spec = spec_of(type(request))
        version = API[spec.key].versions.last if version is None else version
        answer = await self.send(encode_request(request, version, 7, "test"))
        assert answer is not None
        assert int.from_bytes(answer[:4], "big") == len(answer) - 4
        correlation_id, response = decode_response(spec.response, version, memoryview(answer)[4:])
        assert correlation_id == 7
        return cast("R", response)

    async def create(self, name: str, partitions: int = 1, **configs: str) -> None:
        """Creates a topic; settings are given with underscores."""
        response = await self.ask(
            CreateTopicsRequest(
                topics=[
                    CreatableTopic(
                        name=name,
                        num_partitions=partitions,
                        replication_factor=1,
                        configs=[
                            CreatableTopicConfig(name=key.replace("_", "."), value=value)
                            for key, value in configs.items()
                        ],
                    )
                ]
            )
        )
        assert response.topics[0].error_code == 0, response.topics[0].error_message

    async def produce(
        self, topic: str, *values: bytes, partition: int = 0, timestamp: int = 1_000
    ) -> int:
        """Appends one batch; returns its base offset."""
        answer = await self.append(topic, batch_of(*values, timestamp=timestamp), partition)
        assert answer.error_code == 0
        return answer.base_offset

    async def append(
        self, topic: str, batch: bytes | bytearray, partition: int = 0, version: int = 9
    ) -> PartitionProduceResponse:
        """Appends any bytes with acks=all."""
        response = await self.ask(produce_request(topic, batch, partition), version)
        return response.responses[0].partition_responses[0]

    async def fetch(self, request: FetchRequest, version: int = 12) -> FetchResponse:
        """Fetches."""
        return await self.ask(request, version)

    def log(self, topic: str, partition: int = 0) -> PartitionLog:
        """Returns a partition's log."""
        log = self.services.logs.get(topic, partition)
        assert log is not None
        return log


def joined(parts: Parts) -> bytes:
    return b"".join(
        bytes(part) if isinstance(part, bytes | bytearray | memoryview) else part.read()
        for part in parts
    )


def batch_of(*values: bytes, timestamp: int = 1_000, **options: int) -> bytearray:
    return encode_batch(
        [None] * len(values),
        list(values),
        [timestamp] * len(values),
        **options,  # type: ignore[arg-type]
    )


def produce_request(
    topic: str, batch: bytes | bytearray, partition: int = 0, acks: int = -1
) -> ProduceRequest:
    data = PartitionProduceData(index=partition, records=batch)
    return ProduceRequest(
        acks=acks,
        timeout_ms=10_000,
        topic_data=[TopicProduceData(name=topic, partition_data=[data])],
    )


def fetch_request(
    topic: str,
    offsets: dict[int, int],
    *,
    max_wait_ms: int = 0,
    min_bytes: int = 1,
    session: tuple[int, int] = (0, -1),
    partition_max_bytes: int = 1 << 20,
    max_bytes: int = 50 << 20,
) -> FetchRequest:
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=min_bytes,
        max_bytes=max_bytes,
        session_id=session[0],
        session_epoch=session[1],
        topics=[
            FetchTopic(
                topic=topic,
                partitions=[
                    FetchPartition(
                        partition=partition,
                        fetch_offset=offset,
                        partition_max_bytes=partition_max_bytes,
                    )
                    for partition, offset in offsets.items()
                ],
            )
        ],
    )


@asynccontextmanager
async def running(data: Path, config: BrokerConfig | None = None) -> AsyncIterator[Harness]:
    config = config or BrokerConfig(data=data)
    clock, threads = SystemClock(), WorkerThreads(8)
    groups = NoGroups()
    purgatory = FetchPurgatory()
    async with (
        open_lmdb_store(data / "coordination", threads) as store,
        open_log_manager(data, OsDisk(), threads, clock) as logs,
    ):
        topics = await TopicRegistry.load(store)
        service = cast("GroupService", groups)
        admin = TopicAdmin(config, store, topics, logs, service)
        await admin.restore()
        logs.on_high_watermark(purgatory.note_progress)
        services = Services(
            config=config,
            cluster_id=logs.properties.cluster_id,
            clock=clock,
            logs=logs,
            topics=topics,
            topic_admin=admin,
            groups=service,
            producer_ids=ProducerIds(store, config.node_id),
            purgatory=purgatory,
            fetch_sessions=FetchSessions(config.fetch_sessions_max, Random(1)),
        )
        yield Harness(services, Dispatcher(services), groups)
