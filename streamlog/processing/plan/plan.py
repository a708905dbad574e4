"""A pipeline's plan: the sub-topologies it is cut into, and the topics between them.

A sub-topology is everything that happens to a record of one topic without passing another topic.
Its tasks, one for each partition of that topic, run anywhere, apart from each other.

A plan knows no partition counts: those belong to a cluster, and come in with `topic_specs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.topics import TopicSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class SubTopologyPlan:
    """One sub-topology, as a worker and a task need it."""

    name: str
    """Of the source topic, or of the `key_by` or `merge` behind whose topic it stands."""
    level: int
    """0 reads a source; higher levels read what lower ones write."""
    input_topics: tuple[str, ...]
    """Exactly one."""
    upstream: tuple[str, ...]
    """The sub-topologies that write the input; none when it is a source."""
    writer_topics: tuple[str, ...]
    """The input topics of `upstream`: a writer's id is an index into these, and a partition."""
    changelog_topic: str
    repartition_topics: tuple[str, ...]
    """Those it writes."""
    output_topics: tuple[str, ...]
    table_topics: tuple[str, ...]
    """The global tables it reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pipeline's function described."""

    name: str
    sub_topologies: tuple[SubTopologyPlan, ...]
    """Those upstream first."""
    source_topics: tuple[str, ...]
    """Topics that must exist, global tables left out."""
    table_topics: tuple[str, ...]
    """Global tables; these must exist too."""
    output_topics: tuple[str, ...]
    checkpoint_interval_s: float | None

    def topic_specs(self, partition_counts: Mapping[str, int]) -> list[TopicSpec]:
        """Returns the topics to create if they are missing, given those of the sources."""
        del partition_counts
        return []

    def new_tables(self) -> dict[str, TableView]:
        """Returns empty views of the global tables, by topic, to be filled before the first task."""
        return {}
