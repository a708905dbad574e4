"""A pipeline's plan: the sub-topologies it is cut into, and the topics between them.

A sub-topology is everything that happens to a record of one topic without passing another topic.
Sources that meet in a join by event time are read together, by one sub-topology. Its tasks, one for
each partition of what it reads, run anywhere, apart from each other. Its steps form trees (see
`tree`). Where trees with different lags write one topic, the largest holds.

A plan knows no partition counts: those belong to a cluster, and come in with `topic_specs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.nodes import OperatorNode
from streamlog.processing.dsl.options import STOP
from streamlog.processing.failures.policy import topic_of
from streamlog.processing.operators.tables import TableView
from streamlog.processing.plan.topics import (
    COMPACTED,
    COMPACTED_OUTPUT,
    DEAD_LETTERS,
    KEPT,
    TopicSpec,
)
from streamlog.processing.plan.unread import is_unread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.dsl.nodes import AsyncMapNode, StatefulNode, TableNode
    from streamlog.processing.dsl.options import PipelineOptions
    from streamlog.processing.errors import PlanError
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.processing.plan.tree import Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """A repartition topic that a sub-topology writes."""

    topic: str
    lag_ms: int
    """The largest of the trees that write it."""
    single: bool
    """Whether one tree alone writes it."""
    input_index: int
    """Of this sub-topology among the topic's writers."""
    unread: bool = False
    """Whether nobody looks at the values, so that none are written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubTopologyPlan:
    """One sub-topology, as a worker and a task need it."""

    pipeline: str
    name: str
    """Of the source topic, or of the `key_by` or `merge` behind whose topic it stands."""
    level: int
    """0 reads a source; higher levels read what lower ones write."""
    input_topics: tuple[str, ...]
    """One, or sources that are partitioned alike and read together."""
    upstream: tuple[str, ...]
    """The sub-topologies that write the input; none when it is a source."""
    writer_topics: tuple[str, ...]
    """The input topics of `upstream`: a writer's id is an index into these, and a partition."""
    changelog_topic: str
    repartition_topics: tuple[str, ...]
    """Those it writes."""
    repartition_partitions: int | None
    """How many its input has, if that is a repartition topic and the user says so."""
    output_topics: tuple[str, ...]
    table_topics: tuple[str, ...]
    """The global tables it reads."""
    entry: Tree
    calls: Tree | None
    """The way to the steps with async functions, if the entry's tree has any."""
    async_steps: tuple[AsyncMapNode, ...]
    timed: tuple[Tree, ...]
    """Behind each step that acts as time passes, in an order in which results flow."""
    stateful: tuple[StatefulNode, ...]
    """The steps with state, likewise."""
    sure: frozenset[StatefulNode]
    """Those of them that can act on each record as it comes: see `OperatorNode.sure_tick_ms`."""
    writes: tuple[Write, ...]
    on_error: FailurePolicy = STOP
    """What becomes of its records that fail."""

    @property
    def dead_letter_topic(self) -> str | None:
        """Where records that fail go, if they go anywhere."""
        return topic_of(self.on_error, self.pipeline)

    @property
    def layout(self) -> dict[str, str]:
        """What the local state looks like, by step; state of another layout cannot be used."""
        shapes = {node.name: _layout_of(node) for node in self.stateful}
        if self.writer_topics:
            without = ", without values" if is_unread(self.entry) else ""
            shapes[f"{self.name} (input)"] = f"written from {' '.join(self.writer_topics)}{without}"
        if len(self.input_topics) > 1:
            shapes[f"{self.name} (input)"] = f"read together {' '.join(self.input_topics)}"
        return shapes


def _not_partitioned_alike(sub: SubTopologyPlan, counts: Mapping[str, int]) -> PlanError:
    having = ", ".join(f"{topic} has {counts[topic]}" for topic in sub.input_topics)
    return plan_error(
        f"this joins topics that are not partitioned alike ({having} partitions), so equal keys "
        "are not together",
        hint="Write .repartition() behind the stream in front of this, which takes the records "
        "through a topic of the pipeline's own; or make the topics anew with equal numbers",
        at=sub.entry.root.location,
    )


def _layout_of(node: StatefulNode) -> str:
    if isinstance(node, OperatorNode):
        return node.layout
    fields = " ".join(
        f"{spec.field}={spec.kind}" if spec.field else spec.kind for spec in node.aggregates
    )
    return f"tumbling({node.windows.size_ms} ms) {fields}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a pipeline's function described."""

    name: str
    sub_topologies: tuple[SubTopologyPlan, ...]
    """Those upstream first."""
    source_topics: tuple[str, ...]
    """Topics that must exist, global tables left out."""
    tables: tuple[TableNode, ...]
    output_topics: tuple[str, ...]
    output_partitions: Mapping[str, int]
    """Where `to` names a number of partitions."""
    compacted_topics: frozenset[str]
    """Those of the output topics that hold tables."""
    options: PipelineOptions

    @property
    def dead_letter_topics(self) -> tuple[str, ...]:
        """The topics of dead letters."""
        topics = (sub.dead_letter_topic for sub in self.sub_topologies)
        return tuple(dict.fromkeys(topic for topic in topics if topic is not None))

    @property
    def table_topics(self) -> tuple[str, ...]:
        """The topics of the global tables; these must exist too."""
        return tuple(dict.fromkeys(table.topic for table in self.tables))

    def topic_specs(self, partition_counts: Mapping[str, int]) -> list[TopicSpec]:
        """Returns the topics to create if they are missing.

        A repartition topic has as many partitions as the largest topic that feeds it, a changelog
        one for each task, a topic of results as many as the largest source.

        Args:
            partition_counts: Of the sources.

        Raises:
            PlanError: If sources that are read together have different numbers of partitions.
        """
        counts = dict(partition_counts)
        for sub in self.sub_topologies:
            if len({counts[each] for each in sub.input_topics if each in counts}) > 1:
                raise _not_partitioned_alike(sub, counts)
        specs: list[TopicSpec] = []

        def want(name: str, count: int, configs: Mapping[str, str], *, fixed: bool) -> None:
            counts[name] = count
            specs.append(TopicSpec(name=name, partition_count=count, configs=configs, fixed=fixed))

        for sub in self.sub_topologies:
            topic = sub.input_topics[0]
            if sub.writer_topics:
                largest = max(counts[each] for each in sub.writer_topics)
                want(topic, sub.repartition_partitions or largest, KEPT, fixed=True)
            want(sub.changelog_topic, counts[topic], COMPACTED, fixed=True)
        largest = max(counts[topic] for topic in self.source_topics)
        for topic in self.output_topics:
            configs = COMPACTED_OUTPUT if topic in self.compacted_topics else KEPT
            want(topic, self.output_partitions.get(topic, largest), configs, fixed=False)
        for topic in self.dead_letter_topics:
            want(topic, largest, DEAD_LETTERS, fixed=False)
        return specs

    def new_tables(self) -> dict[str, TableView]:
        """Returns empty views of the global tables, by topic, to fill before the first task."""
        return {
            table.topic: TableView(table.topic, table.serde, skips=table.skips)
            for table in self.tables
        }
