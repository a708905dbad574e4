"""A member of a consumer group: joins, keeps in touch, and tells which partitions are its own.

The shell of the membership machine. One task does what the machine asks for, one action after the
other; a second one sends heartbeats, also while the listener is at work. Three connections, since a
broker answers those of one connection in order and joins wait there: one to join and sync, one for
heartbeats and leaving, one for commits.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Protocol, assert_never

import trio

from streamlog.client.assignors.assignor import NO_GENERATION
from streamlog.client.assignors.registry import assignors_named
from streamlog.client.cluster.coordinators import (
    MOVED,
    commit_offsets,
    fetch_offsets,
    find_coordinator,
)
from streamlog.client.errors import (
    CommitRefusedError,
    ConnectionLostError,
    ErrorCode,
    KafkaError,
    is_retriable,
)
from streamlog.client.membership.actions import (
    Assign,
    FindCoordinator,
    Join,
    Sync,
    TellAssigned,
    TellLost,
    TellRevoked,
    Wait,
)
from streamlog.client.membership.membership import DROPPED, Membership, Phase
from streamlog.client.membership.messages import (
    counts_changed,
    decode_assignment,
    heartbeat_request,
    join_request,
    joined,
    leave_request,
    sync_request,
)
from streamlog.client.nursery import background_nursery
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.config import GroupConfig
    from streamlog.client.membership.actions import Action, Tell
    from streamlog.client.values import OffsetAndMetadata, TopicPartition

LEAVE_TIMEOUT_S = 2.0
"""How long closing waits to tell the group, also when it is cancelled. Without it the others would
wait for the session timeout."""


class RebalanceListener(Protocol):
    """What a member tells about its partitions, one call at a time, from the member's own task."""

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions are now this member's (in addition to those it has)."""

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These go to others once this returns: commit now, it is still allowed."""

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        """These may be others' already: drop what is not committed."""


