"""What the membership machine asks its shell to do next: plain values, one thing at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.client.assignors.assignor import Assignment, Assignor, MemberSubscription
    from streamlog.client.values import TopicPartition


@dataclass(frozen=True, slots=True)
class FindCoordinator:
    """Look up which broker coordinates the group; report `on_coordinator_found`."""


@dataclass(frozen=True, slots=True)
class TellRevoked:
    """Call the listener's `on_revoked`; report `on_told`."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class TellLost:
    """Call the listener's `on_lost`; report `on_told`."""

    partitions: frozenset[TopicPartition]


@dataclass(frozen=True, slots=True)
class TellAssigned:
    """Call the listener's `on_assigned` (also with nothing: it is news all the same)."""

    partitions: frozenset[TopicPartition]


Tell = TellRevoked | TellLost | TellAssigned


@dataclass(frozen=True, slots=True)
class Join:
    """Send JoinGroup with these subscriptions; report `on_join_response`."""

    member_id: str
    subscriptions: tuple[tuple[str, MemberSubscription], ...]
    """One for each assignor by name, in order of preference."""


@dataclass(frozen=True, slots=True)
class Assign:
    """The member leads: look up the members' topics, run the assignor, report `on_assignment`."""

    assignor: Assignor
    members: tuple[MemberSubscription, ...]


@dataclass(frozen=True, slots=True)
class Sync:
    """Send SyncGroup, with everybody's assignment if the member leads; report the response."""

    member_id: str
    generation: int
    assignor: str
    assignment: Assignment


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do until something happens, or until then at the latest."""

    until_ms: float | None = None


Action = FindCoordinator | Tell | Join | Assign | Sync | Wait


@dataclass(frozen=True, slots=True)
class Joined:
    """What a JoinGroup response says when it is not an error."""

    member_id: str
    generation: int
    assignor: str
    leader: str
    members: tuple[MemberSubscription, ...] = ()
    skip_assignment: bool = False
