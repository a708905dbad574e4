"""The round-robin assignor: all partitions of all topics dealt out like cards."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

from streamlog.client.assignors.assignor import Assignment, MemberSubscription, member_order
from streamlog.client.values import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class RoundRobinAssignor:
    """Kafka's `RoundRobinAssignor`."""

    name = "roundrobin"
    cooperative = False

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """Nothing: it does not look back."""
        return None

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Deals partitions, by topic and number, to members in turn; skips who does not want one.

        >>> two = [MemberSubscription("a", ("t", "u")), MemberSubscription("b", ("t", "u"))]
        >>> [str(p) for p in RoundRobinAssignor().assign({"t": 3, "u": 1}, two)["b"]]
        ['t[1]', 'u[0]']
        """
        assignment: Assignment = {member.member_id: [] for member in members}
        wanted = {topic for member in members for topic in member.topics}
        turn = cycle(sorted(members, key=member_order))
        for topic in sorted(wanted & partitions_by_topic.keys()):
            for number in range(partitions_by_topic[topic]):
                taker = next(member for member in turn if topic in member.topics)
                assignment[taker.member_id].append(TopicPartition(topic, number))
        return assignment
