"""The decision both sticky assignors share: as balanced as can be, then as little moved as can be.

Three steps. Every partition stays with the one member that owns it, if that member still wants
its topic. What nobody owns goes to the least loaded member that wants it, the topics that the
fewest members want first. Then partitions move, alone or in chains (one from A to B, another from B
to C), from a member to one with at least two fewer, until there is no such chain. Every chain
lowers the sum of the squares of the loads, so that ends; and where no chain is left that sum is the
smallest there can be (it is a semi-matching: Harvey, Ladner, Lovasz, Tamir, 2003). What has just
been given out is moved first, and what is owned only if that did not suffice. Therefore the second
round of a cooperative rebalance, when everybody has let go, moves nothing more.

Who owns what is the members' word. Claims of an older generation give way to those of a newer
one; of two claims of the same generation neither holds, because nobody knows which is true.
"""

from __future__ import annotations

from collections import deque
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
        self._even_out(fresh)
        self._even_out(self._partitions)
        assignment: Assignment = {member_id: [] for member_id in self._loads}
        for partition in self._partitions:
            assignment[self._owner[partition]].append(partition)
        return assignment

    def _give(self, partition: TopicPartition, member_id: str) -> None:
        self._owner[partition] = member_id
        self._loads[member_id] += 1

    def _least_loaded(self, topic: str) -> str:
        return min(self._takers[topic], key=self._loads.__getitem__)

    def _even_out(self, movable: Sequence[TopicPartition]) -> None:
        moved = True
        while moved:
            moved = False
            for partition in movable:
                taker = self._taker(partition, self._owner[partition])
                if taker is not None:
                    self._move(partition, taker)
                    moved = True
            moved = moved or self._move_chain(movable)

    def _move(self, partition: TopicPartition, taker: str) -> None:
        self._loads[self._owner[partition]] -= 1
        self._give(partition, taker)

    def _move_chain(self, movable: Sequence[TopicPartition]) -> bool:
        """Moves partitions along one chain of members, if there is one that helps."""
        held: dict[str, dict[str, TopicPartition]] = {member_id: {} for member_id in self._loads}
        for partition in movable:
            held[self._owner[partition]][partition.topic] = partition
        for start in sorted(self._loads, key=self._loads.__getitem__, reverse=True):
            chain = self._find_chain(start, held)
            for partition, taker in chain:
                self._move(partition, taker)
            if chain:
                return True
        return False

    def _find_chain(
        self, start: str, held: Mapping[str, Mapping[str, TopicPartition]]
    ) -> list[tuple[TopicPartition, str]]:
        """Searches, breadth first, for a way from a member to one with two fewer partitions."""
        came: dict[str, tuple[TopicPartition, str]] = {}
        topics: set[str] = set()
        queue = deque([start])
        while queue:
            giver = queue.popleft()
            for topic, partition in held[giver].items():
                if topic in topics:
                    continue
                topics.add(topic)
                for taker in self._takers[topic]:
                    if taker == start or taker in came:
                        continue
                    came[taker] = (partition, giver)
                    if self._loads[taker] <= self._loads[start] - 2:
                        return self._way_to(taker, start, came)
                    queue.append(taker)
        return []

    @staticmethod
    def _way_to(
        end: str, start: str, came: Mapping[str, tuple[TopicPartition, str]]
    ) -> list[tuple[TopicPartition, str]]:
        chain = []
        while end != start:
            partition, giver = came[end]
            chain.append((partition, end))
            end = giver
        return chain

    def _taker(self, partition: TopicPartition, holder: str) -> str | None:
        """Returns who should have it: its old owner if that helps, else the least loaded."""
        room = self._loads[holder] - 1
        previous = self._previous.get(partition)
        if previous is not None and previous != holder and self._loads[previous] < room:
            return previous
        taker = self._least_loaded(partition.topic)
        return taker if self._loads[taker] < room else None
