"""One link over memory streams: order, loss, cancellation, time limits, strangers."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import trio
from scripted_broker import ScriptedBroker, ScriptedNetwork, versions
from trio.testing import wait_all_tasks_blocked

from streamlog.client.backoff import Backoff
from streamlog.client.cluster.link import Link
from streamlog.client.cluster.metadata import BrokerAddress
from streamlog.client.config import ClientConfig
from streamlog.client.errors import (
    ConnectionLostError,
    NotKafkaError,
    UnsupportedVersionError,
)
from streamlog.wire.api import ApiKey
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.framing import RequestHeader, encode_response, unsupported_api_versions_response
from streamlog.wire.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.list_groups import ListGroupsRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable

CONFIG = ClientConfig(brokers=("broker:9092",), connect_timeout_ms=1_000)


def new_link(network: ScriptedNetwork, config: ClientConfig = CONFIG, origin: str = "") -> Link:
    backoff = Backoff(50, 1_000, random.Random(1))
    return Link(BrokerAddress(1, "broker", 9092), origin, config, network, backoff)


def echo(request: HeartbeatRequest) -> HeartbeatResponse:
    return HeartbeatResponse(error_code=request.generation_id)


async def test_requests_are_pipelined_and_answered_in_order(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    gate = trio.Event()

    async def wait_then_echo(request: HeartbeatRequest) -> HeartbeatResponse:
        await gate.wait()
        return echo(request)

    broker.answers[HeartbeatRequest] = wait_then_echo
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    pending = [link.submit(HeartbeatRequest(generation_id=number)) for number in range(20)]
    await wait_all_tasks_blocked()
    assert link.load == 20
    assert not any(each.is_done for each in pending)
    gate.set()
    for number, each in enumerate(pending):
        assert (await each.wait()).error_code == number
    assert broker.connection_count == 1
    link.close()


async def test_what_is_under_way_fails_when_the_connection_breaks(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = lambda _: None
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    pending = link.submit(HeartbeatRequest())
    await wait_all_tasks_blocked()
    await broker.break_connections()
    with pytest.raises(ConnectionLostError, match="broker:9092 closed the connection"):
        await pending.wait()
    broker.answers[HeartbeatRequest] = echo
    assert (await link.call(HeartbeatRequest(generation_id=5), 1_000)).error_code == 5
    assert broker.connection_count == 2
    link.close()


class ResettingNetwork(ScriptedNetwork):
    """Its connections are reset by the peer when `is_resetting` says so."""

    is_resetting = False

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        stream = await super().connect(host, port)

        async def reset() -> None:
            await trio.lowlevel.checkpoint()
            if self.is_resetting:
                raise trio.BrokenResourceError("reset by peer")

        stream.receive_stream.receive_some_hook = reset  # type: ignore[attr-defined]
        return stream


async def test_a_reset_connection_is_a_lost_one(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = echo
    network = ResettingNetwork(nursery, broker)
    link = new_link(network)
    nursery.start_soon(link.run)
    await link.call(HeartbeatRequest(), 1_000)
    network.is_resetting = True
    broker.answers[HeartbeatRequest] = lambda _: b"\0\0"
    with pytest.raises(ConnectionLostError, match="broke: reset by peer"):
        await link.call(HeartbeatRequest(), 1_000)
    network.is_resetting = False
    broker.answers[HeartbeatRequest] = echo
    assert (await link.call(HeartbeatRequest(generation_id=3), 1_000)).error_code == 3
    link.close()


async def test_an_idle_connection_that_is_closed_is_opened_again(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = echo
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    await link.call(HeartbeatRequest(), 1_000)
    await broker.break_connections()
    await wait_all_tasks_blocked()
    assert not link.is_connected
    await link.call(HeartbeatRequest(), 1_000)
    link.close()


async def test_an_overdue_answer_takes_the_connection_down(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = lambda _: None
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    behind = link.submit(HeartbeatRequest())
    with pytest.raises(ConnectionLostError, match="did not answer HeartbeatRequest within 700 ms"):
        await link.call(HeartbeatRequest(), 700)
    with pytest.raises(ConnectionLostError):
        await behind.wait()
    assert trio.current_time() == pytest.approx(0.7)
    link.close()


async def test_a_cancelled_caller_leaves_the_connection_in_order(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    gate = trio.Event()

    async def slow_first(request: HeartbeatRequest) -> HeartbeatResponse:
        if request.generation_id == 1:
            await gate.wait()
        return echo(request)

    broker.answers[HeartbeatRequest] = slow_first
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(link.call, HeartbeatRequest(generation_id=1), 60_000)
            await wait_all_tasks_blocked()
            scope.cancel()
    other = link.submit(HeartbeatRequest(generation_id=2))
    gate.set()
    assert (await other.wait()).error_code == 2
    assert broker.connection_count == 1
    link.close()


async def test_a_caller_cancelled_before_its_request_is_written_takes_it_back(
    nursery: trio.Nursery,
) -> None:
    broker = ScriptedBroker()
    gate = trio.Event()

    async def wait_versions(_: ApiVersionsRequest) -> ApiVersionsResponse:
        await gate.wait()
        return versions()

    broker.answers[ApiVersionsRequest] = wait_versions
    broker.answers[HeartbeatRequest] = echo
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as inner:
            inner.start_soon(link.call, HeartbeatRequest(generation_id=1), 60_000)
            await wait_all_tasks_blocked()
            scope.cancel()
    gate.set()
    await link.call(HeartbeatRequest(generation_id=2), 1_000)
    assert [r.generation_id for r in broker.received if isinstance(r, HeartbeatRequest)] == [2]
    link.close()


async def test_attempts_to_connect_wait_longer_each_time(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = ScriptedBroker()
    broker.is_down = True
    network = ScriptedNetwork(nursery, broker)
    link = new_link(network)
    nursery.start_soon(link.run)
    for _ in range(8):
        with pytest.raises(ConnectionLostError, match="nobody answers at broker:9092: connection"):
            await link.call(HeartbeatRequest(), 60_000)
    waits = [
        later - earlier for earlier, later in zip(network.dials, network.dials[1:], strict=False)
    ]
    assert 0.04 <= waits[0] <= 0.06
    assert waits[-1] == pytest.approx(1.0, rel=0.25)
    assert sorted(waits[:5]) == waits[:5]
    link.close()


async def test_an_advertised_address_that_is_wrong_is_named_as_such(nursery: trio.Nursery) -> None:
    link = new_link(ScriptedNetwork(nursery), origin="seed:9092")
    nursery.start_soon(link.run)
    with pytest.raises(ConnectionLostError, match=r"that broker 1 advertises .* seed:9092"):
        await link.call(HeartbeatRequest(), 1_000)
    link.close()


async def test_a_broker_that_says_nothing_is_given_up(
    nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    broker = ScriptedBroker()
    broker.answers[ApiVersionsRequest] = lambda _: None
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with pytest.raises(ConnectionLostError, match="no answer within 1,000 ms"):
        await link.call(HeartbeatRequest(), 60_000)
    link.close()


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered with HTTP, not with Kafka's protocol"),
        (b"\x15\x03\x03\x00\x02\x02\x0a", "answered with TLS"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "answered with SSH"),
        (b"\xff\xff\xff\xff", "as the length of a response -1"),
        (b"\x00\x00\x00\x09\x00\x00\x00\x00\x7f\x7f\x7f\x7f\x7f", "not answer with Kafka's"),
    ],
)
async def test_a_stranger_is_named(nursery: trio.Nursery, reply: bytes, said: str) -> None:
    broker = ScriptedBroker()
    broker.answers[ApiVersionsRequest] = lambda _: reply
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with pytest.raises(NotKafkaError, match=said):
        await link.call(HeartbeatRequest(), 1_000)
    link.close()


async def test_a_huge_length_is_refused_before_anything_is_read(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = lambda _: b"\x10\x00\x00\x00" + b"x" * 100
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with pytest.raises(ConnectionLostError, match="268,435,456, the limit is 134,217,728"):
        await link.call(HeartbeatRequest(), 1_000)
    link.close()


async def test_an_answer_to_something_else_ends_the_connection(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    wrong = RequestHeader(
        api_key=ApiKey.HEARTBEAT, api_version=4, correlation_id=77, client_id=None, body_position=0
    )
    broker.answers[HeartbeatRequest] = lambda _: encode_response(wrong, HeartbeatResponse())
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with pytest.raises(ConnectionLostError, match="answered request 77 instead of 0"):
        await link.call(HeartbeatRequest(), 1_000)
    link.close()


async def test_a_broker_too_old_for_our_question_is_asked_again(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    asked: list[str] = []

    def answer(request: ApiVersionsRequest) -> ApiVersionsResponse | bytes:
        asked.append(request.client_software_name)
        if len(asked) > 1:
            return versions()
        frame = bytearray(unsupported_api_versions_response(0))
        frame[-2:] = (2).to_bytes(2, "big")
        return bytes(frame)

    broker.answers[ApiVersionsRequest] = answer
    broker.answers[HeartbeatRequest] = echo
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    await link.call(HeartbeatRequest(), 1_000)
    assert asked == ["streamlog", ""], "the second question is of a version without the name"
    link.close()


async def test_a_request_that_the_broker_does_not_speak_fails_alone(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    table = versions()
    table.api_keys = [each for each in table.api_keys if each.api_key != ApiKey.LIST_GROUPS]
    broker.answers[ApiVersionsRequest] = lambda _: table
    broker.answers[HeartbeatRequest] = echo
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    with pytest.raises(UnsupportedVersionError, match="does not know LIST_GROUPS"):
        await link.call(ListGroupsRequest(), 1_000)
    assert (await link.call(HeartbeatRequest(), 1_000)).error_code == ErrorCode.NONE
    link.close()


async def test_no_more_requests_than_the_limit_are_under_way(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    gate = trio.Event()

    async def wait_then_echo(request: HeartbeatRequest) -> HeartbeatResponse:
        await gate.wait()
        return echo(request)

    broker.answers[HeartbeatRequest] = wait_then_echo
    config = ClientConfig(brokers=("broker:9092",), requests_in_flight_max=3)
    link = new_link(ScriptedNetwork(nursery, broker), config)
    nursery.start_soon(link.run)
    async with trio.open_nursery() as callers:
        for _ in range(10):
            callers.start_soon(link.call, HeartbeatRequest(), 60_000)
        await wait_all_tasks_blocked()
        assert link.load == 3
        gate.set()
    assert broker.count(HeartbeatRequest) == 10
    link.close()


async def test_closing_fails_what_is_under_way(nursery: trio.Nursery) -> None:
    broker = ScriptedBroker()
    broker.answers[HeartbeatRequest] = lambda _: None
    link = new_link(ScriptedNetwork(nursery, broker))
    nursery.start_soon(link.run)
    waiting: Awaitable[HeartbeatResponse] = link.submit(HeartbeatRequest()).wait()
    await wait_all_tasks_blocked()
    link.close()
    with pytest.raises(ConnectionLostError, match="is closed"):
        await waiting
    with pytest.raises(ConnectionLostError, match="is closed"):
        await link.call(HeartbeatRequest(), 1_000)
