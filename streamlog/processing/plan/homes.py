"""Where each step with state lives: in the sub-topology of a source, or behind a cut.

A *cut* is a place where records pass a topic. Where cuts have to be follows from the steps with
state. Going up from one, past steps that leave the key alone, one comes to its *anchor*:

* a source: equal keys are together already;
* another step with state: its results keep their key, both live in one place;
* a `key_by`: the cut is there, because that is where the type of the values is best known;
* a `merge`: the cut is there, because only one log gives the records of several one order, and so
  makes what the step does a function of what is in the log.

A step with several inputs whose anchors live in one place lives there too, as a self-join does.
If all of them are sources, and what the step puts out has to wait for the time of all inputs in any
case, as in a join by event time, these are read *together*: by one task for each partition, in the
order of their records' times (see `worker.merge`). Then they have to be partitioned alike.
Otherwise the step itself is the cut: all its inputs write to one topic, each record with the number
of its port, and the topic's log is the order, which costs a topic but has nobody wait for anybody.
Nothing needs to be cut above it for its sake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.nodes import (
    KeyByNode,
    MergeNode,
    Node,
    OperatorNode,
    SourceNode,
    SourcesNode,
    StatefulNode,
    StreamNode,
    TimestampNode,
    WindowNode,
    WithKeyNode,
    parents_of,
)
from streamlog.processing.plan.check import check_cut_type

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.processing.dsl.graph import Graph

Cut: TypeAlias = KeyByNode | MergeNode | OperatorNode
Entry: TypeAlias = SourceNode | SourcesNode | Cut
Anchor: TypeAlias = SourceNode | KeyByNode | MergeNode | WindowNode | OperatorNode


class Homes:
    """Where the steps with state of one graph live.

    Attributes:
        stateful: The steps with state, in an order in which records flow.
        cuts: Where records pass a topic.
    """

    def __init__(self, graph: Graph) -> None:
        # Nodes are made after their parents, so the graph's order is one in which records flow.
        self.stateful: list[StatefulNode] = [
            node for node in graph.nodes if isinstance(node, WindowNode | OperatorNode)
        ]
        self._homes: dict[StatefulNode, SourceNode | Cut] = {}
        self._lags: dict[StatefulNode, int] = {}
        sources = [node for node in graph.nodes if isinstance(node, SourceNode)]
        self._groups: dict[SourceNode, list[SourceNode]] = {each: [each] for each in sources}
        """Of each source: those that are read with it, one list for all of them; first those in
        which others are looked up."""
        self._looked_up: set[SourceNode] = set()
        self._reasons: dict[SourceNode, StatefulNode] = {}
        cuts: dict[Node, Cut] = {
            node: node for node in graph.nodes if isinstance(node, KeyByNode) and node.forced
        }
        for node in self.stateful:
            anchors = [_anchor(node, parent) for parent in parents_of(node)]
            homes = {self._home_of(anchor) for anchor in anchors}
            home: SourceNode | Cut
            if len(homes) == 1:
                home = homes.pop()
            else:
                assert isinstance(node, OperatorNode), "windows have one input"
                together = node.waits and all(isinstance(each, SourceNode) for each in homes)
                home = node
                if together:
                    self._looked_up.update(
                        each for each in anchors[1:] if isinstance(each, SourceNode)
                    )
                    home = self._read_together(homes, node)
            self._homes[node] = home
            if not isinstance(home, SourceNode):
                cuts.setdefault(home, home)
        self.cuts: list[Cut] = [cuts[node] for node in graph.nodes if node in cuts]
        for cut in self.cuts:
            check_cut_type(cut)
        self._roots = self._draw_roots()
        self._sure = self._find_sure()
        for node in self.stateful:
            anchors = [_anchor(node, parent) for parent in parents_of(node)]
            inputs = [] if self._homes[node] is node else [self.lag(anchor) for anchor in anchors]
            self._lags[node] = max(inputs, default=0) + self.own_lag(node)

    def home(self, node: StatefulNode) -> Entry:
        """Returns the root of the sub-topology in which a step lives."""
        home = self._homes[node]
        return self.root_of(home) if isinstance(home, SourceNode) else home

    def root_of(self, source: SourceNode) -> SourceNode | SourcesNode:
        """Returns the root of the sub-topology that reads a source."""
        return self._roots[source]

    def lives_in(self, root: Entry) -> list[StatefulNode]:
        """Returns the steps that live in a sub-topology, in an order in which records flow."""
        return [node for node in self.stateful if self.home(node) is root]

    def lag(self, node: Anchor) -> int:
        """Returns how far what leaves a step may be behind the task's time."""
        return self._lags[node] if isinstance(node, WindowNode | OperatorNode) else 0

    def own_lag(self, node: StatefulNode) -> int:
        """Returns how far a step's results may be behind the time of its input."""
        return own_lag(node, is_sure=self.is_sure(node))

    def clock(self, node: StatefulNode) -> tuple[int, int] | None:
        """Returns when a step is told of time: how far behind its task's, and in which steps."""
        before = self.lag(node) - self.own_lag(node)
        if isinstance(node, WindowNode):
            return self.lag(node), node.windows.size_ms
        tick_ms = node.sure_tick_ms if self.is_sure(node) else node.tick_ms
        return None if tick_ms is None else (before, tick_ms)

    def is_sure(self, node: StatefulNode) -> bool:
        """Whether a step can act on each record as it comes; see `OperatorNode.sure_tick_ms`."""
        return node in self._sure

    def _find_sure(self) -> set[StatefulNode]:
        """Finds the steps for which the order of the records that they get is known to suffice."""
        places = {each: n for group in self._groups.values() for n, each in enumerate(group)}
        causes: dict[StatefulNode, SourceNode] = {}
        for node in self.stateful:
            if isinstance(node, WindowNode) or node.sure_tick_ms is None:
                continue
            asks, answers = (_anchor(node, parent) for parent in node.parents)
            cause = asks if isinstance(asks, SourceNode) else None
            if isinstance(asks, OperatorNode):
                cause = causes.get(asks)
            if (
                cause is not None
                and isinstance(answers, SourceNode)
                and answers in self._groups[cause]
                and places[answers] < places[cause]
                and not _is_retimed(node.parents[0])
            ):
                causes[node] = cause
        return set(causes)

    def _home_of(self, anchor: Anchor) -> SourceNode | Cut:
        home = self._homes[anchor] if isinstance(anchor, WindowNode | OperatorNode) else anchor
        return self._groups[home][0] if isinstance(home, SourceNode) else home

    def _read_together(self, homes: Iterable[SourceNode | Cut], reason: StatefulNode) -> SourceNode:
        """Makes one group of those of several sources; returns who stands for it."""
        sources = [each for each in homes if isinstance(each, SourceNode)]
        group = list(dict.fromkeys(each for one in sources for each in self._groups[one]))
        group.sort(key=lambda each: (each not in self._looked_up, each.topic))
        for source in group:
            self._groups[source] = group
            self._reasons.setdefault(source, reason)
        return group[0]

    def _draw_roots(self) -> dict[SourceNode, SourceNode | SourcesNode]:
        """Makes the roots of what reads sources, once it is known which are read together."""
        roots: dict[SourceNode, SourceNode | SourcesNode] = {}
        for source, group in self._groups.items():
            if len(group) == 1:
                roots[source] = source
            elif source not in roots:
                root = SourcesNode(
                    name="-".join(sorted(each.topic for each in group)),
                    location=self._reasons[source].location,
                    sources=tuple(group),
                )
                roots.update(dict.fromkeys(group, root))
        return roots


