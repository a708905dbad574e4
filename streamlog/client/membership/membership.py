"""The membership machine: one member's part in Kafka's classic group protocol, without any I/O.

The shell asks `next_action`, does it, and reports what came of it; heartbeats run beside that and
report too. Phases of a member:

* `UNJOINED`: it must (re)join; what it owns it keeps (cooperative) or gives up first (eager).
* `JOINING`: its JoinGroup waits at the broker for the other members. No heartbeats meanwhile; the
  broker counts a waiting member as alive.
* `ASSIGNING`: the generation has begun and this member leads it, so it runs the assignor.
* `SYNCING`: its SyncGroup waits for the leader's assignment.
* `STABLE`: it has its assignment and keeps in touch by heartbeats.
* `FAILED`: the group will not have it; `failure` says why.

What a member *owns* changes only around the listener's calls: an assigned partition is owned from
the moment that `on_assigned` is called, a revoked one until `on_revoked` has returned, so that its
last offsets are committed by right. When the group has dropped the member (it was silent for too
long), its partitions are lost: others may have them already.

With cooperative assignors a rebalance that takes something away is followed by another one that
gives it to somebody else (KIP-429): the member joins again as soon as it has let go.

Not here: who coordinates the group, and how assignments are encoded (the shell).
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, assert_never

from streamlog.client.assignors.assignor import NO_GENERATION, MemberSubscription
from streamlog.client.errors import ErrorCode, GroupMembershipError
from streamlog.client.membership.actions import (
    Action,
    Assign,
    FindCoordinator,
    Join,
    Joined,
    Sync,
    Tell,
    TellAssigned,
    TellLost,
    TellRevoked,
    Wait,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamlog.client.assignors.assignor import Assignment, Assignor
    from streamlog.client.backoff import Backoff
    from streamlog.client.values import TopicPartition


class Phase(Enum):
    """Where the member stands; see the module."""

    UNJOINED = "unjoined"
    JOINING = "joining"
    ASSIGNING = "assigning"
    SYNCING = "syncing"
    STABLE = "stable"
    FAILED = "failed"


COORDINATOR_GONE = frozenset({ErrorCode.NOT_COORDINATOR, ErrorCode.COORDINATOR_NOT_AVAILABLE})
TRY_AGAIN = frozenset(
    {
        ErrorCode.COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode.REBALANCE_IN_PROGRESS,
        ErrorCode.REQUEST_TIMED_OUT,
    }
)
DROPPED = frozenset({ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.ILLEGAL_GENERATION})

REFUSALS = {
    ErrorCode.INCONSISTENT_GROUP_PROTOCOL: (
        "its members share no assignor with this one",
        "Give all members the same assignors; change them by naming both for one restart",
    ),
    ErrorCode.INVALID_SESSION_TIMEOUT: (
        "the broker does not take this session timeout",
        "Choose session_timeout_ms within the broker's group.min/max.session.timeout.ms",
    ),
    ErrorCode.GROUP_MAX_SIZE_REACHED: ("it is full", "Raise the broker's group.max.size"),
    ErrorCode.FENCED_INSTANCE_ID: (
        "another member with this instance id has joined",
        "Give every member its own instance_id",
    ),
    ErrorCode.GROUP_AUTHORIZATION_FAILED: ("it is not allowed", "Ask for READ on the group"),
    ErrorCode.INVALID_GROUP_ID: ("the broker does not take its name", "Choose another group"),
}


class Membership:
    """One member; see the module.

    Args:
        group: For messages.
        topics: What the member wants to read.
        assignors: In order of preference, all cooperative or all eager.
        instance_id: Of a static member.
        backoff: Between attempts after retriable errors.
    """

    def __init__(
        self,
        group: str,
        topics: Iterable[str],
        assignors: Sequence[Assignor],
        instance_id: str | None,
        backoff: Backoff,
    ) -> None:
        self.group = group
        self.instance_id = instance_id
        self.phase = Phase.UNJOINED
        self.member_id = ""
        self.generation = NO_GENERATION
        self.owned: frozenset[TopicPartition] = frozenset()
        self.leads = False
        self.failure: GroupMembershipError | None = None
        self._topics = tuple(sorted(set(topics)))
        self._assignors = {assignor.name: assignor for assignor in assignors}
        self._cooperative = assignors[0].cooperative
        self._backoff = backoff
        self._retry_at_ms: float | None = None
        self._coordinator_known = False
        self._wants_rejoin = False
        self._tells: list[Tell] = []
        self._telling: Tell | None = None
        self._last_assigned: frozenset[TopicPartition] = frozenset()
        self._assignor = ""
        self._members: tuple[MemberSubscription, ...] = ()
        self._assignment: Assignment = {}
        self._owned_since = NO_GENERATION

    @property
    def keeps_in_touch(self) -> bool:
        """Whether heartbeats are to be sent now."""
        return self.generation != NO_GENERATION and self.phase not in (Phase.JOINING, Phase.FAILED)

    @property
    def is_settled(self) -> bool:
        """Whether the member has its assignment and no rebalance is known to be under way."""
        return self.phase is Phase.STABLE and not (
            self._wants_rejoin or self._tells or self._telling
        )

    @property
    def has_to_tell(self) -> bool:
        """Whether the listener is still to be called."""
        return bool(self._tells or self._telling)

    def last_words(self) -> list[Tell]:
        """Returns what the listener must be told when the member leaves."""
        self._tells.clear()
        if not self.owned:
            return []
        is_member = self.generation != NO_GENERATION and self.phase is not Phase.FAILED
        self._telling = TellRevoked(self.owned) if is_member else TellLost(self.owned)
        return [self._telling]

    def next_action(self, now_ms: float) -> Action:
        """Returns the one thing to do now; see `actions`."""
        assert self._telling is None, "one action at a time"
        if self._tells:
            return self._tell(self._tells.pop(0))
        if self.phase is Phase.FAILED:
            return Wait()
        if self._retry_at_ms is not None:
            if now_ms < self._retry_at_ms:
                return Wait(self._retry_at_ms)
            self._retry_at_ms = None
        if not self._coordinator_known:
            return FindCoordinator()
        if self.phase is Phase.STABLE:
            if not self._wants_rejoin:
                return Wait()
            self.phase = Phase.UNJOINED
        return self._step()

    def _tell(self, tell: Tell) -> Tell:
        self._telling = tell
        if isinstance(tell, TellAssigned):
            self.owned |= tell.partitions
        return tell

    def _step(self) -> Action:
        match self.phase:
            case Phase.UNJOINED | Phase.JOINING:
                if self.owned and not self._cooperative:
                    return self._tell(TellRevoked(self.owned))
                return self._join()
            case Phase.ASSIGNING:
                return Assign(self._assignors[self._assignor], self._members)
            case Phase.SYNCING:
                return Sync(self.member_id, self.generation, self._assignor, self._assignment)
            case Phase.STABLE | Phase.FAILED:
                return Wait()
            case _:
                assert_never(self.phase)

    def _join(self) -> Join:
        self.phase = Phase.JOINING
        self._wants_rejoin = False
        owned = tuple(sorted(self.owned))
        subscriptions = tuple(
            (
                name,
                MemberSubscription(
                    member_id=self.member_id,
                    topics=self._topics,
                    instance_id=self.instance_id,
                    owned=owned,
                    generation=self._owned_since,
                    user_data=assignor.user_data(self._remembered, self._owned_since),
                ),
            )
            for name, assignor in self._assignors.items()
        )
        return Join(self.member_id, subscriptions)

    @property
    def _remembered(self) -> tuple[TopicPartition, ...]:
        """What the member had, also if it has given it up to join: stickiness is about this."""
        return tuple(sorted(self._last_assigned))

    # What the shell reports.

    def on_coordinator_found(self) -> None:
        """The shell knows where to send requests."""
        self._coordinator_known = True

    def on_told(self) -> None:
        """The listener has returned from the call that `next_action` asked for."""
        tell, self._telling = self._telling, None
        if isinstance(tell, TellRevoked | TellLost):
            self.owned -= tell.partitions

    def on_join_response(
        self, code: ErrorCode, joined: Joined | None, member_id: str, now_ms: float
    ) -> None:
        """The group has begun a generation with this member in it, or says why not.

        Args:
            code: The response's error.
            joined: The rest of it if there is none.
            member_id: The id that the response bears (the one to use, if it is required).
            now_ms: Monotonic time.
        """
        assert self.phase is Phase.JOINING
        if joined is not None:
            self._on_joined(joined)
        elif code is ErrorCode.MEMBER_ID_REQUIRED:
            self.member_id = member_id
            self.phase = Phase.UNJOINED
        else:
            self._on_error(code, now_ms)

    def _on_joined(self, joined: Joined) -> None:
        if joined.assignor not in self._assignors:
            self._fail(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)
            return
        self._backoff.reset()
        self.member_id = joined.member_id
        self.generation = joined.generation
        self._assignor = joined.assignor
        self._members = joined.members
        self._assignment = {}
        self.leads = joined.leader == joined.member_id
        assigns = self.leads and not joined.skip_assignment
        self.phase = Phase.ASSIGNING if assigns else Phase.SYNCING

    def on_assignment(self, assignment: Assignment) -> None:
        """The leader's assignor has decided."""
        if self.phase is Phase.ASSIGNING:
            self._assignment = assignment
            self.phase = Phase.SYNCING

    def on_sync_response(
        self, code: ErrorCode, partitions: Iterable[TopicPartition], now_ms: float
    ) -> None:
        """The member's assignment has come, or the generation has ended before it could."""
        if self.phase is not Phase.SYNCING:
            return
        if code is ErrorCode.REBALANCE_IN_PROGRESS:
            self.phase = Phase.UNJOINED
        elif code is not ErrorCode.NONE:
            self._on_error(code, now_ms)
        else:
            self._settle(frozenset(partitions))

    def _settle(self, assigned: frozenset[TopicPartition]) -> None:
        self._backoff.reset()
        self.phase = Phase.STABLE
        revoked = self.owned - assigned
        added = assigned - self.owned
        self._owned_since = self.generation
        self._last_assigned = assigned
        if revoked:
            self._tells.append(TellRevoked(revoked))
            self._wants_rejoin = self._cooperative
        self._tells.append(TellAssigned(added))

    def on_heartbeat_response(
        self, code: ErrorCode, member_id: str, generation: int, now_ms: float
    ) -> None:
        """A heartbeat of that member id and generation was answered; old news is ignored."""
        if (member_id, generation) != (self.member_id, self.generation):
            return
        if self.phase is Phase.JOINING or code is ErrorCode.NONE:
            return
        if code is ErrorCode.REBALANCE_IN_PROGRESS:
            # In other phases the member is on its way into the new generation already.
            self._wants_rejoin = self._wants_rejoin or self.phase is Phase.STABLE
        elif code in COORDINATOR_GONE:
            self.on_coordinator_lost(now_ms)
        elif code not in TRY_AGAIN:
            self._on_error(code, now_ms)

    def on_coordinator_lost(self, now_ms: float) -> None:
        """The coordinator did not answer, or is no longer it: look again after a while.

        The member keeps what it has: a coordinator that moves costs no rebalance.
        """
        self._coordinator_known = False
        self._retry_at_ms = now_ms + self._backoff.next_ms()

    def on_request_failed(self, now_ms: float) -> None:
        """A lookup, JoinGroup or SyncGroup got no answer."""
        self.on_coordinator_lost(now_ms)
        if self.phase in (Phase.JOINING, Phase.ASSIGNING, Phase.SYNCING):
            self.phase = Phase.UNJOINED

    def on_fenced(self, code: ErrorCode, generation: int, now_ms: float) -> None:
        """A commit under this generation was refused because the group has dropped the member."""
        if generation == self.generation and self.phase is Phase.STABLE:
            self._on_error(code, now_ms)

    def request_rejoin(self) -> None:
        """Asks for a rebalance: topics have grown, or the user wants one."""
        self._wants_rejoin = True

    def subscribe(self, topics: Iterable[str]) -> None:
        """Changes the topics; the group rebalances."""
        self._topics = tuple(sorted(set(topics)))
        self._wants_rejoin = True

    def _on_error(self, code: ErrorCode, now_ms: float) -> None:
        if code in DROPPED:
            self._lose(forget_member_id=code is ErrorCode.UNKNOWN_MEMBER_ID)
        elif code in COORDINATOR_GONE:
            self.on_request_failed(now_ms)
        elif code in TRY_AGAIN:
            self.phase = Phase.UNJOINED
            self._retry_at_ms = now_ms + self._backoff.next_ms()
        else:
            self._fail(code)

    def _lose(self, *, forget_member_id: bool) -> None:
        """The group has dropped the member: begin anew, with nothing."""
        self.phase = Phase.UNJOINED
        self.generation = NO_GENERATION
        self._owned_since = NO_GENERATION
        if forget_member_id:
            self.member_id = ""
        remaining = self.owned
        if isinstance(self._telling, TellRevoked | TellLost):
            remaining -= self._telling.partitions
        self._tells = [TellLost(remaining)] if remaining else []

    def _fail(self, code: ErrorCode) -> None:
        reason, hint = REFUSALS.get(code, (f"the broker answered {code.name}", None))
        self.failure = GroupMembershipError(
            f"group {self.group!r} does not take this member: {reason}", code, hint=hint
        )
        self._lose(forget_member_id=True)
        self.phase = Phase.FAILED
