"""The trio shell of the group coordinator: waiting requests, timers, storage.

`Coordinator` and the groups decide; this does. A request gets a ticket and waits until some
decision answers it: its own, another member's, or one that time brings. One task sleeps until the
next deadline of any group; one stores what is to be stored; one lets old offsets expire.

A client that hangs up only stops waiting: what it asked for takes its course, and it is a member
until its session ends.
"""

from __future__ import annotations

import logging
import math
import random
import uuid
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, cast

import trio

from streamlog.broker.groups.coordinator import Coordinator, Status
from streamlog.broker.groups.decision import Caller, GroupRequest, GroupResponse
from streamlog.broker.groups.lane import StorageLane
from streamlog.broker.groups.offset_requests import (
    Moment,
    answer_fetch,
    plan_commit,
    plan_deletion,
)
from streamlog.broker.groups.storage import delete_offsets, load_groups, put_offsets
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from streamlog.broker.coordination.store import MetadataStore
    from streamlog.broker.coordination.topics import TopicLookup
    from streamlog.broker.groups.config import GroupConfig
    from streamlog.broker.groups.coordinator import GroupStanding
    from streamlog.broker.groups.decision import Decision
    from streamlog.broker.groups.group import Group
    from streamlog.broker.groups.offset_requests import CommitPlan
    from streamlog.broker.groups.offsets import TopicPartition
    from streamlog.doors import Clock
    from streamlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
    from streamlog.wire.messages.describe_groups import (
        DescribeGroupsRequest,
        DescribeGroupsResponse,
    )
    from streamlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
    from streamlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
    from streamlog.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
    from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse

_NULL_NAME_FROM = 7
_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_group_service(
    store: MetadataStore,
    clock: Clock,
    config: GroupConfig,
    *,
    topics: TopicLookup,
    rng: random.Random | None = None,
) -> AsyncIterator[GroupService]:
    """Loads all groups and serves them until the block is left.

    Leaving answers those who wait with NOT_COORDINATOR and finishes storing.

    Raises:
        StoreDamaged: The store holds something that cannot be read as groups.
    """
    service = GroupService(store, clock, config, topics, rng or random.SystemRandom())
    await service.load()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run_storage)
        nursery.start_soon(service.run_timers)
        nursery.start_soon(service.run_expiry)
        try:
            yield service
        finally:
            service.close()
            nursery.cancel_scope.cancel()  # the storage task is shielded and ends by itself


class _Waiter:
    """A request that waits for its answer."""

    __slots__ = ("answered", "response")

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.response: GroupResponse | None = None


