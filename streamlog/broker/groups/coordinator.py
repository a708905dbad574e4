"""All groups of one coordinator: which there are, who is asked, what is answered when none is.

Synchronous, as the groups are: requests come with a ticket, `advance` brings the time. A group
appears when somebody joins without a member id or commits without a generation, and goes when it is
deleted or has expired: no members, no offsets. A coordinator is loading, then active, then stopped;
or another one took over and it has resigned. Each has its error, in Kafka's order of checks: the
group's id, stopped, loading, not ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from streamlog.broker.groups import answers
from streamlog.broker.groups.deadlines import Deadlines
from streamlog.broker.groups.decision import Caller, Decision, GroupRequest, GroupResponse, Reply
from streamlog.broker.groups.description import described
from streamlog.broker.groups.group import Group
from streamlog.broker.groups.offsets import Offsets, TopicPartition
from streamlog.broker.groups.snapshots import CONSUMER
from streamlog.broker.groups.states import GroupState
from streamlog.broker.groups.storage import StoredGroup, can_be_stored
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_groups import (
    DeletableGroupResult,
    DeleteGroupsRequest,
    DeleteGroupsResponse,
)
from streamlog.wire.messages.describe_groups import (
    DescribedGroup,
    DescribeGroupsRequest,
    DescribeGroupsResponse,
)
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.list_groups import ListedGroup, ListGroupsRequest, ListGroupsResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.broker.groups.config import GroupConfig

CLASSIC = "classic"
"""The kind of groups that this coordinator serves, as ListGroups 5 names it."""


class Status(Enum):
    """What a coordinator is up to; the value is what everybody is told meanwhile."""

    LOADING = ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    ACTIVE = ErrorCode.NONE
    RESIGNED = ErrorCode.NOT_COORDINATOR
    STOPPED = ErrorCode.COORDINATOR_NOT_AVAILABLE


@dataclass(slots=True)
class Coordinated:
    """A group and its offsets."""

    group: Group
    offsets: Offsets = field(default_factory=Offsets)
    commits_under_way: int = 0
    """Commits that are being stored: `offsets` will know them when they are durable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStanding:
    """A group's members and committed offsets, in numbers."""

    group_id: str
    state: str
    members: int
    offsets: Mapping[TopicPartition, int]


