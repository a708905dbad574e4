"""Who is in a group: members, ids handed out but not used yet, static members, leader, protocols.

A *static* member names itself with a `group.instance.id`; it keeps its place under a new member
id when it comes back. A *pending* id was given to a client that has not joined with it yet. A
*protocol* is an assignor's name with the member's metadata for it; only a protocol that every
member supports can be chosen. All metadata is opaque here.

Invariants: the leader is a member; `static` maps to members and back; a pending id is no member; at
least one protocol is supported by all members.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One member and the requests of it that wait."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocols: Mapping[str, bytes]
    """Assignors by preference, each with the member's metadata for it."""
    assignment: bytes = b""
    is_new: bool = True
    """No answer has reached it yet, so it cannot send heartbeats."""
    join_ticket: int | None = None
    sync_ticket: int | None = None

    @property
    def is_joining(self) -> bool:
        """Its JoinGroup waits for the others."""
        return self.join_ticket is not None

    @property
    def is_waiting(self) -> bool:
        """One of its requests waits, so it is alive whatever its session says."""
        return self.join_ticket is not None or self.sync_ticket is not None


class Roster:
    """The members of one group, in the order in which they came."""

    def __init__(self) -> None:
        self.pending: set[str] = set()
        self.protocol_type: str | None = None
        self.protocol_name: str | None = None
        """What the members of the current generation agreed on."""
        self.leader_id: str | None = None
        self._members: dict[str, Member] = {}
        self._static: dict[str, str] = {}
        self._supporters: Counter[str] = Counter()
        self._joining_count = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(list(self._members.values()))

    def __contains__(self, member_id: str) -> bool:
        return member_id in self._members

    def __getitem__(self, member_id: str) -> Member:
        return self._members[member_id]

    def get(self, member_id: str) -> Member | None:
        """Returns a member by its id."""
        return self._members.get(member_id)

    def static_member(self, instance_id: str | None) -> Member | None:
        """Returns the member that holds an instance id."""
        member_id = self._static.get(instance_id) if instance_id is not None else None
        return None if member_id is None else self._members[member_id]

    def add(self, member: Member, protocol_type: str) -> None:
        """Takes in a member; the first one makes the protocol type and is the leader."""
        assert member.member_id not in self._members
        assert not member.is_waiting
        if not self._members:
            self.protocol_type = protocol_type
        assert protocol_type == self.protocol_type
        if self.leader_id is None:
            self.leader_id = member.member_id
        self.pending.discard(member.member_id)
        self._members[member.member_id] = member
        self._supporters.update(member.protocols.keys())
        if member.instance_id is not None:
            assert member.instance_id not in self._static
            self._static[member.instance_id] = member.member_id

    def remove(self, member: Member) -> None:
        """Lets a member go; if it led, another leads."""
        assert not member.is_waiting, "a member's requests are answered before it goes"
        del self._members[member.member_id]
        self._supporters.subtract(member.protocols.keys())
        if member.instance_id is not None:
            del self._static[member.instance_id]
        if self.leader_id == member.member_id:
            self.leader_id = next(iter(self._members), None)

    def rename(self, member: Member, member_id: str) -> None:
        """Gives a static member that came back a new id, in its old place."""
        assert member.instance_id is not None
        self._members = {member_id if known is member else known.member_id: known for known in self}
        if self.leader_id == member.member_id:
            self.leader_id = member_id
        self._static[member.instance_id] = member_id
        member.member_id = member_id

    def set_protocols(self, member: Member, protocols: Mapping[str, bytes]) -> None:
        """Replaces what a member supports."""
        self._supporters.subtract(member.protocols.keys())
        self._supporters.update(protocols.keys())
        member.protocols = protocols

    @property
    def joining_count(self) -> int:
        """How many members wait in the barrier."""
        return self._joining_count

    def park_join(self, member: Member, ticket: int) -> None:
        """Lets a member's JoinGroup wait."""
        assert member.join_ticket is None
        member.join_ticket = ticket
        self._joining_count += 1

    def unpark_join(self, member: Member) -> int | None:
        """Returns the ticket of the JoinGroup that waited, if one did."""
        ticket, member.join_ticket = member.join_ticket, None
        if ticket is not None:
            self._joining_count -= 1
        return ticket

    def error_for(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """Returns what is wrong with somebody who claims to be a member, or NONE."""
        if instance_id is not None:
            holder = self.static_member(instance_id)
            if holder is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if holder.member_id != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self._members else ErrorCode.UNKNOWN_MEMBER_ID

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        """Tells whether somebody with these protocols can be a member beside the others."""
        names = list(protocols)
        if not self._members:
            return bool(protocol_type and names)
        return protocol_type == self.protocol_type and any(map(self._is_common, names))

    def choose_protocol(self) -> str:
        """Returns the protocol with most votes: each member's first that all of them support."""
        votes = Counter(
            next(name for name in member.protocols if self._is_common(name)) for member in self
        )
        return max(votes, key=votes.__getitem__)

    def elect_joined_leader(self) -> bool:
        """Makes sure that the leader is one who rejoined; False if nobody did."""
        leader = self.get(self.leader_id) if self.leader_id is not None else None
        if leader is not None and leader.is_joining:
            return True
        joined = next((member for member in self if member.is_joining), None)
        if joined is None:
            return False
        self.leader_id = joined.member_id
        return True

    @property
    def all_joined(self) -> bool:
        """Every member has rejoined and no handed-out id is still to come."""
        return not self.pending and self._joining_count == len(self._members)

    @property
    def rebalance_timeout_ms(self) -> int:
        """The longest that any member may take to rejoin."""
        return max((member.rebalance_timeout_ms for member in self._members.values()), default=0)

    def _is_common(self, protocol: str) -> bool:
        return self._supporters[protocol] == len(self._members)