class GroupMember:
    """A member of a group; made by `open_group_member`."""

    def __init__(self, client: Client, config: GroupConfig, listener: RebalanceListener) -> None:
        self._client = client
        self._config = config
        self._listener = listener
        self._machine = Membership(
            config.group,
            config.topics,
            assignors_named(config.assignors),
            config.instance_id,
            client.new_backoff(),
        )
        self._join_purpose = client.new_purpose("join")
        self._touch_purpose = client.new_purpose("heartbeat")
        self._commit_purpose = client.new_purpose("commit")
        self._coordinator = -1
        self._assigned_counts: dict[str, int] | None = {}
        """The topics that this member, leading, has assigned; None if it leads again without."""
        self._wake = trio.Event()
        self._changed = trio.Event()
        self._confirmed_at = -inf
        """When what the group has last confirmed was asked for."""
        self._is_closing = False
        self._action_scope = trio.CancelScope()
        self._loop_ended = trio.Event()

    @property
    def member_id(self) -> str:
        """The id that the group gave; empty before the first join."""
        return self._machine.member_id

    @property
    def generation(self) -> int:
        """The group's generation that this member is part of; -1 if none."""
        return self._machine.generation

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """The partitions that are this member's."""
        return self._machine.owned

    @property
    def is_settled(self) -> bool:
        """Whether it has its assignment, and no rebalance is known to be under way."""
        return self._machine.is_settled

    @property
    def is_in_doubt(self) -> bool:
        """Whether the group may have given this member up without its knowing yet.

        So it is when the process was paused, or a function kept it from sending heartbeats, for
        longer than a session lasts: what it owned may be others' by now. The next heartbeat tells.
        While it joins, the group waits for it.
        """
        if self._machine.phase is Phase.JOINING:
            return False
        session_s = self._config.session_timeout_ms / 1000
        return trio.current_time() > self._confirmed_at + session_s

    async def wait_joined(self) -> None:
        """Waits until the member has an assignment (maybe empty) and no rebalance goes on."""
        while not self._machine.is_settled:
            await self._changed.wait()
        await trio.lowlevel.checkpoint()

    def request_rejoin(self) -> None:
        """Asks for a rebalance."""
        self._machine.request_rejoin()
        self._wake.set()

    def subscribe(self, topics: Iterable[str]) -> None:
        """Changes the topics; the group rebalances."""
        self._machine.subscribe(topics)
        self._wake.set()

    # Offsets.

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commits offsets of partitions that are this member's.

        It waits for a rebalance that is under way if the group asks for that, and goes on under the
        new generation if the partitions are still this member's.

        Raises:
            CommitRefusedError: the partitions are not this member's, or the group has dropped it.
        """
        backoff = self._client.new_backoff()
        give_up_at = trio.current_time() + self._client.config.api_timeout_ms / 1000
        while offsets:
            failure = await self._try_commit(offsets)
            if failure is None:
                return
            wait_s = backoff.next_ms() / 1000
            if not is_retriable(failure) or trio.current_time() + wait_s > give_up_at:
                raise failure
            await trio.sleep(wait_s)

    async def _try_commit(
        self, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> StreamlogError | None:
        machine = self._machine
        sent = machine.member_id, machine.generation
        foreign = offsets.keys() - machine.owned
        if foreign or machine.generation == NO_GENERATION:
            what = ", ".join(map(str, sorted(foreign))) or "this member"
            raise self._refused(ErrorCode.UNKNOWN_MEMBER_ID, f"{what} is not in its generation")
        try:
            codes = await commit_offsets(
                self._client,
                self._config.group,
                offsets,
                generation=machine.generation,
                member_id=machine.member_id,
                instance_id=self._config.instance_id,
                node_id=self._coordinator,
                purpose=self._commit_purpose,
            )
        except ConnectionLostError as error:
            self._lose_coordinator(self._coordinator)
            return error
        failed = [(each, code) for each, code in codes.items() if code is not ErrorCode.NONE]
        return self._commit_failure(*failed[0], sent) if failed else None

    def _commit_failure(
        self, partition: TopicPartition, code: ErrorCode, sent: tuple[str, int]
    ) -> StreamlogError:
        machine = self._machine
        if code in MOVED:
            self._lose_coordinator(self._coordinator)
        if code in DROPPED or code is ErrorCode.FENCED_INSTANCE_ID:
            is_moving_on = machine.phase is not Phase.STABLE
            if is_moving_on or sent != (machine.member_id, machine.generation):
                # The group has gone on to another generation, and so are we.
                code = ErrorCode.REBALANCE_IN_PROGRESS
            else:
                machine.on_fenced(code, sent[1], trio.current_time() * 1000)
                self._wake.set()
                return self._refused(code, code.meaning)
        if code is ErrorCode.REBALANCE_IN_PROGRESS:
            return ConnectionLostError(f"group {self._config.group!r} is rebalancing")
        return KafkaError(code, f"offset of {partition} for group {self._config.group!r}")

    def _refused(self, code: ErrorCode, why: str) -> CommitRefusedError:
        return CommitRefusedError(
            f"group {self._config.group!r} does not take offsets of member "
            f"{self._machine.member_id!r} in generation {self._machine.generation}: {why}",
            code,
            hint="Its partitions are, or soon will be, read by others; drop what is not committed",
        )

    async def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Returns the group's committed offsets; None where there is none."""
        asked = list(partitions)
        found = await fetch_offsets(self._client, self._config.group, asked)
        return {each: found.get(each) for each in asked}

    # The tasks.

    async def run(self) -> None:
        """Joins and stays in the group until `leave`; raises if the group will not have it."""
        async with background_nursery() as nursery:
            nursery.start_soon(self._keep_in_touch)
            while not self._is_closing:
                self._wake = trio.Event()
                action = self._machine.next_action(trio.current_time() * 1000)
                if isinstance(action, TellAssigned | TellRevoked | TellLost):
                    await self._tell(action)
                else:
                    with trio.CancelScope() as self._action_scope:
                        await self._do(action)
                self._note_change()
                if self._machine.phase is Phase.FAILED and not self._machine.has_to_tell:
                    assert self._machine.failure is not None
                    raise self._machine.failure
            self._loop_ended.set()
            await trio.sleep_forever()

    async def _do(self, action: Action) -> None:
        try:
            match action:
                case FindCoordinator():
                    self._coordinator = await find_coordinator(self._client, self._config.group)
                    self._machine.on_coordinator_found()
                case Join():
                    await self._join(action)
                case Assign():
                    await self._assign(action)
                case Sync():
                    await self._sync(action)
                case Wait():
                    with trio.move_on_at(
                        inf if action.until_ms is None else action.until_ms / 1000
                    ):
                        await self._wake.wait()
                case TellAssigned() | TellRevoked() | TellLost():
                    raise AssertionError("told elsewhere")
                case _:
                    assert_never(action)
        except StreamlogError as error:
            if not is_retriable(error):
                raise
            self._machine.on_request_failed(trio.current_time() * 1000)

    async def _tell(self, tell: Tell) -> None:
        match tell:
            case TellAssigned():
                await self._listener.on_assigned(tell.partitions)
            case TellRevoked():
                await self._listener.on_revoked(tell.partitions)
            case TellLost():
                await self._listener.on_lost(tell.partitions)
            case _:
                assert_never(tell)
        self._machine.on_told()

    async def _join(self, action: Join) -> None:
        # The broker answers when all members have joined, or the slowest has had its time.
        timeout_ms = self._config.rebalance_timeout_ms + self._client.config.request_timeout_ms
        response = await self._client.call(
            self._coordinator,
            join_request(self._config, action),
            purpose=self._join_purpose,
            timeout_ms=timeout_ms,
        )
        code = ErrorCode(response.error_code)
        if code is ErrorCode.NONE:
            self._confirmed_at = trio.current_time()
        if response.skip_assignment:
            self._assigned_counts = None
            self._client.keeper.track(self._config.topics)
            self._client.keeper.request()
        self._machine.on_join_response(
            code,
            joined(response) if code is ErrorCode.NONE else None,
            response.member_id,
            trio.current_time() * 1000,
        )

    async def _assign(self, action: Assign) -> None:
        topics = {topic for member in action.members for topic in member.topics}
        self._client.keeper.track(topics)
        await self._client.keeper.refresh()
        known = self._client.metadata.topics
        # A topic that is missing is assigned when it is there: `_watch_topics` looks.
        counts = {
            name: known[name].partition_count
            for name in sorted(topics)
            if name in known and known[name].partitions
        }
        self._assigned_counts = counts
        self._machine.on_assignment(action.assignor.assign(counts, action.members))

    async def _sync(self, action: Sync) -> None:
        timeout_ms = self._config.rebalance_timeout_ms + self._client.config.request_timeout_ms
        response = await self._client.call(
            self._coordinator,
            sync_request(self._config, action),
            purpose=self._join_purpose,
            timeout_ms=timeout_ms,
        )
        code = ErrorCode(response.error_code)
        partitions = decode_assignment(response.assignment) if code is ErrorCode.NONE else []
        self._machine.on_sync_response(code, partitions, trio.current_time() * 1000)

    async def _keep_in_touch(self) -> None:
        """Sends heartbeats; if the member leads, watches whether topics come or grow."""
        interval_s = self._config.heartbeat_interval_ms / 1000
        while True:
            await trio.sleep(interval_s)
            if self._machine.keeps_in_touch and self._coordinator >= 0:
                await self._heartbeat()
            if self._machine.leads and self._machine.is_settled:
                self._watch_topics()

    async def _heartbeat(self) -> None:
        machine = self._machine
        sent = machine.member_id, machine.generation
        coordinator = self._coordinator
        request = heartbeat_request(self._config, *sent)
        asked_at = trio.current_time()
        timeout_ms = min(self._client.config.request_timeout_ms, self._config.session_timeout_ms)
        try:
            response = await self._client.call(
                coordinator, request, purpose=self._touch_purpose, timeout_ms=timeout_ms
            )
        except ConnectionLostError:
            self._lose_coordinator(coordinator)
        else:
            code = ErrorCode(response.error_code)
            if code in (ErrorCode.NONE, ErrorCode.REBALANCE_IN_PROGRESS):
                self._confirmed_at = asked_at
            machine.on_heartbeat_response(code, *sent, trio.current_time() * 1000)
            if response.error_code:
                self._wake.set()

    def _watch_topics(self) -> None:
        topics = self._client.metadata.topics
        now = {
            name: topics[name].partition_count
            for name in (*(self._assigned_counts or ()), *self._config.topics)
            if name in topics and topics[name].partitions
        }
        if self._assigned_counts is None:
            self._assigned_counts = now
        elif counts_changed(self._assigned_counts, now):
            self.request_rejoin()
        if any(name not in now for name in self._config.topics):
            self._client.keeper.request()

    def _lose_coordinator(self, node_id: int) -> None:
        if node_id == self._coordinator:
            self._machine.on_coordinator_lost(trio.current_time() * 1000)
            self._wake.set()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # The end.

    async def leave(self) -> None:
        """Ends the member's part: gives up what it owns. A listener's call under way is awaited."""
        self._is_closing = True
        self._wake.set()
        self._action_scope.cancel()
        await self._loop_ended.wait()
        for tell in self._machine.last_words():
            await self._tell(tell)

    async def say_goodbye(self) -> None:
        """Tells the group, unless the member is static and may come back; never for long."""
        says_so = self._config.leave_on_close
        if says_so is None:
            says_so = self._config.instance_id is None
        with trio.move_on_after(LEAVE_TIMEOUT_S) as scope:
            scope.shield = True
            if says_so and self._machine.member_id and self._coordinator >= 0:
                # If it does not hear this, the group finds out by the session timeout.
                with suppress(StreamlogError):
                    await self._client.call(
                        self._coordinator,
                        leave_request(self._config, self._machine.member_id),
                        purpose=self._touch_purpose,
                    )
        for purpose in (self._join_purpose, self._touch_purpose, self._commit_purpose):
            self._client.release(purpose)


@asynccontextmanager
async def open_group_member(
    client: Client, config: GroupConfig, listener: RebalanceListener
) -> AsyncIterator[GroupMember]:
    """Joins a group and stays in it until the block ends.

    Entering does not wait for the assignment. At a normal end `on_revoked` is called with what is
    owned; after an exception it is not. Either way the group is told that the member leaves, unless
    it is a static one.

    Raises:
        GroupMembershipError: the group will not have this member; the block is cancelled.
    """
    member = GroupMember(client, config, listener)
    try:
        async with background_nursery() as nursery:
            nursery.start_soon(member.run)
            yield member
            await member.leave()
    finally:
        await member.say_goodbye()
