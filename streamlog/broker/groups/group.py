"""One consumer group: Kafka's classic protocol as a synchronous state machine.

Theory of operation. Members join; once all have, or time is up, a *generation* begins: everybody
is told its number, the leader also who the members are. The leader computes an assignment and
hands it in with SyncGroup; once it is stored, everybody's SyncGroup is answered with its part. A
member that comes, goes, changes its mind or falls silent starts this again. Whoever speaks for a
generation that is over is refused, and so a partition never has two owners who could both commit.

The machine has no clock and does not wait. A request comes with a *ticket*; the answer may be in
the `Decision` at once or in a later one. `next_deadline` says when `advance` wants to be called.
A `Decision` may hold a snapshot: the owner makes it durable, one after the other in their order,
and reports with `stored`; assignments are not handed out before.

`streamlog.broker.groups.states` shows the states. The rules are those of Kafka's group
coordinator (KIP-62, 345, 394, 559, 814); where Kafka would leave a request without an answer,
because its client sent another one or its member was removed, it is answered here with an error
that makes a living client ask again.

Not here: which groups there are (`coordinator.py`), offsets (`offsets.py`), how things are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, assert_never

from streamlog.broker.groups import answers
from streamlog.broker.groups.admission import join_error
from streamlog.broker.groups.deadlines import Deadlines
from streamlog.broker.groups.decision import Caller, Decision, GroupRequest, GroupSnapshot, Reply
from streamlog.broker.groups.presence import PENDING, Presence, Timer
from streamlog.broker.groups.roster import Member, Roster
from streamlog.broker.groups.snapshots import restore_members, snapshot_of, subscribed_topics
from streamlog.broker.groups.states import (
    COMMIT_REFUSALS,
    HEARTBEAT_ANSWERS,
    MAY_FOLLOW,
    SYNC_REFUSALS,
    GroupState,
)
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.broker.groups.config import GroupConfig

REBALANCE: Timer = ("rebalance", "")
SYNC: Timer = ("sync", "")
_NAMES_COMPARED_FROM = 5
_ID_REQUIRED_FROM = 4
_SKIPS_ASSIGNMENT_FROM = 9


@dataclass(slots=True)
class _Gathering:
    """How the first rebalance of an empty group waits for more members."""

    remaining_ms: int
    somebody_came: bool = False


class Group:
    """The machine; one for each group id.

    Args:
        group_id: The group's name.
        config: Limits and delays.
        new_id: Makes the unique part of member ids.
        now_ms: Monotonic time.
    """

    def __init__(
        self, group_id: str, config: GroupConfig, new_id: Callable[[], str], now_ms: int
    ) -> None:
        self.group_id = group_id
        self.state = GroupState.EMPTY
        self.state_since_ms = now_ms
        self.generation = 0
        self.subscribed: frozenset[str] | None = None
        self.roster = Roster()
        self._config = config
        self._new_id = new_id
        self._now_ms = now_ms
        self._timers = Deadlines[Timer]()
        self._presence = Presence(self.roster, self._timers, config)
        self._gathering: _Gathering | None = None
        self._unsynced: set[str] = set()
        self._proposal: tuple[int, Mapping[str, bytes]] | None = None
        """The leader's assignments while they are being stored, and under which revision."""
        self._withheld: list[tuple[int, Reply]] = []
        self._snapshot: GroupSnapshot | None = None
        self._revision = 0

    @property
    def protocol_type(self) -> str | None:
        """What kind of group it is: "consumer", "connect", or None for offsets alone."""
        return self.roster.protocol_type

    def restore(self, snapshot: GroupSnapshot, now_ms: int) -> None:
        """Goes on where another coordinator stopped: same generation, sessions begin anew."""
        assert self.state is GroupState.EMPTY
        self._now_ms = now_ms
        self.generation = snapshot.generation
        self.state_since_ms = snapshot.since_ms
        restore_members(self.roster, snapshot)
        if len(self.roster):
            self.state = GroupState.STABLE
            self._presence.touch_all(now_ms)
        self._note_subscriptions()

    # Events.

    def handle(self, request: GroupRequest, caller: Caller, now_ms: int) -> Decision:
        """Takes a request; its answer is in this decision or in a later one."""
        self._now_ms = now_ms
        match request:
            case JoinGroupRequest():
                self._join(request, caller)
            case SyncGroupRequest():
                self._sync(request, caller)
            case HeartbeatRequest():
                self._presence.reply(
                    caller.ticket, HeartbeatResponse(error_code=self._heartbeat(request))
                )
            case LeaveGroupRequest():
                self._leave(request, caller)
            case _:
                assert_never(request)
        return self._decide()

    def next_deadline(self) -> int | None:
        """Returns when `advance` has something to do, if nothing else happens."""
        return self._timers.next()

    def advance(self, now_ms: int) -> Decision:
        """Does what time has brought."""
        self._now_ms = now_ms
        while (timer := self._timers.pop_due(now_ms)) is not None:
            kind, member_id = timer
            if timer == REBALANCE:
                self._end_of_gathering()
            elif timer == SYNC:
                self._end_of_sync()
            elif kind == PENDING:
                self._presence.forget(member_id)
                self._try_complete_join()
            elif (member := self.roster.get(member_id)) is not None:
                self._remove_and_rebalance(member)
        return self._decide()

    def stored(self, revision: int, error: ErrorCode, now_ms: int) -> Decision:
        """Takes the news that snapshots up to `revision` are durable, or failed to be."""
        self._now_ms = now_ms
        for waited_for, reply in self._withheld:
            if waited_for <= revision:
                failed = JoinGroupResponse(error_code=error)
                self._presence.reply(reply.ticket, failed if error else reply.response)
        self._withheld = [held for held in self._withheld if held[0] > revision]
        if self._proposal is not None and self._proposal[0] <= revision:
            (_, assignments), self._proposal = self._proposal, None
            if error:
                self._presence.fail_syncs(error, now_ms)
                self._prepare_rebalance()
            else:
                self._begin_generation(assignments)
        return self._decide()

    def resign(self, error: ErrorCode) -> Decision:
        """Answers everybody who waits with `error`; nothing else changes."""
        for _, held in self._withheld:
            self._presence.reply(held.ticket, JoinGroupResponse(error_code=error))
        self._withheld.clear()
        self._presence.refuse_all(error)
        return self._decide()

    def die(self, now_ms: int) -> None:
        """Ends an empty group for ever."""
        assert self.state is GroupState.EMPTY
        self._now_ms = now_ms
        for member_id in sorted(self.roster.pending):
            self._presence.forget(member_id)
        self._move(GroupState.DEAD)

    # Offsets: who may commit.

    def check_commit(
        self,
        member_id: str,
        instance_id: str | None,
        generation: int,
        now_ms: int,
        *,
        transactional: bool = False,
    ) -> ErrorCode:
        """Tells whether a member's, or an outsider's, commit is allowed now.

        Older transactional producers say nothing about membership; they may commit at any time.
        """
        self._now_ms = now_ms
        if self.state is GroupState.DEAD:
            return COMMIT_REFUSALS[self.state]
        if generation < 0 and not member_id and instance_id is None:
            allowed = transactional or self.state is GroupState.EMPTY
            return ErrorCode.NONE if allowed else ErrorCode.UNKNOWN_MEMBER_ID
        error = self._member_error(member_id, instance_id, generation)
        if error:
            return error
        self._presence.touch(self.roster[member_id], now_ms)
        return COMMIT_REFUSALS.get(self.state, ErrorCode.NONE)

    def subscribes_to(self, topic: str) -> bool:
        """Tells whether a member reads a topic, or may, since subscriptions cannot be read."""
        return self.subscribed is None or topic in self.subscribed

    # JoinGroup.

    def _join(self, request: JoinGroupRequest, caller: Caller) -> None:
        error = join_error(request, self.roster, self.state, self._config)
        if error:
            self._refuse_join(caller, error, request.member_id)
        elif request.member_id == "":
            self._join_new(request, caller)
        elif request.member_id in self.roster.pending:
            self._add(request, caller, request.member_id)
        else:
            self._rejoin(request, caller, self.roster[request.member_id])
        self._try_complete_join()

    def _join_new(self, request: JoinGroupRequest, caller: Caller) -> None:
        known = self.roster.static_member(request.group_instance_id)
        member_id = f"{request.group_instance_id or caller.client_id}-{self._new_id()}"
        if known is not None:
            self._replace_static(known, member_id, request, caller)
        elif request.group_instance_id is None and caller.version >= _ID_REQUIRED_FROM:
            if len(self.roster.pending) >= self._config.group_size_max:
                self._refuse_join(caller, ErrorCode.GROUP_MAX_SIZE_REACHED, "")
                return
            self._presence.expect(member_id, self._now_ms + request.session_timeout_ms)
            self._refuse_join(caller, ErrorCode.MEMBER_ID_REQUIRED, member_id)
        else:
            self._add(request, caller, member_id)

    def _add(self, request: JoinGroupRequest, caller: Caller, member_id: str) -> None:
        member = answers.new_member(request, caller, member_id)
        if self._gathering is not None and self.generation == 0:
            self._gathering.somebody_came = True
        self._presence.forget(member_id)
        self.roster.add(member, request.protocol_type)
        self._presence.park_join(member, caller.ticket, self._now_ms)
        self._prepare_rebalance()

    def _rejoin(self, request: JoinGroupRequest, caller: Caller, member: Member) -> None:
        self._presence.touch(member, self._now_ms)
        unchanged = member.protocols == answers.protocols_of(request)
        leads = member.member_id == self.roster.leader_id
        if unchanged and (
            self.state is GroupState.COMPLETING or (self.state is GroupState.STABLE and not leads)
        ):
            # The first answer was lost, or the member only asks: it gets the current generation.
            with_members = leads and self.state is GroupState.COMPLETING
            response = self._joined(member, with_members=with_members)
            self._presence.reply(caller.ticket, response)
            return
        self._update(member, request, caller)
        self._presence.park_join(member, caller.ticket, self._now_ms)
        self._prepare_rebalance()

    def _replace_static(
        self, member: Member, member_id: str, request: JoinGroupRequest, caller: Caller
    ) -> None:
        """A static member is back without its id: it gets a new one, the old one is fenced."""
        old_id, old_leader = member.member_id, self.roster.leader_id
        self._presence.replace(member, member_id, self._now_ms)
        if old_id in self._unsynced:
            self._unsynced.remove(old_id)
            self._unsynced.add(member_id)
        self._update(member, request, caller)
        keeps = self.roster.choose_protocol() == self.roster.protocol_name
        if self.state is not GroupState.STABLE or not keeps:
            self._presence.park_join(member, caller.ticket, self._now_ms)
            self._prepare_rebalance()
            return
        leads = self.roster.leader_id == member_id
        skips = leads and caller.version >= _SKIPS_ASSIGNMENT_FROM
        response = self._joined(member, with_members=skips)
        response.skip_assignment = skips
        if leads and not skips:
            # An older client that is told it leads would assign anew; the old id keeps it from it.
            response.leader = old_leader or ""
        self._note_subscriptions()
        self._store({})
        self._withheld.append((self._revision, Reply(caller.ticket, response)))

    def _update(self, member: Member, request: JoinGroupRequest, caller: Caller) -> None:
        self.roster.set_protocols(member, answers.protocols_of(request))
        member.session_timeout_ms = request.session_timeout_ms
        member.rebalance_timeout_ms = answers.rebalance_timeout_of(request, caller.version)
        member.client_id, member.client_host = caller.client_id, caller.client_host

    def _refuse_join(self, caller: Caller, error: ErrorCode, member_id: str) -> None:
        self._presence.reply(
            caller.ticket, JoinGroupResponse(error_code=error, member_id=member_id)
        )

    # The barrier.

    def _prepare_rebalance(self) -> None:
        if self.state not in MAY_FOLLOW[GroupState.PREPARING]:
            return
        if self.state is GroupState.COMPLETING:
            self._presence.fail_syncs(ErrorCode.REBALANCE_IN_PROGRESS, self._now_ms)
        self._proposal = None
        self._unsynced.clear()
        self._timers.clear(SYNC)
        timeout_ms = self.roster.rebalance_timeout_ms
        delay_ms = timeout_ms
        if self.state is GroupState.EMPTY:
            delay_ms = self._config.initial_rebalance_delay_ms
            self._gathering = _Gathering(max(timeout_ms - delay_ms, 0))
        self._move(GroupState.PREPARING)
        self._timers.set(REBALANCE, self._now_ms + delay_ms)
        self._try_complete_join()

    def _try_complete_join(self) -> None:
        if (
            self.state is GroupState.PREPARING
            and self._gathering is None
            and self.roster.all_joined
        ):
            self._complete_join()

    def _end_of_gathering(self) -> None:
        gathering = self._gathering
        if gathering is not None and gathering.somebody_came and gathering.remaining_ms:
            delay_ms = min(self._config.initial_rebalance_delay_ms, gathering.remaining_ms)
            self._gathering = _Gathering(gathering.remaining_ms - delay_ms)
            self._timers.set(REBALANCE, self._now_ms + delay_ms)
        else:
            self._complete_join()

    def _complete_join(self) -> None:
        """Ends the barrier: whoever is here makes the next generation."""
        assert self.state is GroupState.PREPARING
        self._gathering = None
        for member in self.roster:
            if not member.is_joining and member.instance_id is None:
                self._presence.remove(member)
        if len(self.roster) and not self.roster.elect_joined_leader():
            # Only static members are left and none came: their sessions will tell.
            self._timers.set(REBALANCE, self._now_ms + self.roster.rebalance_timeout_ms)
            return
        self._timers.clear(REBALANCE)
        self.generation += 1
        if not len(self.roster):
            self.roster.protocol_name = None
            self._move(GroupState.EMPTY)
            self._note_subscriptions()
            self._store({})
            return
        self.roster.protocol_name = self.roster.choose_protocol()
        self._move(GroupState.COMPLETING)
        self._note_subscriptions()
        self._unsynced = {member.member_id for member in self.roster}
        self._timers.set(SYNC, self._now_ms + self.roster.rebalance_timeout_ms)
        self._presence.begin(self._welcome, self._now_ms)

    def _welcome(self, member: Member) -> JoinGroupResponse:
        leads = member.member_id == self.roster.leader_id
        return self._joined(member, with_members=leads)

    def _joined(self, member: Member, *, with_members: bool) -> JoinGroupResponse:
        return answers.joined(self.roster, self.generation, member, with_members=with_members)

    # SyncGroup.

    def _sync(self, request: SyncGroupRequest, caller: Caller) -> None:
        error = self._sync_error(request, caller)
        if error:
            self._presence.reply(caller.ticket, SyncGroupResponse(error_code=error))
            return
        member = self.roster[request.member_id]
        self._unsynced.discard(member.member_id)
        if not self._unsynced:
            self._timers.clear(SYNC)
        if self.state is GroupState.STABLE:
            self._presence.touch(member, self._now_ms)
            self._presence.reply(caller.ticket, answers.synced(self.roster, member))
            return
        self._presence.park_sync(member, caller.ticket)
        if member.member_id == self.roster.leader_id:
            # Those whom the leader does not mention have nothing to do: empty bytes.
            given = {each.member_id: bytes(each.assignment) for each in request.assignments}
            assignments = {each.member_id: given.get(each.member_id, b"") for each in self.roster}
            self._store(assignments)
            self._proposal = (self._revision, assignments)

    def _sync_error(self, request: SyncGroupRequest, caller: Caller) -> ErrorCode:
        if self.state is GroupState.DEAD:
            return SYNC_REFUSALS[self.state]
        error = self._member_error(
            request.member_id, request.group_instance_id, request.generation_id
        )
        if error:
            return error
        if caller.version >= _NAMES_COMPARED_FROM:
            named = (request.protocol_type, request.protocol_name)
            # While members gather, the name is still that of the generation they know.
            if named != (self.protocol_type, self.roster.protocol_name):
                return ErrorCode.INCONSISTENT_GROUP_PROTOCOL
        return SYNC_REFUSALS.get(self.state, ErrorCode.NONE)

    def _begin_generation(self, assignments: Mapping[str, bytes]) -> None:
        self._move(GroupState.STABLE)
        for member in self.roster:
            member.assignment = assignments[member.member_id]
            self._presence.answer_sync(member, answers.synced(self.roster, member))
        self._presence.touch_all(self._now_ms)

    def _end_of_sync(self) -> None:
        assert self.state in (GroupState.COMPLETING, GroupState.STABLE)
        for member_id in sorted(self._unsynced):
            self._presence.remove(self.roster[member_id])
        self._prepare_rebalance()

    # Heartbeat and LeaveGroup.

    def _heartbeat(self, request: HeartbeatRequest) -> ErrorCode:
        if self.state is GroupState.DEAD:
            return HEARTBEAT_ANSWERS[self.state]
        error = self._member_error(
            request.member_id, request.group_instance_id, request.generation_id
        )
        if error:
            return error
        self._presence.touch(self.roster[request.member_id], self._now_ms)
        return HEARTBEAT_ANSWERS[self.state]

    def _leave(self, request: LeaveGroupRequest, caller: Caller) -> None:
        if self.state is GroupState.DEAD:
            error = ErrorCode.COORDINATOR_NOT_AVAILABLE
            self._presence.reply(caller.ticket, LeaveGroupResponse(error_code=error))
            return
        response = answers.left(request, caller.version, self._leave_one)
        self._presence.reply(caller.ticket, response)

    def _leave_one(self, member_id: str, instance_id: str | None) -> ErrorCode:
        if member_id in self.roster.pending:
            self._presence.forget(member_id)
            self._try_complete_join()
            return ErrorCode.NONE
        member = self.roster.get(member_id)
        if member_id == "":
            # An administrator removes a static member, whatever its id is now.
            member = self.roster.static_member(instance_id)
        elif error := self.roster.error_for(member_id, instance_id):
            return error
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        self._remove_and_rebalance(member)
        return ErrorCode.NONE

    # Pieces.

    def _remove_and_rebalance(self, member: Member) -> None:
        self._presence.remove(member)
        if self.state is GroupState.PREPARING:
            self._try_complete_join()
        else:
            self._prepare_rebalance()

    def _member_error(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        error = self.roster.error_for(member_id, instance_id)
        if not error and generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        return error

    def _note_subscriptions(self) -> None:
        self.subscribed = subscribed_topics(self.roster)

    def _store(self, assignments: Mapping[str, bytes]) -> None:
        self._revision += 1
        self._snapshot = snapshot_of(self.roster, self.generation, self.state_since_ms, assignments)

    def _move(self, state: GroupState) -> None:
        assert self.state in MAY_FOLLOW[state], (self.state, state)
        self.state = state
        self.state_since_ms = self._now_ms

    def _decide(self) -> Decision:
        decision = Decision(self._presence.take_replies(), self._snapshot, self._revision)
        self._snapshot = None
        return decision
