"""The decision both sticky assignors share: as balanced as can be, then as little moved as can be.

Three steps. Every partition stays with the one member that owns it, if that member still wants
its topic. What nobody owns goes to the least loaded member that wants it, the topics that the
fewest members want first. Then partitions move from a member to another that wants them and has at
least two fewer, until there is no such pair: every move lowers the sum of the squares of the loads,
so that ends, and what remains is Kafka's promise: a member has at most one more than another, or
nothing that the other could take. What has just been given out is moved before what is owned.

Who owns what is the members' word. Claims of an older generation give way to those of a newer
one; of two claims of the same generation neither holds, because nobody knows which is true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.values import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.client.assignors.assignor import Assignment, MemberSubscription


def settle_claims(
    members: Sequence[MemberSubscription], partitions_by_topic: Mapping[str, int]
) -> dict[TopicPartition, str]:
    """Returns who owns each partition, as far as the members agree on it.

    Args:
        members: With `owned` and `generation` already read from wherever the assignor keeps them.
        partitions_by_topic: What exists; claims to anything else are dropped.
    """
    best: dict[TopicPartition, tuple[int, str | None]] = {}
    for member in members:
        for partition in member.owned:
            if partition.topic not in member.topics:
                continue
            if not 0 <= partition.partition < partitions_by_topic.get(partition.topic, 0):
                continue
            generation, owner = best.get(partition, (member.generation - 1, None))
            if member.generation > generation:
                best[partition] = (member.generation, member.member_id)
            elif member.generation == generation and owner != member.member_id:
                best[partition] = (generation, None)
    return {partition: owner for partition, (_, owner) in best.items() if owner is not None}


class Balancer:
    """One run of the decision; made, run once and thrown away."""

    def __init__(
        self,
        partitions_by_topic: Mapping[str, int],
        members: Sequence[MemberSubscription],
        owners: Mapping[TopicPartition, str],
    ) -> None:
        ordered = sorted(members, key=lambda member: member.member_id)
        self._loads = {member.member_id: 0 for member in ordered}
        self._takers = {
            topic: [member.member_id for member in ordered if topic in member.topics]
            for topic in sorted(partitions_by_topic)
        }
        self._previous = owners
        self._owner: dict[TopicPartition, str] = {}
        self._partitions = [
            TopicPartition(topic, number)
            for topic, takers in self._takers.items()
            if takers
            for number in range(partitions_by_topic[topic])
        ]

    def run(self) -> Assignment:
        """Returns the partitions of each member, in order."""
        for partition in self._partitions:
            if partition in self._previous:
                self._give(partition, self._previous[partition])
        fresh = [partition for partition in self._partitions if partition not in self._owner]
        for partition in sorted(fresh, key=lambda each: (len(self._takers[each.topic]), each)):
            self._give(partition, self._least_loaded(partition.topic))
        self._even_out([*fresh, *(each for each in self._partitions if each in self._previous)])
        assignment: Assignment = {member_id: [] for member_id in self._loads}
        for partition in self._partitions:
            assignment[self._owner[partition]].append(partition)
        return assignment

    def _give(self, partition: TopicPartition, member_id: str) -> None:
        self._owner[partition] = member_id
        self._loads[member_id] += 1

    def _least_loaded(self, topic: str) -> str:
        return min(self._takers[topic], key=self._loads.__getitem__)

    def _even_out(self, candidates: Sequence[TopicPartition]) -> None:
        moved = True
        while moved:
            moved = False
            for partition in candidates:
                holder = self._owner[partition]
                taker = self._taker(partition, holder)
                if taker is not None:
                    self._loads[holder] -= 1
                    self._give(partition, taker)
                    moved = True

    def _taker(self, partition: TopicPartition, holder: str) -> str | None:
        """Returns who should have it: its old owner if that helps, else the least loaded."""
        room = self._loads[holder] - 1
        previous = self._previous.get(partition)
        if previous is not None and previous != holder and self._loads[previous] < room:
            return previous
        taker = self._least_loaded(partition.topic)
        return taker if self._loads[taker] < room else None
