"""Drives a `Coordinator` by hand: requests in few words, answers by ticket, time on command."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from streamlog.broker.groups.config import GroupConfig
from streamlog.broker.groups.coordinator import Coordinator
from streamlog.broker.groups.decision import (
    Caller,
    Decision,
    GroupRequest,
    GroupResponse,
    GroupSnapshot,
)
from streamlog.broker.groups.storage import StoredGroup
from streamlog.wire.consumer_protocol import ConsumerProtocolSubscription, encode_subscription
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import (
    JoinGroupRequest,
    JoinGroupRequestProtocol,
    JoinGroupResponse,
)
from streamlog.wire.messages.leave_group import (
    LeaveGroupRequest,
    LeaveGroupResponse,
    MemberIdentity,
)
from streamlog.wire.messages.sync_group import (
    SyncGroupRequest,
    SyncGroupRequestAssignment,
    SyncGroupResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.groups.group import Group

SESSION_MS = 10_000
REBALANCE_MS = 60_000
NONE = ErrorCode.NONE


def reading(*topics: str) -> bytes:
    return encode_subscription(ConsumerProtocolSubscription(topics=list(topics)))


DEFAULT = (("range", reading("t")),)


class Harness:
    """One coordinator; requests are for the group `g` unless said otherwise."""

    def __init__(self, *, delay_ms: int = 0, autostore: bool = True, **config: int) -> None:
        self.ids_from = 1
        ids = count(self.ids_from)
        self.config = GroupConfig(initial_rebalance_delay_ms=delay_ms, **config)
        self.coordinator = Coordinator(self.config, lambda: f"id{next(ids)}")
        self.coordinator.load({}, 0)
        self.now = 0
        self.autostore = autostore
        self.unstored: list[tuple[Group, int, GroupSnapshot]] = []
        self.stored: list[GroupSnapshot] = []
        self.answers: dict[int, GroupResponse] = {}
        self._tickets = count(1)

    @property
    def group(self) -> Group:
        entry = self.coordinator.get("g")
        assert entry is not None
        return entry.group

    @property
    def state(self) -> str:
        return self.group.state.value

    # Requests: each returns its ticket.

    def join(
        self,
        member_id: str = "",
        *,
        instance: str | None = None,
        version: int = 3,
        client: str = "c",
        protocols: Sequence[tuple[str, bytes]] = DEFAULT,
        protocol_type: str = "consumer",
        session_ms: int = SESSION_MS,
        rebalance_ms: int = REBALANCE_MS,
        group: str = "g",
    ) -> int:
        request = JoinGroupRequest(
            group_id=group,
            session_timeout_ms=session_ms,
            rebalance_timeout_ms=rebalance_ms,
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=protocol_type,
            protocols=[
                JoinGroupRequestProtocol(name=name, metadata=metadata)
                for name, metadata in protocols
            ],
        )
        return self._ask(request, version, client)

    def sync(
        self,
        member_id: str,
        generation: int | None = None,
        *,
        instance: str | None = None,
        assignments: dict[str, bytes] | None = None,
        version: int = 4,
        names: tuple[str | None, str | None] = (None, None),
        group: str = "g",
    ) -> int:
        given = assignments or {}
        request = SyncGroupRequest(
            group_id=group,
            generation_id=self._generation(generation),
            member_id=member_id,
            group_instance_id=instance,
            protocol_type=names[0],
            protocol_name=names[1],
            assignments=[
                SyncGroupRequestAssignment(member_id=each, assignment=given[each]) for each in given
            ],
        )
        return self._ask(request, version)

    def beat(
        self, member_id: str, generation: int | None = None, *, instance: str | None = None
    ) -> ErrorCode:
        request = HeartbeatRequest(
            group_id="g",
            generation_id=self._generation(generation),
            member_id=member_id,
            group_instance_id=instance,
        )
        answer = self.answers[self._ask(request, 4)]
        assert isinstance(answer, HeartbeatResponse)
        return ErrorCode(answer.error_code)

    def leave(self, *who: tuple[str, str | None] | str, version: int = 4) -> LeaveGroupResponse:
        members = [each if isinstance(each, tuple) else (each, None) for each in who]
        request = LeaveGroupRequest(
            group_id="g",
            member_id=members[0][0],
            members=[
                MemberIdentity(member_id=member, group_instance_id=instance)
                for member, instance in members
            ],
        )
        answer = self.answers[self._ask(request, version)]
        assert isinstance(answer, LeaveGroupResponse)
        return answer

    def commit_error(
        self, member_id: str = "", generation: int = -1, instance: str | None = None
    ) -> ErrorCode:
        return self.group.check_commit(member_id, instance, generation, self.now)

    # Answers.

    def is_parked(self, ticket: int) -> bool:
        return ticket not in self.answers

    def joined(self, ticket: int) -> JoinGroupResponse:
        answer = self.answers[ticket]
        assert isinstance(answer, JoinGroupResponse)
        return answer

    def synced(self, ticket: int) -> SyncGroupResponse:
        answer = self.answers[ticket]
        assert isinstance(answer, SyncGroupResponse)
        return answer

    def error(self, ticket: int) -> ErrorCode:
        answer = self.answers[ticket]
        assert not isinstance(answer, LeaveGroupResponse)
        return ErrorCode(answer.error_code)

    # Time and storage.

    def wait(self, ms: int) -> None:
        """Lets time pass, with every deadline met on its own millisecond."""
        end = self.now + ms
        while (deadline := self.coordinator.next_deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            for group_id, decision in self.coordinator.advance(self.now):
                self._take(group_id, decision)
        self.now = end

    def store(self, error: ErrorCode = NONE) -> None:
        """Ends all storing that is under way."""
        unstored, self.unstored = self.unstored, []
        for group, revision, snapshot in unstored:
            if not error:
                self.stored.append(snapshot)
            self._take("g", self.coordinator.stored(group, revision, error, self.now))

    def restart(self) -> Harness:
        """Returns another coordinator that took over what was stored."""
        other = Harness(autostore=self.autostore)
        other.config = self.config
        other.ids_from = self.ids_from + 1000
        ids = count(other.ids_from)
        other.coordinator = Coordinator(self.config, lambda: f"id{next(ids)}")
        other.now = self.now
        found = {"g": StoredGroup(self.stored[-1])} if self.stored else {}
        other.coordinator.load(found, self.now)
        return other

    # Stories that many tests begin with.

    def members(self, number: int, **join: object) -> list[str]:
        """Makes a stable group with so many dynamic members, the first of them the leader."""
        tickets = [self.join(**join) for _ in range(number)]  # type: ignore[arg-type]
        self.wait(0)
        ids = [self.joined(ticket).member_id for ticket in tickets]
        self.sync_all(ids)
        return ids

    def statics(self, *instances: str) -> list[str]:
        """Makes a stable group of static members."""
        tickets = [self.join(instance=each, version=5) for each in instances]
        self.wait(0)
        ids = [self.joined(ticket).member_id for ticket in tickets]
        self.sync_all(ids)
        return ids

    def sync_all(self, ids: Sequence[str]) -> None:
        leader = self.group.roster.leader_id or ""
        assignments = {each: f"part of {each}".encode() for each in ids}
        for each in ids:
            self.sync(each, assignments=assignments if each == leader else None)
        assert self.state == "Stable"

    def _generation(self, generation: int | None) -> int:
        if generation is not None:
            return generation
        return self.group.generation if self.coordinator.get("g") is not None else 0

    def _ask(self, request: GroupRequest, version: int, client: str = "c") -> int:
        ticket = next(self._tickets)
        caller = Caller(ticket=ticket, version=version, client_id=client, client_host="/host")
        decision = self.coordinator.handle(request, caller, self.now)
        self._take(request.group_id, decision)
        return ticket

    def _take(self, group_id: str, decision: Decision) -> None:
        for reply in decision.replies:
            assert reply.ticket not in self.answers, "a request is answered once"
            self.answers[reply.ticket] = reply.response
        if decision.snapshot is not None:
            entry = self.coordinator.get(group_id)
            assert entry is not None
            self.unstored.append((entry.group, decision.revision, decision.snapshot))
            if self.autostore:
                self.store()
