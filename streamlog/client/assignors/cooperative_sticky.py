"""The cooperative sticky assignor: as sticky, and members keep what they own while they rebalance.

A partition that is to move is left out of the first assignment. Its owner finds it missing, gives
it up and joins again; the second assignment gives it to its new owner (KIP-429). So nobody stops
for the partitions that do not move. User data: the generation, for members of protocols before v2.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from streamlog.client.assignors.assignor import NO_GENERATION, Assignment, MemberSubscription
from streamlog.client.assignors.balance import Balancer, settle_claims

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.client.values import TopicPartition


class CooperativeStickyAssignor:
    """Kafka's `CooperativeStickyAssignor`."""

    name = "cooperative-sticky"
    cooperative = True

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """The generation in which the member got what it owns."""
        return struct.pack(">i", generation)

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Assigns as `Balancer` describes it, less what somebody else must give up first."""
        informed = [with_generation(member) for member in members]
        owners = settle_claims(informed, partitions_by_topic)
        assignment = Balancer(partitions_by_topic, informed, owners).run()
        claimed: dict[TopicPartition, set[str]] = {}
        for member in informed:
            for partition in member.owned:
                claimed.setdefault(partition, set()).add(member.member_id)
        return {
            member_id: [each for each in given if member_id in claimed.get(each, {member_id})]
            for member_id, given in assignment.items()
        }


def with_generation(member: MemberSubscription) -> MemberSubscription:
    """Takes the generation from the user data where the subscription has none."""
    data = member.user_data
    if member.generation != NO_GENERATION or data is None or len(data) < 4:
        return member
    return replace(member, generation=struct.unpack_from(">i", data)[0])
