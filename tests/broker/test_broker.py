from __future__ import annotations

import os
import signal
import ssl
import struct
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.broker.log.errors import LogDirLockedError
from streamlog.broker.server.limits import ServerLimits
from streamlog.broker.server.server import AddressInUseError
from streamlog.records.codec import decode_batches, encode_batch
from streamlog.wire.api import API, spec_of
from streamlog.wire.framing import decode_response, encode_request
from streamlog.wire.messages.fetch import FetchPartition, FetchRequest, FetchTopic
from streamlog.wire.messages.init_producer_id import InitProducerIdRequest
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupRequestProtocol
from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic
from streamlog.wire.messages.offset_commit import (
    OffsetCommitRequest,
    OffsetCommitRequestPartition,
    OffsetCommitRequestTopic,
)
from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchRequestGroup
from streamlog.wire.messages.produce import (
    PartitionProduceData,
    ProduceRequest,
    TopicProduceData,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlog.broker.broker import Broker
    from streamlog.wire.schema import Request, Response

R = TypeVar("R", bound="Response")


def config(data: Path, **options: object) -> BrokerConfig:
    return BrokerConfig(data=data, listen=(("127.0.0.1", 0),), **options)  # type: ignore[arg-type]


class Client:
    """Speaks the protocol over one connection."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def send(self, request: Request[R]) -> None:
        version = API[spec_of(type(request)).key].versions.last
        await self.stream.send_all(encode_request(request, version, 1, "test"))

    async def receive(self, request: Request[R]) -> R:
        spec = spec_of(type(request))
        size = int.from_bytes(await self._exactly(4), "big")
        frame = memoryview(await self._exactly(size))
        response: R = decode_response(spec.response, API[spec.key].versions.last, frame)[1]  # type: ignore[assignment]
        return response

    async def ask(self, request: Request[R]) -> R:
        await self.send(request)
        return await self.receive(request)

    async def is_closed(self) -> bool:
        try:
            return await self.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True

    async def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = await self.stream.receive_some(size - len(data))
            assert more, "the broker closed the connection"
            data += more
        return data


@asynccontextmanager
async def connected(broker: Broker) -> AsyncIterator[Client]:
    with trio.fail_after(30):
        async with await trio.open_tcp_stream(broker.host, broker.port) as stream:
            yield Client(stream)


def produce(topic: str, *values: bytes, acks: int = -1) -> ProduceRequest:
    batch = encode_batch(
        [None] * len(values), list(values), [int(time.time() * 1000)] * len(values)
    )
    return ProduceRequest(
        acks=acks,
        timeout_ms=10_000,
        topic_data=[
            TopicProduceData(
                name=topic, partition_data=[PartitionProduceData(index=0, records=batch)]
            )
        ],
    )


def fetch(topic: str, offset: int = 0, max_wait_ms: int = 0) -> FetchRequest:
    partition = FetchPartition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
    return FetchRequest(
        max_wait_ms=max_wait_ms,
        min_bytes=1,
        session_epoch=-1,
        topics=[FetchTopic(topic=topic, partitions=[partition])],
    )


def metadata(*topics: str) -> MetadataRequest:
    return MetadataRequest(topics=[MetadataRequestTopic(name=name) for name in topics])


async def values_in(client: Client, topic: str) -> list[bytes | None]:
    response = await client.ask(fetch(topic))
    return decode_batches(response.responses[0].partitions[0].records or b"")[0].values


async def test_records_go_in_and_come_out(tmp_path: Path) -> None:
    async with open_broker(config(tmp_path)) as broker, connected(broker) as client:
        found = await client.ask(metadata("orders"))
        assert (found.brokers[0].host, found.brokers[0].port) == (broker.host, broker.port)
        await client.ask(produce("orders", b"a", b"b" * 100_000))
        assert await values_in(client, "orders") == [b"a", b"b" * 100_000]
        statistics = broker.statistics()
        assert (statistics.topics, statistics.partitions) == (1, 1)
        assert statistics.requests_by_api == {"METADATA": 1, "PRODUCE": 1, "FETCH": 1}
        assert statistics.server.connections == 1


async def test_a_fetch_larger_than_the_sockets_buffers_arrives_whole(tmp_path: Path) -> None:
    async with open_broker(config(tmp_path)) as broker, connected(broker) as client:
        await client.ask(metadata("orders"))
        sent: list[bytes | None] = []
        for index in range(20):
            value = bytes([index]) * 900_000
            await client.ask(produce("orders", value))
            sent.append(value)
        request = fetch("orders")
        request.topics[0].partitions[0].partition_max_bytes = 50 << 20
        response = await client.ask(request)
        records = response.responses[0].partitions[0].records or b""
        assert decode_batches(records)[0].values == sent


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    commit = OffsetCommitRequest(
        group_id="g",
        generation_id_or_member_epoch=-1,
        topics=[
            OffsetCommitRequestTopic(
                name="orders",
                partitions=[OffsetCommitRequestPartition(partition_index=0, committed_offset=1)],
            )
        ],
    )
    async with open_broker(config(tmp_path)) as broker, connected(broker) as client:
        await client.ask(metadata("orders"))
        await client.ask(produce("orders", b"a", b"b"))
        committed = await client.ask(commit)
        assert committed.topics[0].partitions[0].error_code == 0
        producer_id = (await client.ask(InitProducerIdRequest(transactional_id=None))).producer_id
        cluster_id = broker.cluster_id
    async with open_broker(config(tmp_path)) as broker, connected(broker) as client:
        assert broker.cluster_id == cluster_id
        assert await values_in(client, "orders") == [b"a", b"b"]
        asked = OffsetFetchRequest(groups=[OffsetFetchRequestGroup(group_id="g", topics=None)])
        topics = (await client.ask(asked)).groups[0].topics
        assert topics[0].partitions[0].committed_offset == 1
        again = await client.ask(InitProducerIdRequest(transactional_id=None))
        assert again.producer_id > producer_id


async def test_a_second_broker_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    async with open_broker(config(tmp_path)) as broker:
        with pytest.raises(LogDirLockedError, match=str(os.getpid())):
            async with open_broker(config(tmp_path)):
                pass
        async with connected(broker) as client:
            await client.ask(metadata("orders"))
            await client.ask(produce("orders", b"still served"))


async def test_a_taken_port_is_told_as_such(tmp_path: Path) -> None:
    async with open_broker(config(tmp_path / "a")) as broker:
        second = BrokerConfig(data=tmp_path / "b", listen=((broker.host, broker.port),))
        with pytest.raises(AddressInUseError):
            async with open_broker(second):
                pass


async def test_an_error_of_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_broker(config(tmp_path)):
            raise ZeroDivisionError


async def test_stopping_answers_parked_fetches_and_joins(tmp_path: Path) -> None:
    join = JoinGroupRequest(
        group_id="g",
        session_timeout_ms=10_000,
        rebalance_timeout_ms=60_000,
        group_instance_id="seat",
        protocol_type="consumer",
        protocols=[JoinGroupRequestProtocol(name="range", metadata=b"")],
    )
    async with trio.open_nursery() as nursery:
        async with open_broker(config(tmp_path)) as broker:
            fetching = Client(await trio.open_tcp_stream(broker.host, broker.port))
            joining = Client(await trio.open_tcp_stream(broker.host, broker.port))
            await fetching.ask(metadata("orders"))
            request = fetch("orders", max_wait_ms=60_000)
            await fetching.send(request)
            await joining.send(join)
            with trio.fail_after(10):
                while broker.statistics().requests_by_api.get("JOIN_GROUP") != 1:
                    await trio.lowlevel.checkpoint()
                while broker.statistics().fetches_parked != 1:
                    await trio.lowlevel.checkpoint()
            answers: list[int] = []

            async def collect() -> None:
                response = await fetching.receive(request)
                answers.append(response.responses[0].partitions[0].error_code)
                answers.append((await joining.receive(join)).error_code)

            nursery.start_soon(collect)
            began = trio.current_time()
        assert trio.current_time() - began < ServerLimits().stop_grace_s
    assert answers[0] == 0
    assert answers[1] != 0
    await fetching.stream.aclose()
    await joining.stream.aclose()


def hello_of_tls() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HUGE = struct.pack(">i", 2**31 - 1)
GARBAGE = {
    "HTTP": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "an HTTP request"),
    "TLS": (hello_of_tls(), "a TLS handshake"),
    "2 GiB": (HUGE + b"x" * 100, "claims a length of 2147483647 bytes"),
    "negative": (struct.pack(">i", -5) + b"x" * 100, "claims a length of -5 bytes"),
    "unknown API": (struct.pack(">ihhih", 10, 999, 0, 1, -1), "API 999"),
    "unknown version": (struct.pack(">ihhih", 10, 3, 99, 1, -1), "version 99 of METADATA"),
    "noise": (struct.pack(">i", 64) + bytes(range(64)), "not served"),
    "cut off": (struct.pack(">ihhih", 12, 3, 12, 1, -1) + b"\0\xff", ""),
    "hostile count": (
        struct.pack(">ihhihBI", 15, 3, 9, 1, -1, 0, 0xFFFFFFFF),
        "",
    ),
}


@pytest.mark.parametrize("name", GARBAGE)
async def test_garbage_closes_its_connection_is_named_and_disturbs_nobody(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    garbage, named = GARBAGE[name]
    async with open_broker(config(tmp_path)) as broker, connected(broker) as good:
        await good.ask(metadata("orders"))
        async with connected(broker) as bad:
            await bad.stream.send_all(garbage)
            assert await bad.is_closed()
        await good.ask(produce("orders", b"a"))
        assert await values_in(good, "orders") == [b"a"]
        assert broker.statistics().server.connections_broken_total == 1
    lines = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(lines) == 1
    assert lines[0].startswith("closed the connection of 127.0.0.1:")
    assert named in lines[0]


async def test_pipelined_requests_are_answered_in_order(tmp_path: Path) -> None:
    async with open_broker(config(tmp_path)) as broker, connected(broker) as client:
        await client.ask(metadata("orders"))
        requests: list[Request[Response]] = []
        for index in range(50):
            requests += [produce("orders", b"%d" % index), metadata("orders")]
        for request in requests:
            await client.send(request)
        offsets = []
        for request in requests:
            response = await client.receive(request)
            if isinstance(request, ProduceRequest):
                offsets.append(response.responses[0].partition_responses[0].base_offset)  # type: ignore[attr-defined]
        assert offsets == list(range(50))


SERVER = """
import sys, time
began = time.monotonic()
import trio
from pathlib import Path
from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
async def main():
    config = BrokerConfig(data=Path(sys.argv[1]), listen=(("127.0.0.1", 0),))
    async with open_broker(config) as broker:
        print(broker.port, time.monotonic() - began, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


def start_server(data: Path) -> tuple[subprocess.Popen[bytes], int, float]:
    process = subprocess.Popen([sys.executable, "-c", SERVER, str(data)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    port, seconds = process.stdout.readline().split()
    process.stdout.close()
    return process, int(port), float(seconds)


def test_an_idle_broker_is_small(tmp_path: Path) -> None:
    process, _, _ = start_server(tmp_path)
    status = Path(f"/proc/{process.pid}/status").read_text()
    process.kill()
    process.wait()
    resident_kb = int(status.partition("VmRSS:")[2].split()[0])
    assert resident_kb < 60 * 1024


async def test_what_was_acknowledged_survives_kill_minus_9(tmp_path: Path) -> None:
    acknowledged: list[bytes | None] = []
    for round_number in range(3):
        process, port, _ = await trio.to_thread.run_sync(start_server, tmp_path)
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            client = Client(stream)
            with trio.fail_after(30):
                await client.ask(metadata("orders"))
                assert (await values_in(client, "orders"))[: len(acknowledged)] == acknowledged
                acknowledged = await values_in(client, "orders")
                for index in range(20):
                    value = b"%d/%d" % (round_number, index)
                    response = await client.ask(produce("orders", value))
                    assert response.responses[0].partition_responses[0].error_code == 0
                    acknowledged.append(value)
                await client.send(produce("orders", b"perhaps"))
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
