"""Which members of a group are there: whose requests wait, whose sessions run, who goes.

A member is alive while one of its requests waits, and otherwise for a session timeout after its
last sign of life. So a session runs exactly while nothing waits, and answering a request starts
it anew. A member that has never been answered cannot send heartbeats, so it gets a long fixed
time instead.

Every request that waits is answered once: before its member goes, when the member sends another one
instead, or with what it waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from streamlog.broker.groups.decision import GroupResponse, Reply
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.join_group import JoinGroupResponse
from streamlog.wire.messages.sync_group import SyncGroupResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.groups.config import GroupConfig
    from streamlog.broker.groups.deadlines import Deadlines
    from streamlog.broker.groups.roster import Member, Roster

Timer: TypeAlias = tuple[str, str]
"""What a deadline is about: its kind, and whose it is."""

SESSION, PENDING = "session", "pending"


class Presence:
    """The members, their waiting requests and their sessions; answers gather here."""

    def __init__(self, roster: Roster, timers: Deadlines[Timer], config: GroupConfig) -> None:
        self._roster = roster
        self._timers = timers
        self._config = config
        self._replies: list[Reply] = []

    def reply(self, ticket: int, response: GroupResponse) -> None:
        """Answers a request."""
        self._replies.append(Reply(ticket, response))

    def take_replies(self) -> tuple[Reply, ...]:
        """Returns what was answered since the last call."""
        replies = tuple(self._replies)
        self._replies.clear()
        return replies

    def touch(self, member: Member, now_ms: int) -> None:
        """Notes a sign of life."""
        if not member.is_waiting:
            self._timers.set((SESSION, member.member_id), now_ms + member.session_timeout_ms)

    def touch_all(self, now_ms: int) -> None:
        """Starts all sessions anew."""
        for member in self._roster:
            self.touch(member, now_ms)

    def expect(self, member_id: str, until_ms: int) -> None:
        """Notes an id that was handed out."""
        self._roster.pending.add(member_id)
        self._timers.set((PENDING, member_id), until_ms)

    def forget(self, member_id: str) -> None:
        """Takes back an id that was handed out."""
        self._roster.pending.discard(member_id)
        self._timers.clear((PENDING, member_id))

    def park_join(self, member: Member, ticket: int, now_ms: int) -> None:
        """Lets a member's JoinGroup wait; whatever it had waiting before was given up by it."""
        again = ErrorCode.REBALANCE_IN_PROGRESS
        self.refuse(member, again)
        self._roster.park_join(member, ticket)
        self._timers.clear((SESSION, member.member_id))
        if member.is_new:
            until_ms = now_ms + self._config.new_member_join_timeout_ms
            self._timers.set((SESSION, member.member_id), until_ms)

    def park_sync(self, member: Member, ticket: int) -> None:
        """Lets a member's SyncGroup wait."""
        self.answer_sync(member, SyncGroupResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS))
        member.sync_ticket = ticket
        self._timers.clear((SESSION, member.member_id))

    def answer_join(self, member: Member, response: JoinGroupResponse) -> None:
        """Answers a member's JoinGroup if one waits."""
        ticket = self._roster.unpark_join(member)
        if ticket is not None:
            self.reply(ticket, response)

    def answer_sync(self, member: Member, response: SyncGroupResponse) -> None:
        """Answers a member's SyncGroup if one waits."""
        if member.sync_ticket is not None:
            self.reply(member.sync_ticket, response)
            member.sync_ticket = None

    def refuse(self, member: Member, error: ErrorCode) -> None:
        """Answers all that waits of a member with an error."""
        self.answer_join(member, JoinGroupResponse(error_code=error))
        self.answer_sync(member, SyncGroupResponse(error_code=error))

    def refuse_all(self, error: ErrorCode) -> None:
        """Answers all that waits with an error."""
        for member in self._roster:
            self.refuse(member, error)

    def fail_syncs(self, error: ErrorCode, now_ms: int) -> None:
        """Answers all waiting SyncGroups with an error: nobody has an assignment."""
        for member in self._roster:
            member.assignment = b""
            self.answer_sync(member, SyncGroupResponse(error_code=error))
            self.touch(member, now_ms)

    def begin(self, respond: Callable[[Member], JoinGroupResponse], now_ms: int) -> None:
        """Ends the barrier: answers every JoinGroup, and all sessions run."""
        for member in self._roster:
            member.is_new = False
            self.answer_join(member, respond(member))
            self.touch(member, now_ms)

    def remove(self, member: Member) -> None:
        """Lets a member go; what waited of it is told that it is no member."""
        self.refuse(member, ErrorCode.UNKNOWN_MEMBER_ID)
        self._timers.clear((SESSION, member.member_id))
        self._roster.remove(member)

    def replace(self, member: Member, member_id: str, now_ms: int) -> None:
        """Gives a static member a new id; whoever still uses the old one is fenced."""
        fenced = JoinGroupResponse(
            error_code=ErrorCode.FENCED_INSTANCE_ID, member_id=member.member_id
        )
        self.answer_join(member, fenced)
        self.refuse(member, ErrorCode.FENCED_INSTANCE_ID)
        self._timers.clear((SESSION, member.member_id))
        self._roster.rename(member, member_id)
        self.touch(member, now_ms)
