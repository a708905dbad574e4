"""Where each step with state lives: in the sub-topology of a source, or behind a cut.

A *cut* is a place where records pass a topic. Where cuts have to be follows from the steps with
state. Going up from one, past steps that leave the key alone, one comes to its *anchor*:

* a source: equal keys are together already;
* another step with state: its results keep their key, both live in one place;
* a `key_by`: the cut is there, because that is where the type of the values is best known;
* a `merge`: the cut is there, because only one log gives the records of several one order, and so
  makes what the step does a function of what is in the log.

A step with several inputs whose anchors live in one place lives there too, as a self-join does.
If they do not, the step itself is the cut: all its inputs write to one topic, each record with the
number of its port, and the topic's log is the order. Nothing needs to be cut above it for its sake.
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
    StatefulNode,
    StreamNode,
    WindowNode,
    WithKeyNode,
    parents_of,
)
from streamlog.processing.plan.check import check_cut_type

if TYPE_CHECKING:
    from streamlog.processing.dsl.graph import Graph

Cut: TypeAlias = KeyByNode | MergeNode | OperatorNode
Entry: TypeAlias = SourceNode | Cut
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
        self._homes: dict[StatefulNode, Entry] = {}
        self._lags: dict[StatefulNode, int] = {}
        cuts: dict[Node, Cut] = {
            node: node for node in graph.nodes if isinstance(node, KeyByNode) and node.forced
        }
        for node in self.stateful:
            anchors = [_anchor(node, parent) for parent in parents_of(node)]
            homes = {self._home_of(anchor) for anchor in anchors}
            home: Entry
            if len(homes) == 1:
                home = homes.pop()
            else:
                assert isinstance(node, OperatorNode), "windows have one input"
                home = node
            self._homes[node] = home
            if not isinstance(home, SourceNode):
                cuts.setdefault(home, home)
            inputs = [] if home is node else [self.lag(anchor) for anchor in anchors]
            self._lags[node] = max(inputs, default=0) + own_lag(node)
        self.cuts: list[Cut] = [cuts[node] for node in graph.nodes if node in cuts]
        for cut in self.cuts:
            check_cut_type(cut)

    def home(self, node: StatefulNode) -> Entry:
        """Returns the root of the sub-topology in which a step lives."""
        return self._homes[node]

    def lives_in(self, root: Entry) -> list[StatefulNode]:
        """Returns the steps that live in a sub-topology, in an order in which records flow."""
        return [node for node in self.stateful if self._homes[node] is root]

    def lag(self, node: Anchor) -> int:
        """Returns how far what leaves a step may be behind the task's time."""
        return self._lags[node] if isinstance(node, WindowNode | OperatorNode) else 0

    def _home_of(self, anchor: Anchor) -> Entry:
        return self._homes[anchor] if isinstance(anchor, WindowNode | OperatorNode) else anchor


def own_lag(node: StatefulNode) -> int:
    """Returns how far a step's results may be behind the time of its input.

    An operator is told of time in ticks, so it may be behind by one of them as well.
    """
    if isinstance(node, WindowNode):
        return node.grace_ms
    return node.lag_ms if node.silent else node.lag_ms + (node.tick_ms or 0)


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
