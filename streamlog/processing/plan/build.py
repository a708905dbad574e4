"""Makes a plan of the graph that a pipeline's function has drawn.

Where records have to pass a topic (a *cut*) follows from the windowed steps. Going up from one,
past steps that leave the key alone, one comes to

* a source: equal keys are together already, the window stands in the source's sub-topology;
* another windowed step: results keep their key, the window stands beside it;
* a `key_by`: the cut is there, because that is where the type of the values is best known;
* a `merge`: the cut is there, because only one log gives the records of several one order, and so
  makes what comes out of the window a function of what is in the log.

A sub-topology is a source or a cut with everything behind it up to the next cut. Behind a cut there
are only the steps on the way to its windows; whatever else follows a `key_by` happens upstream of
the topic, so a record never passes a topic that it does not have to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from streamlog.processing.dsl.nodes import (
    JoinNode,
    KeyByNode,
    MergeNode,
    Node,
    PeekNode,
    SourceNode,
    StreamNode,
    ToNode,
    WindowNode,
    parents_of,
)
from streamlog.processing.plan.check import check_cut_type, check_graph, check_names
from streamlog.processing.plan.plan import Plan, Step, SubTopologyPlan, Tree, Write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.location import Location

Cut: TypeAlias = KeyByNode | MergeNode
Entry: TypeAlias = SourceNode | Cut
Root: TypeAlias = Entry | WindowNode


def build_plan(
    name: str, graph: Graph, location: Location, checkpoint_interval_s: float | None
) -> Plan:
    """Returns the plan of a graph.

    Raises:
        PlanError: If it cannot be run; names the user's line.
    """
    builder = _Builder(name, graph)
    check_graph(graph, builder.children, location)
    subs = builder.sub_topologies()
    check_names(name, graph, [sub.entry.root for sub in subs])
    tables = [node.table for node in graph.nodes if isinstance(node, JoinNode)]
    outputs = [node for node in graph.nodes if isinstance(node, ToNode)]
    return Plan(
        name=name,
        sub_topologies=subs,
        source_topics=tuple(sub.input_topics[0] for sub in subs if not sub.writer_topics),
        tables=tuple(dict.fromkeys(tables)),
        output_topics=tuple(dict.fromkeys(node.topic for node in outputs)),
        output_partitions={n.topic: n.partitions for n in outputs if n.partitions is not None},
        checkpoint_interval_s=checkpoint_interval_s,
    )


class _Builder:
    """Walks one graph."""

    def __init__(self, name: str, graph: Graph) -> None:
        self.name = name
        self.graph = graph
        self.children: dict[Node, list[Node]] = {node: [] for node in graph.nodes}
        for node in graph.nodes:
            for parent in parents_of(node):
                self.children[parent].append(node)
        self.windows = [node for node in graph.nodes if isinstance(node, WindowNode)]
        self.anchors: dict[WindowNode, Root] = {each: _anchor(each) for each in self.windows}
        self.cuts: list[Cut] = []
        for anchor in self.anchors.values():
            if isinstance(anchor, KeyByNode | MergeNode) and anchor not in self.cuts:
                check_cut_type(anchor)
                self.cuts.append(anchor)

    def topic_of(self, cut: Node) -> str:
        return f"{self.name}.{cut.name}.repartition"

    def sub_topologies(self) -> tuple[SubTopologyPlan, ...]:
        """Cuts the graph; those upstream come first."""
        sources = [node for node in self.graph.nodes if isinstance(node, SourceNode)]
        entries: list[Entry] = [*sources, *self.cuts]
        regions = {root: self._region(root) for root in entries}
        writers = {
            cut: [root for root, trees in regions.items() if self.topic_of(cut) in _topics(trees)]
            for cut in self.cuts
        }
        levels: dict[Entry, int] = {}

        def level(root: Entry) -> int:
            if root not in levels:
                above = [] if isinstance(root, SourceNode) else writers[root]
                levels[root] = 1 + max(map(level, above)) if above else 0
            return levels[root]

        ordered = sorted(regions, key=lambda root: (level(root), self.region_name(root)))
        return tuple(
            self._sub_topology(root, level(root), regions[root], writers) for root in ordered
        )

    def region_name(self, root: Entry) -> str:
        return root.topic if isinstance(root, SourceNode) else root.name

    def input_topic(self, root: Entry) -> str:
        return root.topic if isinstance(root, SourceNode) else self.topic_of(root)

    def _sub_topology(
        self,
        root: Entry,
        level: int,
        trees: list[Tree],
        writers: dict[Cut, list[Entry]],
    ) -> SubTopologyPlan:
        steps = list(_steps(trees))
        upstream: list[Entry] = []
        if isinstance(root, KeyByNode | MergeNode):
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
            input_topics=(self.input_topic(root),),
            upstream=tuple(self.region_name(each) for each in upstream),
            writer_topics=tuple(self.input_topic(each) for each in upstream),
            changelog_topic=f"{self.name}.{name}.changelog",
            repartition_topics=tuple(write.topic for write in mine),
            output_topics=tuple(dict.fromkeys(topics)),
            table_topics=tuple(dict.fromkeys(join.table.topic for join in joins)),
            entry=trees[0],
            windows=tuple(trees[1:]),
            writes=mine,
        )

    def _write(self, root: Entry, cut: Cut, trees: list[Tree], writers: list[Entry]) -> Write:
        topic = self.topic_of(cut)
        lags = [tree.lag_ms for tree in trees if topic in _topics([tree])]
        topics = sorted(self.input_topic(each) for each in writers)
        return Write(
            topic=topic,
            lag_ms=max(lags, default=0),
            single=len(lags) == 1,
            input_index=topics.index(self.input_topic(root)) if root in writers else -1,
        )

    # Trees.

    def _region(self, root: Entry) -> list[Tree]:
        """The trees of a sub-topology: its entry's, then those of its windows as results flow."""
        behind_cut = isinstance(root, KeyByNode | MergeNode)
        grow = self._grow_to_windows if behind_cut else self._grow
        trees = [Tree(root=root, steps=grow(root, root), lag_ms=0)]
        for tree in trees:
            for node in self.windows:
                if self.anchors[node] is tree.root:
                    lag_ms = tree.lag_ms + node.grace_ms
                    trees.append(Tree(root=node, steps=self._grow(node, node), lag_ms=lag_ms))
        return trees

    def _grow(self, node: Node, root: Root) -> tuple[Step, ...]:
        """What follows a node in the tree of a source or a window, up to windows and topics."""
        steps: list[Step] = []
        for child in self.children[node]:
            if isinstance(child, WindowNode):
                if self.anchors[child] is root:
                    steps.append(Step(node=child, children=()))
                continue
            children = self._grow(child, root)
            topic = self.topic_of(child) if child in self.cuts else None
            if children or topic or self._is_end(child):
                steps.append(Step(node=child, children=children, topic=topic))
        return tuple(steps)

    def _grow_to_windows(self, node: Node, root: Root) -> tuple[Step, ...]:
        """What follows a cut on the way to its own windows."""
        steps: list[Step] = []
        for child in self.children[node]:
            if isinstance(child, WindowNode) and self.anchors[child] is root:
                steps.append(Step(node=child, children=()))
            elif not isinstance(child, WindowNode | KeyByNode | MergeNode | ToNode):
                children = self._grow_to_windows(child, root)
                if children:
                    shown = not self._is_grown_upstream(child)
                    steps.append(Step(node=child, children=children, shown=shown))
        return tuple(steps)

    def _is_end(self, node: Node) -> bool:
        return isinstance(node, ToNode) or (isinstance(node, PeekNode) and not self.children[node])

    def _is_grown_upstream(self, node: Node) -> bool:
        """Whether a step behind a cut is upstream of it as well, for the sake of something else."""
        return self._is_end(node) or any(
            child in self.cuts or self._is_grown_upstream(child)
            for child in self.children[node]
            if not isinstance(child, WindowNode)
        )


def _anchor(window: WindowNode) -> Root:
    """Where going up from a windowed step ends."""
    node: StreamNode = window.parent
    while not isinstance(node, SourceNode | KeyByNode | MergeNode | WindowNode):
        node = parents_of(node)[0]
    return node


def _steps(trees: Iterable[Tree]) -> Iterator[Step]:
    pending = [step for tree in trees for step in tree.steps]
    while pending:
        step = pending.pop(0)
        yield step
        pending.extend(step.children)


def _topics(trees: Iterable[Tree]) -> set[str]:
    """The repartition topics that trees write."""
    return {step.topic for step in _steps(trees) if step.topic is not None}
