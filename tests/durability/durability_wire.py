"""A blocking client of a few lines: it sends what a well-behaved one never would, and retries
nothing, so a test sees every error code as the broker sent it."""

from __future__ import annotations

import itertools
import socket
import struct
import time
from typing import TYPE_CHECKING, TypeVar

from streamlog.records.codec import decode_batches, encode_batch
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.framing import decode_response, encode_request
from streamlog.wire.messages.create_topics import (
    CreatableTopic,
    CreatableTopicConfig,
    CreateTopicsRequest,
    CreateTopicsResponse,
)
from streamlog.wire.messages.delete_topics import DeleteTopicsRequest, DeleteTopicsResponse
from streamlog.wire.messages.fetch import FetchPartition, FetchRequest, FetchResponse, FetchTopic
from streamlog.wire.messages.produce import (
    PartitionProduceData,
    PartitionProduceResponse,
    ProduceRequest,
    ProduceResponse,
    TopicProduceData,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.wire.messages.fetch import PartitionData
    from streamlog.wire.schema import Request, Response

R = TypeVar("R", bound="Response")

TIMEOUT_S = 30
BYSTANDER_TIMEOUT_S = 10
PRODUCE_VERSION, FETCH_VERSION, CREATE_VERSION, DELETE_VERSION = 9, 12, 7, 5


def connect(port: int, *, timeout_s: float = TIMEOUT_S) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout_s)


def receive_exactly(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionResetError(f"closed after {len(data)} of {size} bytes")
        data += piece
    return bytes(data)


def receive_frame(sock: socket.socket) -> bytes:
    return receive_exactly(sock, struct.unpack(">i", receive_exactly(sock, 4))[0])


def is_closed_by_peer(sock: socket.socket) -> bool:
    """Waits for the end of the connection; what is still sent is thrown away."""
    try:
        while sock.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def batch_of(*values: str) -> bytearray:
    data: list[bytes | None] = [value.encode() for value in values]
    # Older records would be the retention's.
    now_ms = int(time.time() * 1000)
    return encode_batch([None] * len(data), data, [now_ms] * len(data))


class Wire:
    """One connection."""

    def __init__(self, port: int, *, timeout_s: float = TIMEOUT_S) -> None:
        self.sock = connect(port, timeout_s=timeout_s)
        self._correlation_ids = itertools.count(1)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def call(self, request: Request[R], response: type[R], version: int) -> R:
        correlation_id = next(self._correlation_ids)
        self.sock.sendall(encode_request(request, version, correlation_id, "durability"))
        received, message = decode_response(response, version, memoryview(receive_frame(self.sock)))
        assert received == correlation_id
        return message

    def create_topic(
        self, name: str, partition_count: int = 1, settings: Mapping[str, str] | None = None
    ) -> ErrorCode:
        configs = [
            CreatableTopicConfig(name=key, value=value) for key, value in (settings or {}).items()
        ]
        topic = CreatableTopic(
            name=name, num_partitions=partition_count, replication_factor=1, configs=configs
        )
        request = CreateTopicsRequest(topics=[topic], timeout_ms=10_000)
        answer = self.call(request, CreateTopicsResponse, CREATE_VERSION)
        return ErrorCode(answer.topics[0].error_code)

    def delete_topic(self, name: str) -> ErrorCode:
        request = DeleteTopicsRequest(topic_names=[name], timeout_ms=10_000)
        answer = self.call(request, DeleteTopicsResponse, DELETE_VERSION)
        return ErrorCode(answer.responses[0].error_code)

    def produce(
        self, topic: str, partition: int, batch: bytes | bytearray, *, acks: int = -1
    ) -> PartitionProduceResponse:
        data = PartitionProduceData(index=partition, records=batch)
        request = ProduceRequest(
            acks=acks,
            timeout_ms=10_000,
            topic_data=[TopicProduceData(name=topic, partition_data=[data])],
        )
        answer = self.call(request, ProduceResponse, PRODUCE_VERSION)
        return answer.responses[0].partition_responses[0]

    def must_produce(self, topic: str, partition: int, batch: bytes | bytearray) -> int:
        """Returns the base offset."""
        answer = self.produce(topic, partition, batch)
        assert answer.error_code == ErrorCode.NONE, ErrorCode(answer.error_code).name
        return answer.base_offset

    def fetch(
        self, topic: str, partition: int, offset: int, *, bytes_max: int = 1 << 20, wait_ms: int = 0
    ) -> PartitionData:
        wanted = FetchPartition(
            partition=partition, fetch_offset=offset, partition_max_bytes=bytes_max
        )
        request = FetchRequest(
            max_wait_ms=wait_ms,
            min_bytes=1,
            max_bytes=bytes_max,
            topics=[FetchTopic(topic=topic, partitions=[wanted])],
        )
        answer = self.call(request, FetchResponse, FETCH_VERSION)
        assert answer.error_code == ErrorCode.NONE
        return answer.responses[0].partitions[0]

    def read(
        self, topic: str, partition: int, offset: int = 0, *, until: int | None = None
    ) -> dict[int, str]:
        """Reads to the high watermark, or to `until`; returns the values by offset.

        The checksum of every batch is checked on the way.
        """
        values: dict[int, str] = {}
        while until is None or offset < until:
            data = self.fetch(topic, partition, offset)
            assert data.error_code == ErrorCode.NONE, ErrorCode(data.error_code).name
            if offset >= data.high_watermark:
                break
            assert data.records is not None
            columns, following = decode_batches(data.records, fetch_offset=offset)
            assert following > offset, f"nothing at offset {offset} below {data.high_watermark}"
            values.update(zip(columns.offsets, _texts(columns.values), strict=True))
            offset = following
        return values


class Bystander:
    """A client that behaves; it must not notice what the others do."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        created = self._wire.create_topic("healthy")
        assert created in (ErrorCode.NONE, ErrorCode.TOPIC_ALREADY_EXISTS)
        self._numbers = itertools.count()

    def works(self) -> bool:
        """Writes and reads a small and a larger record, for which memory is counted."""
        for padding in ("", "x" * 50_000):
            value = f"value {next(self._numbers)} {padding}"
            offset = self._wire.must_produce("healthy", 0, batch_of(value))
            if self._wire.read("healthy", 0, offset, until=offset + 1) != {offset: value}:
                return False
        return True


def _texts(values: Sequence[bytes | None]) -> list[str]:
    return ["" if value is None else value.decode() for value in values]
