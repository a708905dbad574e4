"""The range assignor: of each topic, consecutive partitions to members in their order.

Topics with equal numbers of partitions and subscribers are split at the same places, so that
partitions of one number meet at one member, as joins need it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.assignors.assignor import Assignment, MemberSubscription, member_order
from streamlog.client.values import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RangeAssignor:
    """Kafka's `RangeAssignor` (without racks)."""

    name = "range"
    cooperative = False

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """Nothing: it does not look back."""
        return None

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Gives each topic's first members one partition more where it does not divide evenly.

        >>> two = [MemberSubscription("a", ("t",)), MemberSubscription("b", ("t",))]
        >>> [len(part) for part in RangeAssignor().assign({"t": 3}, two).values()]
        [2, 1]
        """
        assignment: Assignment = {member.member_id: [] for member in members}
        for topic, partition_count in sorted(partitions_by_topic.items()):
            takers = sorted((m for m in members if topic in m.topics), key=member_order)
            if not takers:
                continue
            share, more = divmod(partition_count, len(takers))
            start = 0
            for index, member in enumerate(takers):
                stop = start + share + (index < more)
                assignment[member.member_id] += [
                    TopicPartition(topic, p) for p in range(start, stop)
                ]
                start = stop
        return assignment
