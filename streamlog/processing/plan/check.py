"""What a graph is refused for: streams that go nowhere, names that collide, unknown types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.declaration import TOPIC_NAME_LENGTH_MAX, plan_error
from streamlog.processing.dsl.kept_types import kept_serde
from streamlog.processing.dsl.nodes import (
    FilterNode,
    KeyByNode,
    MergeNode,
    Node,
    OperatorNode,
    PeekNode,
    SideNode,
    SourceNode,
    TableNode,
    ToNode,
    WindowNode,
)
from streamlog.processing.state.keys import store_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.location import Location


def check_graph(
    graph: Graph, children: Mapping[Node, Sequence[object]], location: Location
) -> None:
    """Refuses steps without an end and inputs without a use."""
    unused = graph.unused()
    if unused is not None:
        raise plan_error(f"{unused.what} is not used", hint=unused.hint, at=unused.location)
    for node in graph.nodes:
        if isinstance(node, SourceNode) and not children[node]:
            raise plan_error(
                f"input {node.name} is not used",
                hint=f"Remove the parameter, or write: {node.name}.to(…)",
                at=node.location,
            )
        optional = isinstance(node, SideNode) or (isinstance(node, FilterNode) and node.optional)
        if not (children[node] or optional or isinstance(node, ToNode | PeekNode | TableNode)):
            raise plan_error(
                f"what comes out of step {node.name} goes nowhere",
                hint='End it with .to("topic")',
                at=node.location,
            )
    _check_inputs(graph, location)
    if not any(isinstance(node, SourceNode) for node in graph.nodes):
        raise plan_error(
            "only global tables are read, so nothing ever happens",
            hint="Declare a Stream[…] or a Table[…] among the inputs",
            at=location,
        )


def _check_inputs(graph: Graph, location: Location) -> None:
    first: dict[tuple[type, str], SourceNode | TableNode] = {}
    for node in graph.nodes:
        if isinstance(node, SourceNode | TableNode):
            other = first.setdefault((type(node), node.topic), node)
            if other is not node:
                raise plan_error(
                    f"inputs {other.name} and {node.name} read the same topic {node.topic}",
                    hint="Use one parameter twice: each verb on it begins another branch",
                    at=location,
                )


def check_cut_type(cut: KeyByNode | MergeNode | OperatorNode) -> None:
    """Refuses a repartition whose values could not be read back."""
    if not cut.name:
        raise plan_error(
            "this key_by needs a name for its topic and state, and none can be derived",
            hint='Write: .key_by(…, name="by-something")',
            at=cut.location,
        )
    for each in cut.parents if isinstance(cut, OperatorNode) else (cut,):
        whose = "values" if each is cut else f"values of {each.name} ({each.location})"
        kept_serde(each.value_type, f"{whose} pass a topic at {cut.name}", at=cut.location)


def check_names(pipeline: str, graph: Graph, roots: Sequence[Node]) -> None:
    """Refuses two steps of one name where the name is that of a topic or of state."""
    named: dict[str, Node] = {}
    for root in roots:
        name = root.topic if isinstance(root, SourceNode) else root.name
        _claim(named, name, root, "records pass a topic here")
        longest = f"{pipeline}.{name}.repartition"
        if len(longest) > TOPIC_NAME_LENGTH_MAX:
            raise plan_error(
                f"the topic {longest} would have more than {TOPIC_NAME_LENGTH_MAX} characters",
                hint="Give the pipeline or the step a shorter name=",
                at=root.location,
            )
    stores: dict[str, Node] = {}
    ids: dict[bytes, str] = {}
    for node in graph.nodes:
        if isinstance(node, WindowNode | OperatorNode):
            _claim(stores, node.name, node, "it has state")
            other = ids.setdefault(store_id(node.name), node.name)
            if other != node.name:
                raise plan_error(
                    f"the names {other} and {node.name} have the same hash, by bad luck",
                    hint="Give one of the steps another name=",
                    at=node.location,
                )


def _claim(named: dict[str, Node], name: str, node: Node, reason: str) -> None:
    other = named.setdefault(name, node)
    if other is not node:
        raise plan_error(
            f"two steps are called {name}, here and at {other.location}; a step needs a name of "
            f"its own where {reason}",
            hint='Give one of them another: name="…"',
            at=node.location,
        )
