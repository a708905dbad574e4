"""The assignor of pipelines' groups: gives whole tasks to workers, cooperatively.

To the group protocol it is an assignor like any other, of partitions: other tools see in the group
which worker reads what. Here they are dealt in tasks, by `placement`. A task that moves is first
left with nobody for one round (KIP-429), so that its new worker opens it only after its old worker
has written its last checkpoint; tasks that stay are not touched.

A worker's word (`word`) goes with its subscription. So whoever reads the group's description has
all that the leader had, and finds the same placement: that is how a worker knows which copies to
keep warm, though the protocol has no place to tell it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from streamlog.client.values import TopicPartition
from streamlog.processing.worker.placement import Placement, TaskName, WorkerView, place
from streamlog.processing.worker.word import WorkerWord, decode_word, encode_word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from streamlog.client.assignors.assignor import Assignment, MemberSubscription


class TaskAssignor:
    """Deals the tasks of one pipeline.

    Args:
        sub_topologies: Each sub-topology's name and the topics that its tasks read.
        standbys: How many warm copies each task is to have.
        say: Returns what this worker says of itself; asked at every join.
    """

    name = "streamlog-tasks"
    cooperative = True

    def __init__(
        self,
        sub_topologies: Mapping[str, Sequence[str]],
        standbys: int = 0,
        say: Callable[[], WorkerWord] = WorkerWord,
    ) -> None:
        self._standbys = standbys
        self._say = say
        self._sub_topology = {
            topic: name for name, topics in sub_topologies.items() for topic in topics
        }

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """The worker's word; what it owns is in its subscription already."""
        return encode_word(self._say())

    def task_of(self, partition: TopicPartition) -> TaskName | None:
        """Returns the task that reads a partition, if this pipeline reads it."""
        sub_topology = self._sub_topology.get(partition.topic)
        return None if sub_topology is None else TaskName(sub_topology, partition.partition)

    def tasks_of(self, partitions: Iterable[TopicPartition]) -> set[TaskName]:
        """Returns the tasks that read these partitions."""
        return {task for each in partitions if (task := self.task_of(each)) is not None}

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Places the tasks; those that another member still runs are given to nobody yet."""
        inputs = self._inputs(partitions_by_topic)
        placement = self.place(partitions_by_topic, members)
        claimed: defaultdict[TaskName, set[str]] = defaultdict(set)
        for member in members:
            for task in self.tasks_of(member.owned):
                claimed[task].add(member.member_id)
        return {
            member: [each for task in tasks if claimed[task] <= {member} for each in inputs[task]]
            for member, tasks in placement.active.items()
        }

    def place(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Placement:
        """Places tasks and copies, by the ids of the members."""
        claims = self._claims(members)
        words = {member.member_id: decode_word(member.user_data) for member in members}
        workers = {
            member: WorkerView(
                owned=claims[member], copies=word.copies_by_task(), folder=word.folder
            )
            for member, word in words.items()
        }
        return place(sorted(self._inputs(partitions_by_topic)), workers, self._standbys)

    def _inputs(
        self, partitions_by_topic: Mapping[str, int]
    ) -> defaultdict[TaskName, list[TopicPartition]]:
        """The partitions that each task reads."""
        inputs: defaultdict[TaskName, list[TopicPartition]] = defaultdict(list)
        for topic in sorted(partitions_by_topic):
            for partition in range(partitions_by_topic[topic]):
                name = self.task_of(TopicPartition(topic, partition))
                if name is not None:
                    inputs[name].append(TopicPartition(topic, partition))
        return inputs

    def _claims(self, members: Sequence[MemberSubscription]) -> dict[str, list[TaskName]]:
        """What each member runs; of two that claim the same, the newer generation's holds."""
        newest: dict[TaskName, MemberSubscription] = {}
        for member in members:
            for task in self.tasks_of(member.owned):
                if task not in newest or newest[task].generation < member.generation:
                    newest[task] = member
        claims: dict[str, list[TaskName]] = {member.member_id: [] for member in members}
        for task, member in newest.items():
            claims[member.member_id].append(task)
        return claims
