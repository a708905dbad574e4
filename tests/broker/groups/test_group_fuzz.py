"""Random clients, time, storage failures and coordinator changes; what must hold holds throughout.

* Each partition has at most one owner in a generation (and a static member's successor is the same
  owner), and only an owner of the current generation can commit.
* No ghosts: nobody is a member who was not told its id or waits to be, and when all fall silent,
  the group ends empty without a deadline.
* Every request is answered, once.
* Generations only grow.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from group_harness import NONE, Harness, reading

from streamlog.broker.groups.coordinator import Status
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.join_group import JoinGroupResponse

if TYPE_CHECKING:
    from streamlog.broker.groups.roster import Roster

PARTITIONS = 7
STEPS = 400
WEIGHTS = {
    "proper": 100,
    "wait": 30,
    "store": 60,
    "join": 3,
    "sync": 5,
    "beat": 10,
    "commit": 10,
    "leave": 2,
    "forget": 2,
    "fail": 1,
    "move": 1,
}
FORGET_ID = {ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.FENCED_INSTANCE_ID}


class Client:
    """What one client knows, some of it out of date."""

    def __init__(self, number: int, rng: random.Random) -> None:
        self.number = number
        self.instance = f"i{number}" if rng.random() < 0.3 else None
        self.version = 5 if self.instance else rng.choice([0, 3, 4, 9])
        self.session_ms = rng.choice([6_000, 10_000, 30_000])
        self.rebalance_ms = rng.choice([5_000, 20_000, 60_000])
        self.protocols = rng.sample(["range", "sticky"], 2)
        self.metadata = reading("t")
        self.member_id = ""
        self.generation = -1
        self.members: list[str] = []
        self.owns: set[int] | None = None
        self.must_join = True
        self.join: int | None = None
        self.sync: int | None = None


class World:
    """Clients, one coordinator after the other, and the book of who owned what."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.h = Harness(delay_ms=self.rng.choice([0, 3_000]), autostore=False, group_size_max=6)
        self.clients = [Client(number, self.rng) for number in range(5)]
        self.owners: dict[tuple[int, int, int], int] = {}
        self.told: set[str] = set()
        self.office = 0
        self.generation = 0
        self.heard = 0

    def step(self) -> None:
        client = self.rng.choice(self.clients)
        match self.rng.choices(
            [
                "proper",
                "join",
                "sync",
                "beat",
                "commit",
                "leave",
                "forget",
                "wait",
                "store",
                "fail",
                "move",
            ],
            weights=[100, 3, 5, 10, 10, 2, 2, 30, 60, 1, 1],
        )[0]:
            case "proper":
                self.behave(client)
            case "join":
                self.join(client)
            case "sync":
                self.sync(client)
            case "beat" if self.h.coordinator.get("g") is not None:
                error = self.h.beat(client.member_id, client.generation, instance=client.instance)
                self.heed(client, error)
            case "commit":
                self.commit(client)
            case "leave" if client.member_id and client.instance is None:
                self.h.leave(client.member_id)
            case "forget":  # the client restarts; its requests go on without it
                client.member_id, client.generation, client.owns = "", -1, None
                client.join = client.sync = None
                client.must_join = True
            case "wait":
                self.h.wait(self.rng.choice([1, 100, 1_000, 3_000, 9_000]))
            case "store":
                self.h.store()
            case "fail":
                self.h.store(ErrorCode.NOT_COORDINATOR)
            case "move":
                self.move()
        self.hear()
        self.check()

    def behave(self, client: Client) -> None:
        """Does what a good client would do next."""
        if client.join is not None or client.sync is not None:
            return  # it waits
        if client.must_join:
            self.join(client)
        elif client.owns is None:
            self.sync(client)
        else:
            error = self.h.beat(client.member_id, client.generation, instance=client.instance)
            self.heed(client, error)

    def join(self, client: Client) -> None:
        if self.rng.random() < 0.2:
            self.rng.shuffle(client.protocols)
            client.metadata = reading("t", str(self.rng.randrange(3)))
        client.join = self.h.join(
            client.member_id,
            instance=client.instance,
            version=client.version,
            protocols=[(name, client.metadata) for name in client.protocols],
            session_ms=client.session_ms,
            rebalance_ms=client.rebalance_ms,
        )
        client.sync, client.owns, client.must_join = None, None, False

    def sync(self, client: Client) -> None:
        if client.generation < 0:
            return
        shares: dict[str, list[int]] = {each: [] for each in client.members}
        for partition in range(PARTITIONS if shares else 0):
            shares[self.rng.choice(client.members)].append(partition)
        client.sync = self.h.sync(
            client.member_id,
            client.generation,
            instance=client.instance,
            assignments={each: bytes(shares[each]) for each in shares},
        )

    def commit(self, client: Client) -> None:
        if self.h.coordinator.get("g") is None or not client.member_id:
            return
        error = self.h.commit_error(client.member_id, client.generation, client.instance)
        if not error:
            assert client.generation == self.h.group.generation
            assert client.member_id in self.h.group.roster
        self.heed(client, error)

    def move(self) -> None:
        """Another coordinator takes over what was stored, after a goodbye or without one."""
        if self.rng.random() < 0.5:
            for group_id, decision in self.h.coordinator.leave_office(Status.RESIGNED):
                self.h._take(group_id, decision)
            self.hear()
        for client in self.clients:
            if client.join is not None or client.sync is not None:
                client.must_join = True  # its connection broke
            client.join = client.sync = None
        stored = self.h.stored
        self.h = self.h.restart()
        self.h.stored = stored
        self.office += 1
        self.heard = 0
        self.generation = 0
        for client in self.clients:
            client.members = []

    def hear(self) -> None:
        answers = list(self.h.answers.values())
        for each in answers[self.heard :]:
            if isinstance(each, JoinGroupResponse):
                self.told.add(each.member_id)
        self.heard = len(answers)
        for client in self.clients:
            if client.join is not None and not self.h.is_parked(client.join):
                answer = self.h.joined(client.join)
                client.join = None
                error = ErrorCode(answer.error_code)
                if error in (NONE, ErrorCode.MEMBER_ID_REQUIRED):
                    client.member_id = answer.member_id
                if not error:
                    client.generation = answer.generation_id
                    leads = answer.leader == answer.member_id and not answer.skip_assignment
                    client.members = [each.member_id for each in answer.members] if leads else []
                self.heed(client, error)
            if client.sync is not None and not self.h.is_parked(client.sync):
                synced = self.h.synced(client.sync)
                client.sync = None
                if not synced.error_code:
                    self.own(client, set(synced.assignment))
                self.heed(client, ErrorCode(synced.error_code))

    def own(self, client: Client, partitions: set[int]) -> None:
        client.owns = partitions
        for partition in partitions:
            key = (self.office, client.generation, partition)
            assert self.owners.setdefault(key, client.number) == client.number

    def heed(self, client: Client, error: ErrorCode) -> None:
        client.must_join = client.must_join or bool(error)
        if error in FORGET_ID:
            client.member_id, client.generation, client.owns = "", -1, None

    def check(self) -> None:
        entry = self.h.coordinator.get("g")
        if entry is None:
            return
        group = entry.group
        assert group.generation >= self.generation
        self.generation = group.generation
        check_roster(group.roster)
        for member in group.roster:
            on_the_way = member.is_joining or bool(self.h.unstored)
            assert on_the_way or member.member_id in self.told or self.office
            deadline = ("session", member.member_id) in group._timers
            assert deadline or member.is_waiting
        if group.state.value in ("Empty", "Dead"):
            assert len(group.roster) == 0
        if group.state.value == "Stable":
            assert not any(member.is_waiting for member in group.roster)


