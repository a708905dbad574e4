"""The membership machine against the broker's group machine, with every message delayed or lost.

No I/O: requests and replies are values that wait in a list until the test lets them through.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from streamlog.broker.groups.config import GroupConfig as BrokerGroupConfig
from streamlog.broker.groups.decision import Caller, Decision, GroupRequest, GroupResponse
from streamlog.broker.groups.group import Group
from streamlog.client.assignors.registry import assignors_named
from streamlog.client.backoff import Backoff
from streamlog.client.config import GroupConfig
from streamlog.client.membership.actions import (
    Action,
    Assign,
    FindCoordinator,
    Join,
    Sync,
    TellAssigned,
    TellLost,
    TellRevoked,
    Wait,
)
from streamlog.client.membership.membership import Membership, Phase
from streamlog.client.membership.messages import (
    decode_assignment,
    heartbeat_request,
    join_request,
    joined,
    leave_request,
    sync_request,
)
from streamlog.client.values import TopicPartition
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.heartbeat import HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupResponse

PARTITIONS = {"t": 7, "u": 3}
ALL = {TopicPartition(topic, n) for topic, count in PARTITIONS.items() for n in range(count)}
SESSION_MS = 6_000
REBALANCE_MS = 10_000


@dataclass
class Member:
    """A membership machine, and what its shell would know."""

    machine: Membership
    config: GroupConfig
    waiting_for: int | None = None
    """The ticket of the join or sync under way."""
    told: list[str] = field(default_factory=list)


class World:
    """Some members, one group, and the messages between them."""

    def __init__(self, assignor: str, seed: int) -> None:
        self.now = 0
        self.assignor = assignor
        self.rng = random.Random(seed)
        self.ids = 0
        config = BrokerGroupConfig(initial_rebalance_delay_ms=0)
        self.group = Group("g", config, self._new_id, 0)
        self.members: list[Member] = []
        self.requests: list[tuple[int, GroupRequest]] = []
        self.replies: list[tuple[int, GroupResponse]] = []
        self.heartbeats: dict[int, tuple[Member, str, int]] = {}
        self.tickets = 0

    def _new_id(self) -> str:
        self.ids += 1
        return f"{self.ids:04}"

    def add_member(self) -> Member:
        config = GroupConfig(
            group="g",
            topics=("t", "u"),
            session_timeout_ms=SESSION_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            assignors=(self.assignor,),
        )
        machine = Membership(
            "g", config.topics, assignors_named(config.assignors), None, Backoff(1, 10, self.rng)
        )
        member = Member(machine, config)
        self.members.append(member)
        return member

    def send(self, request: GroupRequest) -> int:
        self.tickets += 1
        self.requests.append((self.tickets, request))
        return self.tickets

    def act(self, member: Member) -> Action | None:
        """One step of the member's shell; None while it waits for an answer."""
        if member.waiting_for is not None:
            return None
        machine = member.machine
        action = machine.next_action(self.now)
        match action:
            case FindCoordinator():
                machine.on_coordinator_found()
            case Join():
                member.waiting_for = self.send(join_request(member.config, action))
            case Assign():
                machine.on_assignment(action.assignor.assign(PARTITIONS, action.members))
            case Sync():
                member.waiting_for = self.send(sync_request(member.config, action))
            case TellAssigned() | TellRevoked() | TellLost():
                member.told.append(type(action).__name__)
                self.check()
                machine.on_told()
            case Wait():
                pass
        self.check()
        return action

    def heartbeat(self, member: Member) -> None:
        machine = member.machine
        if machine.keeps_in_touch:
            sent = machine.member_id, machine.generation
            ticket = self.send(heartbeat_request(member.config, *sent))
            self.heartbeats[ticket] = (member, *sent)

    def deliver_request(self) -> None:
        ticket, request = self.requests.pop(0)
        self.decided(self.group.handle(request, Caller(ticket=ticket, version=9), self.now))

    def decided(self, decision: Decision) -> None:
        while True:
            self.replies += [(reply.ticket, reply.response) for reply in decision.replies]
            if decision.snapshot is None:
                return
            decision = self.group.stored(decision.revision, ErrorCode.NONE, self.now)

    def deliver_reply(self, *, lose: bool = False) -> None:
        ticket, response = self.replies.pop(0)
        if ticket in self.heartbeats:
            member, member_id, generation = self.heartbeats.pop(ticket)
            if lose:
                member.machine.on_coordinator_lost(self.now)
            else:
                assert isinstance(response, HeartbeatResponse)
                member.machine.on_heartbeat_response(
                    ErrorCode(response.error_code), member_id, generation, self.now
                )
            return
        waiting = [each for each in self.members if each.waiting_for == ticket]
        if not waiting:
            return
        (member,) = waiting
        member.waiting_for = None
        if lose:
            member.machine.on_request_failed(self.now)
        elif isinstance(response, JoinGroupResponse):
            code = ErrorCode(response.error_code)
            member.machine.on_join_response(
                code,
                joined(response) if code is ErrorCode.NONE else None,
                response.member_id,
                self.now,
            )
        else:
            assert isinstance(response, SyncGroupResponse)
            code = ErrorCode(response.error_code)
            assigned = decode_assignment(response.assignment) if code is ErrorCode.NONE else []
            member.machine.on_sync_response(code, assigned, self.now)
        self.check()

    def pass_time(self, ms: int) -> None:
        self.now += ms
        deadline = self.group.next_deadline()
        while deadline is not None and deadline <= self.now:
            self.decided(self.group.advance(self.now))
            deadline = self.group.next_deadline()

    def check(self) -> None:
        """Nobody shares a partition with another whom the group still counts."""
        owner: dict[TopicPartition, str] = {}
        for member in self.members:
            machine = member.machine
            if self.group.roster.get(machine.member_id) is None:
                continue
            for partition in machine.owned:
                assert partition not in owner, (
                    f"{partition}: {owner[partition]}, {machine.member_id}"
                )
                owner[partition] = machine.member_id

    def take_step(self, step: str, which: int) -> None:  # noqa: C901 - a table of steps
        """One thing that may happen at any time."""
        member = self.members[which % len(self.members)]
        match step:
            case "act":
                self.act(member)
            case "run":
                while not isinstance(self.act(member), Wait | Join | Sync | None):
                    pass
            case "heartbeat":
                self.heartbeat(member)
            case "requests":
                while self.requests:
                    self.deliver_request()
            case "reply" | "lose" if self.replies:
                self.deliver_reply(lose=step == "lose")
            case "time":
                self.pass_time(200 if which else 3_000)
            case "join" if len(self.members) < 4:
                self.add_member()
            case "crash" | "leave" if len(self.members) > 1:
                self.members.remove(member)
                if step == "leave" and member.machine.member_id:
                    self.send(leave_request(member.config, member.machine.member_id))
            case "rejoin":
                member.machine.request_rejoin()

    def settle(self) -> None:
        """Lets everything through until nothing happens any more."""
        for _ in range(400):
            for member in self.members:
                action = self.act(member)
                while action is not None and not isinstance(action, Wait | Join | Sync):
                    action = self.act(member)
            for member in self.members:
                self.heartbeat(member)
            while self.requests or self.replies:
                while self.requests:
                    self.deliver_request()
                while self.replies:
                    self.deliver_reply()
            if all(member.machine.is_settled for member in self.members):
                return
            self.pass_time(500)
        raise AssertionError([member.machine.phase for member in self.members])


