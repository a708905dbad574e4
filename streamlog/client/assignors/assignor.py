"""What an assignor is: the rule by which a group's leader gives partitions to members.

The leader of a generation gets every member's subscription, runs the assignor that all of them
have in common, and the broker passes on the result without looking at it. So an assignor is a pure
function, and its name is a promise to the other clients in the group that it decides as theirs do:
the names and the rules here are those of Kafka's Java client.

*Eager* assignors expect members to give up everything before they join. *Cooperative* ones let
members keep what they own; a partition that moves is first left unassigned for one round, so that
its new owner cannot begin before its old owner has ended (KIP-429).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.client.values import TopicPartition

NO_GENERATION = -1


@dataclass(frozen=True, slots=True)
class MemberSubscription:
    """What one member wants, and says that it owns."""

    member_id: str
    topics: tuple[str, ...]
    instance_id: str | None = None
    owned: tuple[TopicPartition, ...] = ()
    generation: int = NO_GENERATION
    """In which `owned` was assigned; -1 if the member does not say."""
    user_data: bytes | None = None


Assignment = dict[str, list["TopicPartition"]]
"""The partitions of each member, by member id; every member has an entry."""


class Assignor(Protocol):
    """A rule of assignment."""

    @property
    def name(self) -> str:
        """The name under which members agree on it."""

    @property
    def cooperative(self) -> bool:
        """Whether members keep their partitions while a rebalance goes on."""

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """What a member puts into its subscription for the leader's assignor."""

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Gives every partition of every topic that somebody wants to one who wants it."""


def member_order(member: MemberSubscription) -> tuple[bool, str]:
    """Sorts members as Kafka's `MemberInfo` does: static ones first, by instance id."""
    if member.instance_id is not None:
        return False, member.instance_id
    return True, member.member_id