class Coordinator:
    """The groups by their ids.

    Args:
        config: Limits and delays.
        new_id: Makes the unique part of member ids.
    """

    def __init__(self, config: GroupConfig, new_id: Callable[[], str]) -> None:
        self.status = Status.LOADING
        self._config = config
        self._new_id = new_id
        self._groups: dict[str, Coordinated] = {}
        self._timers = Deadlines[str]()

    def __len__(self) -> int:
        return len(self._groups)

    def load(self, stored: Mapping[str, StoredGroup], now_ms: int) -> None:
        """Takes over groups as they were stored, and serves them."""
        assert self.status is Status.LOADING
        for group_id, found in stored.items():
            entry = self._create(group_id, now_ms)
            if found.snapshot is not None:
                entry.group.restore(found.snapshot, now_ms)
            entry.offsets.put(found.offsets)
            self._rearm(entry.group)
        self.status = Status.ACTIVE

    def get(self, group_id: str) -> Coordinated | None:
        """Returns a group that is there."""
        return self._groups.get(group_id)

    def get_or_create(self, group_id: str, now_ms: int) -> Coordinated | None:
        """Returns a group, made if need be; None if there are too many already."""
        entry = self._groups.get(group_id)
        if entry is None and len(self._groups) < self._config.groups_max:
            entry = self._create(group_id, now_ms)
        return entry

    def error_for(self, group_id: str, *, may_be_empty: bool = False) -> ErrorCode:
        """Returns why nothing can be done for a group id now, or NONE."""
        if (not group_id and not may_be_empty) or not can_be_stored(group_id):
            return ErrorCode.INVALID_GROUP_ID
        return self.status.value

    # Events.

    def handle(self, request: GroupRequest, caller: Caller, now_ms: int) -> Decision:
        """Takes a member's request; its answer is in this decision or in a later one."""
        error = self.error_for(request.group_id)
        if error:
            return _at_once(caller, _refusal(request, error))
        known = self._groups.get(request.group_id)
        if known is None:
            if not isinstance(request, JoinGroupRequest) or request.member_id:
                return _at_once(caller, _without_group(request, caller))
            known = self.get_or_create(request.group_id, now_ms)
            if known is None:
                full = ErrorCode.GROUP_MAX_SIZE_REACHED
                return _at_once(caller, _refusal(request, full))
            decision = known.group.handle(request, caller, now_ms)
            if self._is_unused(known):  # the join was refused, so there is no group
                del self._groups[request.group_id]
                return decision
        else:
            decision = known.group.handle(request, caller, now_ms)
        self._rearm(known.group)
        return decision

    def next_deadline(self) -> int | None:
        """Returns when `advance` has something to do, if nothing else happens."""
        return self._timers.next()

    def advance(self, now_ms: int) -> list[tuple[str, Decision]]:
        """Does what time has brought, group by group."""
        decisions = []
        while (group_id := self._timers.pop_due(now_ms)) is not None:
            group = self._groups[group_id].group
            decisions.append((group_id, group.advance(now_ms)))
            self._rearm(group)
        return decisions

    def stored(self, group: Group, revision: int, error: ErrorCode, now_ms: int) -> Decision:
        """Takes the news that a group's snapshots are durable, or failed to be."""
        entry = self._groups.get(group.group_id)
        if entry is None or entry.group is not group:
            return Decision()  # it was deleted, and another one may have its name
        decision = group.stored(revision, error, now_ms)
        self._rearm(group)
        return decision

    def leave_office(self, status: Status) -> list[tuple[str, Decision]]:
        """Serves no longer; everybody who waits is sent to look for the coordinator anew."""
        self.status = status
        self._timers = Deadlines()
        error = ErrorCode.NOT_COORDINATOR
        return [(group_id, self._groups[group_id].group.resign(error)) for group_id in self._groups]

    # Administration.

    def describe_groups(self, request: DescribeGroupsRequest) -> DescribeGroupsResponse:
        """DescribeGroups: a group that is not there is `Dead`, without an error (up to v5)."""
        return DescribeGroupsResponse(groups=[self._describe(each) for each in request.groups])

    def standings(self) -> list[GroupStanding]:
        """Returns where all groups stand, by name."""
        return [
            GroupStanding(
                group_id=group_id,
                state=entry.group.state.value,
                members=len(entry.group.roster),
                offsets={
                    each: found.offset
                    for each in entry.offsets
                    if (found := entry.offsets.get(each)) is not None
                },
            )
            for group_id, entry in sorted(self._groups.items())
        ]

    def list_groups(self, request: ListGroupsRequest) -> ListGroupsResponse:
        """ListGroups: all, or those in the wanted states and of the wanted types."""
        if self.status is not Status.ACTIVE:
            return ListGroupsResponse(error_code=self.status.value)
        states = {state.lower() for state in request.states_filter}
        types = {each.lower() for each in request.types_filter}
        return ListGroupsResponse(
            groups=[
                ListedGroup(
                    group_id=group_id,
                    protocol_type=entry.group.protocol_type or "",
                    group_state=entry.group.state.value,
                    group_type=CLASSIC,
                )
                for group_id, entry in sorted(self._groups.items())
                if not states or entry.group.state.value.lower() in states
                if not types or CLASSIC in types
            ]
        )

    def delete_groups(
        self, request: DeleteGroupsRequest, now_ms: int
    ) -> tuple[DeleteGroupsResponse, list[str]]:
        """DeleteGroups: empty groups go; returns the answer and who went."""
        errors = {each: self._delete(each, now_ms) for each in dict.fromkeys(request.groups_names)}
        response = DeleteGroupsResponse(
            results=[
                DeletableGroupResult(group_id=each, error_code=errors[each]) for each in errors
            ]
        )
        return response, [each for each in errors if not errors[each]]

    # Expiry.

    def expired(self, now_ms: int, wall_ms: int) -> dict[str, list[TopicPartition]]:
        """Returns, by group, the partitions whose committed offsets have had their time."""
        found = {
            group_id: self._expired_offsets(entry, now_ms, wall_ms)
            for group_id, entry in sorted(self._groups.items())
        }
        return {group_id: partitions for group_id, partitions in found.items() if partitions}

    def bury(self, now_ms: int) -> list[str]:
        """Ends the groups that have neither members nor offsets; returns which."""
        over = sorted(each for each, entry in self._groups.items() if self._is_unused(entry))
        for group_id in over:
            self._groups.pop(group_id).group.die(now_ms)
            self._timers.clear(group_id)
        return over

    def partitions_of(self, topics: set[str]) -> dict[str, list[TopicPartition]]:
        """Returns, by group, the partitions of these topics that have committed offsets."""
        found = {
            group_id: [partition for partition in entry.offsets if partition[0] in topics]
            for group_id, entry in sorted(self._groups.items())
        }
        return {group_id: partitions for group_id, partitions in found.items() if partitions}

    def _expired_offsets(
        self, entry: Coordinated, now_ms: int, wall_ms: int
    ) -> list[TopicPartition]:
        group, retention_ms = entry.group, self._config.offsets_retention_ms
        if group.protocol_type is None:
            return entry.offsets.expired(wall_ms, retention_ms)
        if group.state is GroupState.EMPTY:
            since_ms = wall_ms - (now_ms - group.state_since_ms)
            return entry.offsets.expired(wall_ms, retention_ms, empty_since_ms=since_ms)
        if group.state is GroupState.STABLE and group.protocol_type == CONSUMER:
            in_use = group.subscribes_to
            return entry.offsets.expired(wall_ms, retention_ms, is_in_use=in_use)
        return []

    def _create(self, group_id: str, now_ms: int) -> Coordinated:
        assert group_id not in self._groups
        entry = Coordinated(Group(group_id, self._config, self._new_id, now_ms))
        self._groups[group_id] = entry
        return entry

    def _is_unused(self, entry: Coordinated) -> bool:
        return (
            entry.group.state is GroupState.EMPTY
            and not entry.group.roster.pending
            and not entry.commits_under_way
            and entry.offsets.is_unused
        )

    def _rearm(self, group: Group) -> None:
        deadline = group.next_deadline()
        if deadline is None:
            self._timers.clear(group.group_id)
        else:
            self._timers.set(group.group_id, deadline)

    def _describe(self, group_id: str) -> DescribedGroup:
        error = self.error_for(group_id, may_be_empty=True)
        if error:
            return DescribedGroup(group_id=group_id, error_code=error)
        entry = self._groups.get(group_id)
        if entry is None:
            return DescribedGroup(group_id=group_id, group_state=GroupState.DEAD.value)
        return described(entry.group)

    def _delete(self, group_id: str, now_ms: int) -> ErrorCode:
        error = self.error_for(group_id, may_be_empty=True)
        if error:
            return error
        entry = self._groups.get(group_id)
        if entry is None:
            return ErrorCode.GROUP_ID_NOT_FOUND
        if entry.group.state is not GroupState.EMPTY:
            return ErrorCode.NON_EMPTY_GROUP
        entry.group.die(now_ms)
        del self._groups[group_id]
        self._timers.clear(group_id)
        return ErrorCode.NONE


def _at_once(caller: Caller, response: GroupResponse) -> Decision:
    return Decision((Reply(caller.ticket, response),))


def _refusal(request: GroupRequest, error: ErrorCode) -> GroupResponse:
    loading = error is ErrorCode.COORDINATOR_LOAD_IN_PROGRESS
    match request:
        case JoinGroupRequest():
            return JoinGroupResponse(error_code=error, member_id=request.member_id)
        case SyncGroupRequest():
            # The members shall join again: what they wait for may not have been stored.
            again = ErrorCode.REBALANCE_IN_PROGRESS
            return SyncGroupResponse(error_code=again if loading else error)
        case HeartbeatRequest():
            # They are alive, and sessions begin anew after loading anyway.
            return HeartbeatResponse(error_code=ErrorCode.NONE if loading else error)
        case _:
            return LeaveGroupResponse(error_code=error)


def _without_group(request: GroupRequest, caller: Caller) -> GroupResponse:
    unknown = ErrorCode.UNKNOWN_MEMBER_ID
    if isinstance(request, LeaveGroupRequest):
        return answers.left(request, caller.version, lambda _member, _instance: unknown)
    return _refusal(request, unknown)
