"""Makes the stream behind a new step, for the modules whose verbs are parts of `Stream`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import StreamNode
    from streamlog.processing.dsl.stream import Stream


def add_step(graph: Graph, node: StreamNode) -> Stream[Any]:
    """Adds a step; returns what comes out of it."""
    # `Stream` is made of the modules that call this one.
    from streamlog.processing.dsl.stream import Stream

    graph.add(node)
    return Stream(graph, node)
