"""What all parts of one pipeline's worker share: its plan, its cluster, and the doors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.values import TopicPartition
from streamlog.processing.worker.config import CHECKPOINT_INTERVAL_S
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamlog.client.client import Client
    from streamlog.doors import Clock, Threads
    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.plan import Plan, SubTopologyPlan
    from streamlog.processing.worker.config import RunConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The surroundings of a pipeline's worker; nothing in it changes while it runs."""

    pipeline: str
    """Its own name, whatever the plan's is."""
    plan: Plan
    config: RunConfig
    client: Client
    clock: Clock
    threads: Threads
    partition_counts: Mapping[str, int]
    """Of every topic that the pipeline reads or writes."""
    topic_ids: Mapping[str, str]
    tables: Mapping[str, TableView]
    """The global tables, by topic."""
    state_folder: Path
    """This pipeline's, on this cluster."""

    @property
    def checkpoint_interval_s(self) -> float:
        """Seconds between two checkpoints: as the run says, else the pipeline, else the default."""
        if self.config.checkpoint_interval_s is not None:
            return self.config.checkpoint_interval_s
        interval = self.plan.options.checkpoint_interval
        return CHECKPOINT_INTERVAL_S if interval is None else interval.total_seconds()

    @property
    def standbys(self) -> int:
        """Warm copies of each task: as the run says, else the pipeline, else none."""
        if self.config.standbys is not None:
            return self.config.standbys
        return self.plan.options.standbys or 0

    def changelog_identities(self) -> dict[str, str]:
        """Returns the ids of the changelogs' topics, by sub-topology."""
        return {sub.name: self.topic_ids[sub.changelog_topic] for sub in self.plan.sub_topologies}

    def home_of(self, task: TaskName) -> Path:
        """Returns where a task's state is."""
        return self.state_folder / task.sub_topology / str(task.partition)

    def sub_topology(self, name: str) -> SubTopologyPlan:
        """Returns a sub-topology by its name."""
        return next(sub for sub in self.plan.sub_topologies if sub.name == name)

    def inputs_of(self, task: TaskName) -> list[TopicPartition]:
        """Returns the partitions that a task reads."""
        return [
            TopicPartition(topic, task.partition)
            for topic in self.sub_topology(task.sub_topology).input_topics
            if task.partition < self.partition_counts[topic]
        ]

    def task_names(self, sub: SubTopologyPlan) -> list[TaskName]:
        """Returns the tasks of a sub-topology: one for each partition of its largest input."""
        count = max(self.partition_counts[topic] for topic in sub.input_topics)
        return [TaskName(sub.name, partition) for partition in range(count)]
