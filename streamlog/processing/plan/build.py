"""Makes a plan of the graph that a pipeline's function has drawn.

`homes` says where the steps with state live, and so where records have to pass a topic (a *cut*).
A sub-topology is a source or a cut with everything behind it up to the next cut. Behind a cut that
was made for a step with state there are only the steps on the way to it, and what follows it;
whatever else follows a `key_by` happens upstream of the topic, so a record never passes a topic
that it does not have to. Behind a cut that the user asked for (`repartition`) there is everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.nodes import (
    AsyncMapNode,
    JoinNode,
    KeyByNode,
    MergeNode,
    Node,
    OperatorNode,
    PeekNode,
    SourceNode,
    SourcesNode,
    ToNode,
    WindowNode,
    parents_of,
)
from streamlog.processing.plan.asynchronous import calls_of
from streamlog.processing.plan.check import check_graph, check_names
from streamlog.processing.plan.check_topics import check_topics
from streamlog.processing.plan.homes import Homes
from streamlog.processing.plan.plan import Plan, SubTopologyPlan, Write
from streamlog.processing.plan.tree import Step, Tree
from streamlog.processing.plan.unread import is_unread

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.options import PipelineOptions
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.processing.location import Location
    from streamlog.processing.plan.homes import Cut, Entry


def build_plan(name: str, graph: Graph, location: Location, options: PipelineOptions) -> Plan:
    """Returns the plan of a graph.

    Raises:
        PlanError: If it cannot be run; names the user's line.
    """
    children: dict[Node, list[tuple[Node, int]]] = {node: [] for node in graph.nodes}
    for node in graph.nodes:
        for port, parent in enumerate(parents_of(node)):
            children[parent].append((node, port))
    check_graph(graph, children, location)
    builder = _Builder(name, graph, children, options.on_error)
    subs = builder.sub_topologies()
    check_names(name, graph, [sub.entry.root for sub in subs])
    tables = [node.table for node in graph.nodes if isinstance(node, JoinNode)]
    outputs = [node for node in graph.nodes if isinstance(node, ToNode)]
    plan = Plan(
        name=name,
        sub_topologies=subs,
        source_topics=tuple(
            topic for sub in subs if not sub.writer_topics for topic in sub.input_topics
        ),
        tables=tuple(dict.fromkeys(tables)),
        output_topics=tuple(dict.fromkeys(node.topic for node in outputs)),
        output_partitions={n.topic: n.partitions for n in outputs if n.partitions is not None},
        compacted_topics=frozenset(node.topic for node in outputs if node.compacted),
        options=options,
    )
    check_topics(plan, graph, location)
    return plan


class _Builder:
    """Cuts one graph."""

    def __init__(
        self,
        name: str,
        graph: Graph,
        children: dict[Node, list[tuple[Node, int]]],
        on_error: FailurePolicy,
    ) -> None:
        self.name = name
        self.on_error = on_error
        self.graph = graph
        self.children = children
        self.homes = Homes(graph)
        self.cuts = self.homes.cuts

    def topic_of(self, cut: Node) -> str:
        return f"{self.name}.{cut.name}.repartition"

    def sub_topologies(self) -> tuple[SubTopologyPlan, ...]:
        """Cuts the graph; those upstream come first."""
        sources = [node for node in self.graph.nodes if isinstance(node, SourceNode)]
        entries: list[Entry] = [*dict.fromkeys(map(self.homes.root_of, sources)), *self.cuts]
        regions = {root: self._region(root) for root in entries}
        writers = {
            cut: [root for root, trees in regions.items() if self.topic_of(cut) in _topics(trees)]
            for cut in self.cuts
        }
        levels: dict[Entry, int] = {}

        def level(root: Entry) -> int:
            if root not in levels:
                above = [] if isinstance(root, SourceNode | SourcesNode) else writers[root]
                levels[root] = 1 + max(map(level, above)) if above else 0
            return levels[root]

        ordered = sorted(regions, key=lambda root: (level(root), self.region_name(root)))
        return tuple(
            self._sub_topology(root, level(root), regions[root], writers) for root in ordered
        )

    def region_name(self, root: Entry) -> str:
        return root.topic if isinstance(root, SourceNode) else root.name

    def input_topics(self, root: Entry) -> tuple[str, ...]:
        if isinstance(root, SourcesNode):
            return tuple(source.topic for source in root.sources)
        return (root.topic if isinstance(root, SourceNode) else self.topic_of(root),)

    def input_topic(self, root: Entry) -> str:
        """The first, which stands for all of them: they have equally many partitions."""
        return self.input_topics(root)[0]

    def _sub_topology(
        self,
        root: Entry,
        level: int,
        trees: list[Tree],
        writers: dict[Cut, list[Entry]],
    ) -> SubTopologyPlan:
        steps = list(_steps(trees))
        upstream: list[Entry] = []
        if not isinstance(root, SourceNode | SourcesNode):
            upstream = sorted(writers[root], key=self.input_topic)
        name = self.region_name(root)
        joins = [step.node for step in steps if isinstance(step.node, JoinNode)]
        topics = [step.node.topic for step in steps if isinstance(step.node, ToNode)]
        writes = tuple(self._write(root, cut, trees, writers[cut]) for cut in self.cuts)
        mine = tuple(each for each in writes if each.input_index >= 0)
        return SubTopologyPlan(
            pipeline=self.name,
            name=name,
            level=level,
            input_topics=self.input_topics(root),
            upstream=tuple(self.region_name(each) for each in upstream),
            writer_topics=tuple(self.input_topic(each) for each in upstream),
            changelog_topic=f"{self.name}.{name}.changelog",
            repartition_topics=tuple(write.topic for write in mine),
            repartition_partitions=getattr(root, "partitions", None),
            output_topics=tuple(dict.fromkeys(topics)),
            table_topics=tuple(dict.fromkeys(join.table.topic for join in joins)),
            entry=trees[0],
            calls=calls_of(trees),
            async_steps=tuple(
                dict.fromkeys(step.node for step in steps if isinstance(step.node, AsyncMapNode))
            ),
            timed=tuple(trees[1:]),
            stateful=tuple(self.homes.lives_in(root)),
            sure=frozenset(filter(self.homes.is_sure, self.homes.lives_in(root))),
            writes=mine,
            on_error=self._policy(root),
        )

    def _policy(self, root: Entry) -> FailurePolicy:
        """What becomes of records that fail."""
        sources = root.sources if isinstance(root, SourcesNode) else (root,)
        policies = [getattr(each, "on_error", None) or self.on_error for each in sources]
        for source, policy in zip(sources, policies, strict=True):
            if policy != policies[0]:
                raise plan_error(
                    f"inputs {sources[0].name} and {source.name} are read together, by one task "
                    "for each partition, but say differently what becomes of records that fail",
                    hint="Write one on_error= for the pipeline, or the same at both inputs",
                    at=root.location,
                )
        return policies[0]

    def _write(self, root: Entry, cut: Cut, trees: list[Tree], writers: list[Entry]) -> Write:
        topic = self.topic_of(cut)
        lags = [lag for tree in trees for lag in _lags(tree.steps, topic, tree.lag_ms)]
        topics = sorted(self.input_topic(each) for each in writers)
        return Write(
            topic=topic,
            lag_ms=max(lags, default=0),
            single=len([tree for tree in trees if topic in _topics([tree])]) == 1,
            input_index=topics.index(self.input_topic(root)) if root in writers else -1,
            unread=is_unread(self._region(cut)[0]),
        )

    # Trees.

    def _region(self, root: Entry) -> list[Tree]:
        """The trees of a sub-topology: its entry's, then those of steps that act as time passes."""
        if isinstance(root, OperatorNode):
            steps: tuple[Step, ...] = (self._operator(root, root, -1),)
        elif isinstance(root, SourcesNode):
            steps = tuple(
                Step(node=source, children=self._grow(source, root), port=number)
                for number, source in enumerate(root.sources)
            )
        elif isinstance(root, SourceNode) or (isinstance(root, KeyByNode) and root.forced):
            steps = self._grow(root, root)
        else:
            steps = self._grow_to_state(root, root)
        trees = [Tree(root=root, steps=steps, lag_ms=0)]
        trees += [
            Tree(
                root=node,
                steps=self._grow(node, root),
                lag_ms=self.homes.lag(node),
                clock=self.homes.clock(node),
            )
            for node in self.homes.lives_in(root)
            if isinstance(node, WindowNode) or node.tick_ms is not None or node.wall
        ]
        return trees

    def _grow(self, node: Node, root: Entry) -> tuple[Step, ...]:
        """What follows a node in one go, up to topics and to windows."""
        steps: list[Step] = []
        for child, port in self.children[node]:
            topic = self.topic_of(child) if child in self.cuts else None
            if isinstance(child, WindowNode):
                if self.homes.home(child) is root:
                    steps.append(Step(node=child, children=()))
            elif isinstance(child, OperatorNode):
                if topic is not None:
                    steps.append(Step(node=child, children=(), topic=topic, port=port))
                elif self.homes.home(child) is root:
                    steps.append(self._operator(child, root, port))
            else:
                forced = isinstance(child, KeyByNode) and child.forced
                children = () if forced else self._grow(child, root)
                if children or topic or self._is_end(child):
                    steps.append(Step(node=child, children=children, topic=topic))
        return tuple(steps)

    def _grow_to_state(self, node: Node, root: Entry) -> tuple[Step, ...]:
        """What follows a cut on the way to the steps for which it was made."""
        steps: list[Step] = []
        for child, port in self.children[node]:
            if isinstance(child, WindowNode | OperatorNode):
                if self.homes.home(child) is root:
                    windowed = isinstance(child, WindowNode)
                    here = Step(node=child, children=())
                    steps.append(here if windowed else self._operator(child, root, port))
            elif not isinstance(child, KeyByNode | MergeNode | ToNode):
                children = self._grow_to_state(child, root)
                if children:
                    shown = not self._is_grown_upstream(child)
                    steps.append(Step(node=child, children=children, shown=shown))
        return tuple(steps)

    def _operator(self, node: Node, root: Entry, port: int) -> Step:
        """An operator in the tree of a record: what it puts out at once goes on there."""
        assert isinstance(node, OperatorNode)
        lag_ms = self.homes.own_lag(node)
        return Step(node=node, children=self._grow(node, root), port=port, lag_ms=lag_ms)

    def _is_end(self, node: Node) -> bool:
        return isinstance(node, ToNode) or (isinstance(node, PeekNode) and not self.children[node])

    def _is_grown_upstream(self, node: Node) -> bool:
        """Whether a step behind a cut is upstream of it as well, for the sake of something else."""
        return self._is_end(node) or any(
            child in self.cuts or self._is_grown_upstream(child)
            for child, _ in self.children[node]
            if not isinstance(child, WindowNode)
            and (not isinstance(child, OperatorNode) or child in self.cuts)
        )


def _steps(trees: Iterable[Tree]) -> Iterator[Step]:
    pending = [step for tree in trees for step in tree.steps]
    while pending:
        step = pending.pop(0)
        yield step
        pending.extend(step.children)


def _topics(trees: Iterable[Tree]) -> set[str]:
    """The repartition topics that trees write."""
    return {step.topic for step in _steps(trees) if step.topic is not None}


def _lags(steps: Iterable[Step], topic: str, lag_ms: int) -> Iterator[int]:
    """How far behind time records may be where steps write a topic."""
    for step in steps:
        if step.topic == topic:
            yield lag_ms
        yield from _lags(step.children, topic, lag_ms + step.lag_ms)