def own_lag(node: StatefulNode, *, is_sure: bool = False) -> int:
    """Returns how far a step's results may be behind the time of its input.

    An operator is told of time in ticks, so unless it acts at once it may be behind by one of them
    as well.
    """
    if isinstance(node, WindowNode):
        return node.grace_ms
    return node.lag_ms if node.silent or is_sure else node.lag_ms + (node.tick_ms or 0)


def _is_retimed(node: StreamNode) -> bool:
    """Whether records on the way from their anchor may get another event time."""
    while not isinstance(node, SourceNode | KeyByNode | MergeNode | WindowNode | OperatorNode):
        if isinstance(node, TimestampNode):
            return True
        node = parents_of(node)[0]
    return False


def _anchor(node: StatefulNode, parent: StreamNode) -> Anchor:
    """Where going up from a step ends."""
    while not isinstance(parent, SourceNode | KeyByNode | MergeNode | WindowNode | OperatorNode):
        if isinstance(parent, WithKeyNode) and not _looks_at_single_records(node):
            raise plan_error(
                f"step {node.name} needs equal keys together, but with_key at {parent.location} "
                "leaves records where they are",
                hint="Write .key_by(…) in its place",
                at=node.location,
            )
        parent = parents_of(parent)[0]
    return parent


def _looks_at_single_records(node: StatefulNode) -> bool:
    return isinstance(node, OperatorNode) and not node.needs_key_order
