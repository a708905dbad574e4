"""A broker for tests of the client's shells: answers what a test scripts, over memory streams."""

from __future__ import annotations

import errno
from collections.abc import Callable
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.testing import memory_stream_pair

from streamlog.wire.api import API
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.framing import decode_request, encode_response
from streamlog.wire.messages.api_versions import (
    ApiVersion,
    ApiVersionsRequest,
    ApiVersionsResponse,
)
from streamlog.wire.messages.metadata import (
    MetadataRequest,
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

Answer = Callable[[Any], Any]
"""From a request to a response, to something that gives one when awaited, or to None: no answer."""


class ScriptedBroker:
    """One broker; `answers` says what it answers by the request's class."""

    def __init__(self, node_id: int = 1, host: str = "broker", port: int = 9092) -> None:
        self.node_id = node_id
        self.host = host
        self.port = port
        self.topics: dict[str, int] = {}
        self.leader_epoch = 0
        self.received: list[Any] = []
        self.is_down = False
        self.connection_count = 0
        self.answers: dict[type, Answer] = {
            ApiVersionsRequest: lambda _: versions(),
            MetadataRequest: self.metadata,
        }
        self._streams: list[trio.abc.Stream] = []

    def metadata(self, request: MetadataRequest) -> MetadataResponse:
        asked = [each.name or "" for each in request.topics or ()]
        names = list(self.topics) if request.topics is None else asked
        return MetadataResponse(
            brokers=[MetadataResponseBroker(node_id=self.node_id, host=self.host, port=self.port)],
            cluster_id="scripted",
            controller_id=self.node_id,
            topics=[self._topic(name) for name in names],
        )

    def _topic(self, name: str) -> MetadataResponseTopic:
        if name not in self.topics:
            return MetadataResponseTopic(name=name, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return MetadataResponseTopic(
            name=name,
            partitions=[
                MetadataResponsePartition(
                    partition_index=number,
                    leader_id=self.node_id,
                    leader_epoch=self.leader_epoch,
                    replica_nodes=[self.node_id],
                    isr_nodes=[self.node_id],
                )
                for number in range(self.topics[name])
            ],
        )

    async def break_connections(self) -> None:
        """Closes every connection, in the middle of whatever goes on."""
        streams, self._streams = self._streams, []
        for stream in streams:
            await stream.aclose()

    def count(self, cls: type) -> int:
        """How many requests of a class have come."""
        return sum(isinstance(each, cls) for each in self.received)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Answers the requests of one connection in order."""
        self.connection_count += 1
        self._streams.append(stream)
        data = bytearray()
        try:
            while chunk := await stream.receive_some(65536):
                data += chunk
                while len(data) >= 4 and len(data) - 4 >= int.from_bytes(data[:4], "big"):
                    size = int.from_bytes(data[:4], "big")
                    frame = bytes(data[4 : 4 + size])
                    del data[: 4 + size]
                    await self._answer(stream, frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def _answer(self, stream: trio.abc.Stream, frame: bytes) -> None:
        header, request = decode_request(memoryview(frame))
        self.received.append(request)
        response = self.answers[type(request)](request)
        if isawaitable(response):
            response = await response
        if response is not None:
            await stream.send_all(
                response if isinstance(response, bytes) else encode_response(header, response)
            )


def versions(**limits: int) -> ApiVersionsResponse:
    """The table of versions; `fetch=7` lowers the highest of one API."""
    return ApiVersionsResponse(
        api_keys=[
            ApiVersion(
                api_key=spec.key,
                min_version=spec.advertised.first,
                max_version=limits.get(spec.key.name.lower(), spec.advertised.last),
            )
            for spec in API.values()
        ]
    )


class ScriptedNetwork:
    """Dials scripted brokers; nobody else is there."""

    def __init__(self, nursery: trio.Nursery, *brokers: ScriptedBroker) -> None:
        self._nursery = nursery
        self.brokers = {(broker.host, broker.port): broker for broker in brokers}
        self.dials: list[float] = []

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        await trio.lowlevel.checkpoint()
        self.dials.append(trio.current_time())
        broker = self.brokers.get((host, port))
        if broker is None or broker.is_down:
            raise OSError(errno.ECONNREFUSED, "connection refused")
        ours, theirs = memory_stream_pair()
        self._nursery.start_soon(broker.serve, theirs)
        return cast("trio.SocketStream", ours)

    async def listen(self, host: str, port: int) -> Sequence[trio.SocketListener]:
        raise AssertionError("a client does not listen")