def assert_all_owned_once(world: World) -> None:
    owned = [each for member in world.members for each in member.machine.owned]
    assert sorted(owned) == sorted(ALL)
    loads = [len(member.machine.owned) for member in world.members]
    if world.assignor != "range":
        assert max(loads) - min(loads) <= 1


ASSIGNOR_NAMES = ["range", "roundrobin", "sticky", "cooperative-sticky"]


@pytest.mark.parametrize("assignor", ASSIGNOR_NAMES)
def test_members_that_come_and_go_share_everything(assignor: str) -> None:
    world = World(assignor, 1)
    for _ in range(3):
        world.add_member()
        world.settle()
        assert_all_owned_once(world)
    gone = world.members.pop(0)
    world.send(leave_request(gone.config, gone.machine.member_id))
    world.settle()
    assert_all_owned_once(world)


def test_cooperative_members_keep_what_does_not_move() -> None:
    world = World("cooperative-sticky", 1)
    first = world.add_member()
    world.settle()
    before = first.machine.owned
    first.told.clear()
    world.add_member()
    world.settle()
    assert first.machine.owned < before
    assert first.told.count("TellRevoked") == 1
    assert "TellLost" not in first.told


def test_eager_members_give_up_everything_first() -> None:
    world = World("range", 1)
    first = world.add_member()
    world.settle()
    first.told.clear()
    world.add_member()
    world.settle()
    assert first.told == ["TellRevoked", "TellAssigned"]


def test_a_silent_member_is_dropped_and_loses_what_it_had() -> None:
    world = World("cooperative-sticky", 1)
    silent = world.add_member()
    world.settle()
    world.pass_time(SESSION_MS + 1)
    other = world.add_member()
    world.members.remove(silent)
    world.settle()
    assert other.machine.owned == ALL
    world.members.append(silent)
    silent.told.clear()
    world.settle()
    assert silent.told[0] == "TellLost"
    assert_all_owned_once(world)


STEPS = (
    *("lose", "crash", "leave", "rejoin"),
    *("act", "heartbeat", "time", "join") * 3,
    *("run", "requests", "reply", "reply") * 12,
)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("assignor", ASSIGNOR_NAMES)
def test_whatever_is_lost_or_late_nobody_shares_and_all_is_owned_in_the_end(
    assignor: str, seed: int
) -> None:
    world = World(assignor, seed)
    for _ in range(seed % 3):
        world.add_member()
    world.settle()
    world.add_member()
    for _ in range(400):
        world.take_step(world.rng.choice(STEPS), world.rng.randrange(4))
    world.settle()
    # Members that crashed are still waited for until their sessions end.
    for _ in range(40):
        world.pass_time(500)
        world.settle()
    assert all(member.machine.phase is Phase.STABLE for member in world.members)
    assert_all_owned_once(world)