def check_roster(roster: Roster) -> None:
    members = list(roster)
    assert (roster.leader_id or "") in roster if members else roster.leader_id is None
    assert roster.joining_count == sum(member.is_joining for member in members)
    for member in members:
        assert roster[member.member_id] is member
        if member.instance_id is not None:
            assert roster.static_member(member.instance_id) is member
        assert member.member_id not in roster.pending
    if members:
        assert any(
            all(name in member.protocols for member in members) for name in members[0].protocols
        )
    for name in ("range", "sticky"):
        assert roster._supporters[name] == sum(name in member.protocols for member in members)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_clients_do_the_group_keeps_its_promises(seed: int) -> None:
    world = World(seed)
    for _ in range(STEPS):
        world.step()
    # Everybody falls silent: all requests end, all members go, nothing is left to wait for.
    for _ in range(5):
        world.h.store()
        world.h.wait(700_000)
        world.hear()
    world.check()
    assert all(client.join is None and client.sync is None for client in world.clients)
    entry = world.h.coordinator.get("g")
    if entry is not None:
        assert entry.group.state.value == "Empty"
        assert not entry.group.roster.pending
        assert not any(member.is_waiting for member in entry.group.roster)
    assert world.h.coordinator.next_deadline() is None


def test_the_fuzz_reaches_what_it_is_about() -> None:
    """Without this, clients that never get an assignment would look like a perfect group."""
    owners = generations = moves = 0
    for seed in range(10):
        world = World(seed)
        for _ in range(STEPS):
            world.step()
            generations = max(generations, world.generation)
        owners += len(world.owners)
        moves += world.office
    assert owners > 100
    assert generations > 10
    assert moves > 5
