"""A member knows how long ago the group has confirmed that it is one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import trio
from scripted_broker import ScriptedBroker, ScriptedNetwork

from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig, GroupConfig
from streamlog.client.membership.member import open_group_member
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.find_coordinator import Coordinator, FindCoordinatorResponse
from streamlog.wire.messages.find_coordinator import FindCoordinatorRequest as Find
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from trio.testing import MockClock

    from streamlog.client.values import TopicPartition

SESSION_S = 10.0


class Listener:
    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None: ...

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None: ...

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None: ...


async def test_a_member_whose_heartbeats_nobody_answers_is_in_doubt_after_a_session(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    broker = ScriptedBroker()
    broker.topics["t"] = 1
    here = Coordinator(key="g", node_id=1, host="broker", port=9092)
    broker.answers[Find] = lambda _: FindCoordinatorResponse(
        node_id=1, host="broker", port=9092, coordinators=[here]
    )
    broker.answers[JoinGroupRequest] = lambda request: JoinGroupResponse(
        generation_id=1, protocol_name=request.protocols[0].name, leader="other", member_id="me"
    )
    broker.answers[SyncGroupRequest] = lambda _: SyncGroupResponse()
    broker.answers[LeaveGroupRequest] = lambda _: LeaveGroupResponse()
    answers: list[HeartbeatResponse | None] = [HeartbeatResponse()]
    broker.answers[HeartbeatRequest] = lambda _: answers[0]
    config = GroupConfig(
        group="g",
        topics=("t",),
        session_timeout_ms=round(SESSION_S * 1000),
        heartbeat_interval_ms=1_000,
    )
    async with (
        open_client(
            ClientConfig(brokers=("broker:9092",)),
            network=ScriptedNetwork(nursery, broker),
            rng=random.Random(1),
        ) as client,
        open_group_member(client, config, Listener()) as member,
    ):
        found = [member.is_in_doubt]
        await member.wait_joined()
        found.append(member.is_in_doubt)
        await trio.sleep(3 * SESSION_S)
        found.append(member.is_in_doubt)
        answers[0] = None
        for span_s in (SESSION_S / 2, SESSION_S):
            await trio.sleep(span_s)
            found.append(member.is_in_doubt)
        answers[0] = HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)
        await broker.break_connections()
        await trio.sleep(SESSION_S / 2)
        found.append(member.is_in_doubt)
    # Before it joined; then; while heartbeats were answered; soon after; after a session; again.
    assert found == [True, False, False, False, True, False]