class GroupService:
    """One method per request; each returns the response that goes to the client.

    Made by `open_group_service`. Groups are served once `load` has returned; the three `run_`
    methods are its tasks.
    """

    def __init__(
        self,
        store: MetadataStore,
        clock: Clock,
        config: GroupConfig,
        topics: TopicLookup,
        rng: random.Random,
    ) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self._topics = topics
        self._coordinator = Coordinator(config, partial(_random_id, rng))
        self._waiters: dict[int, _Waiter] = {}
        self._tickets = count(1)
        self._alarm = trio.CancelScope()
        self._lane = StorageLane(store, self._wall_offset_ms)

    @property
    def group_count(self) -> int:
        """How many groups there are."""
        return len(self._coordinator)

    def standings(self) -> list[GroupStanding]:
        """Returns where all groups stand."""
        return self._coordinator.standings()

    @property
    def waiting_count(self) -> int:
        """How many requests wait for their answers."""
        return len(self._waiters)

    # Requests of members.

    async def join_group(
        self, request: JoinGroupRequest, version: int, client_id: str | None, client_host: str
    ) -> JoinGroupResponse:
        """JoinGroup 0-9: waits until the group has gathered."""
        caller = (version, client_id or "", client_host)
        response = cast("JoinGroupResponse", await self._ask(request, *caller))
        if version >= _NULL_NAME_FROM and response.error_code:
            response.protocol_name = None
        return response

    async def sync_group(self, request: SyncGroupRequest, version: int) -> SyncGroupResponse:
        """SyncGroup 0-5: waits until the leader's assignment is stored."""
        return cast("SyncGroupResponse", await self._ask(request, version))

    async def heartbeat(self, request: HeartbeatRequest, version: int) -> HeartbeatResponse:
        """Heartbeat 0-4."""
        return cast("HeartbeatResponse", await self._ask(request, version))

    async def leave_group(self, request: LeaveGroupRequest, version: int) -> LeaveGroupResponse:
        """LeaveGroup 0-5."""
        return cast("LeaveGroupResponse", await self._ask(request, version))

    # Offsets.

    async def offset_commit(
        self, request: OffsetCommitRequest, version: int
    ) -> OffsetCommitResponse:
        """OffsetCommit 2-8: returns when the offsets are durable and everybody sees them."""
        async with self._lane.places:
            now = self._moment()
            plan = plan_commit(request, self._coordinator, self._topics, self._config, now)
            self._rearm()
            if plan.entry is None or not plan.offsets:
                return plan.response
            plan.entry.commits_under_way += 1
            finish = partial(_end_commit, plan)
            job = self._lane.put(put_offsets(request.group_id, plan.offsets), finish)
            await job.done.wait()
        return plan.response

    async def offset_fetch(self, request: OffsetFetchRequest, version: int) -> OffsetFetchResponse:
        """OffsetFetch 1-8."""
        await trio.lowlevel.checkpoint()
        return answer_fetch(request, version, self._coordinator)

    async def offset_delete(
        self, request: OffsetDeleteRequest, version: int
    ) -> OffsetDeleteResponse:
        """OffsetDelete 0: returns when the offsets are gone for good."""
        async with self._lane.places:
            plan = plan_deletion(request, self._coordinator, self._topics)
            if not plan.partitions:
                return plan.response
            error = await self._forget(request.group_id, plan.partitions)
        if error:
            plan.response.error_code = error
            plan.response.topics.clear()
        return plan.response

    async def forget_topics(self, names: Iterable[str]) -> None:
        """Removes all groups' offsets of topics that were deleted."""
        for group_id, partitions in self._coordinator.partitions_of(set(names)).items():
            await self._forget(group_id, partitions)

    # Administration.

    async def describe_groups(
        self, request: DescribeGroupsRequest, version: int
    ) -> DescribeGroupsResponse:
        """DescribeGroups 0-5."""
        await trio.lowlevel.checkpoint()
        return self._coordinator.describe_groups(request)

    async def list_groups(self, request: ListGroupsRequest, version: int) -> ListGroupsResponse:
        """ListGroups 0-5."""
        await trio.lowlevel.checkpoint()
        return self._coordinator.list_groups(request)

    async def delete_groups(
        self, request: DeleteGroupsRequest, version: int
    ) -> DeleteGroupsResponse:
        """DeleteGroups 0-2: returns when the groups are gone for good."""
        response, gone = self._coordinator.delete_groups(request, self._now_ms())
        jobs = {group_id: self._lane.put_deletion(group_id) for group_id in gone}
        for result in response.results:
            if result.group_id in jobs:
                await jobs[result.group_id].done.wait()
                result.error_code = jobs[result.group_id].error
        return response

    # Life.

    async def load(self) -> None:
        """Reads all groups from the store; until then clients are told to come again."""
        stored = await load_groups(self._store, self._wall_offset_ms())
        self._coordinator.load(stored, self._now_ms())

    def stop(self) -> None:
        """Sends everybody who waits to look for the coordinator anew, and takes no requests.

        To be called before a server waits for its requests to end; leaving the service's block
        does it, too.
        """
        if self._coordinator.status is Status.STOPPED:
            return
        for group_id, decision in self._coordinator.leave_office(Status.STOPPED):
            self._act(group_id, decision)

    def close(self) -> None:
        """Stops, and ends the storage task once all is stored."""
        self.stop()
        self._lane.close()

    async def run_storage(self) -> None:
        """Stores what groups decide."""
        await self._lane.run()

    async def run_timers(self) -> None:
        """Brings groups the time."""
        while True:
            with trio.CancelScope(deadline=self._next_alarm()) as self._alarm:
                await trio.sleep_forever()
            for group_id, decision in self._coordinator.advance(self._now_ms()):
                self._act(group_id, decision)

    async def run_expiry(self) -> None:
        """Lets offsets and groups expire."""
        while True:
            await trio.sleep(self._config.retention_check_interval_ms / 1000)
            await self.expire()

    async def expire(self) -> None:
        """Removes what has had its time: offsets, then groups that have nothing left."""
        now = self._moment()
        if self._coordinator.status is not Status.ACTIVE:
            return
        expired = self._coordinator.expired(now.monotonic_ms, now.wall_ms)
        for group_id, partitions in expired.items():
            await self._forget(group_id, partitions)
        for group_id in self._coordinator.bury(self._now_ms()):
            self._lane.put_deletion(group_id)

    # Pieces.

    async def _ask(
        self, request: GroupRequest, version: int, client_id: str = "", client_host: str = ""
    ) -> GroupResponse:
        ticket, waiter = next(self._tickets), _Waiter()
        caller = Caller(
            ticket=ticket, version=version, client_id=client_id, client_host=client_host
        )
        if len(self._waiters) >= self._config.parked_max:
            return _too_many(request)
        self._waiters[ticket] = waiter
        try:
            decision = self._coordinator.handle(request, caller, self._now_ms())
            self._act(request.group_id, decision)
            await waiter.answered.wait()
        finally:
            del self._waiters[ticket]
        assert waiter.response is not None
        return waiter.response

    def _act(self, group_id: str, decision: Decision) -> None:
        for reply in decision.replies:
            waiter = self._waiters.get(reply.ticket)
            if waiter is not None:  # otherwise the client hung up
                waiter.response = reply.response
                waiter.answered.set()
        if decision.snapshot is not None:
            _log.info(
                "group %r: generation %d, %d members",
                group_id,
                decision.snapshot.generation,
                len(decision.snapshot.members),
            )
            entry = self._coordinator.get(group_id)
            assert entry is not None
            finish = partial(self._note_stored, entry.group, decision.revision)
            self._lane.put_snapshot(group_id, decision.snapshot, finish)
        self._rearm()

    def _rearm(self) -> None:
        """Wakes the timer task earlier if something is due earlier now."""
        alarm = self._next_alarm()
        if alarm < self._alarm.deadline:
            self._alarm.deadline = alarm

    def _note_stored(self, group: Group, revision: int, error: ErrorCode) -> None:
        decision = self._coordinator.stored(group, revision, error, self._now_ms())
        self._act(group.group_id, decision)

    async def _forget(self, group_id: str, partitions: Sequence[TopicPartition]) -> ErrorCode:
        entry = self._coordinator.get(group_id)

        def finish(error: ErrorCode) -> None:
            if entry is not None and not error:
                entry.offsets.remove(partitions)

        job = self._lane.put(delete_offsets(group_id, partitions), finish)
        await job.done.wait()
        return job.error

    def _next_alarm(self) -> float:
        deadline = self._coordinator.next_deadline()
        return math.inf if deadline is None else deadline / 1000

    def _now_ms(self) -> int:
        return round(trio.current_time() * 1000)

    def _wall_offset_ms(self) -> int:
        return self._clock.wall_ms() - self._now_ms()

    def _moment(self) -> Moment:
        return Moment(monotonic_ms=self._now_ms(), wall_ms=self._clock.wall_ms())


def _end_commit(plan: CommitPlan, error: ErrorCode) -> None:
    assert plan.entry is not None
    plan.entry.commits_under_way -= 1
    if error:
        plan.fail(error)
    else:
        plan.entry.offsets.put(plan.offsets)


def _random_id(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def _too_many(request: GroupRequest) -> GroupResponse:
    busy = ErrorCode.COORDINATOR_NOT_AVAILABLE
    match request:
        case JoinGroupRequest():
            return JoinGroupResponse(error_code=busy, member_id=request.member_id)
        case SyncGroupRequest():
            return SyncGroupResponse(error_code=busy)
        case HeartbeatRequest():
            return HeartbeatResponse(error_code=busy)
        case LeaveGroupRequest():
            return LeaveGroupResponse(error_code=busy)
