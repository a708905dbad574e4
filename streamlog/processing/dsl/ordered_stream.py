"""A stream in the order of event time, and what came too late for it."""

from __future__ import annotations

from typing import TypeVar

from streamlog.processing.dsl.checks import check_name
from streamlog.processing.dsl.nodes import OperatorNode, SideNode
from streamlog.processing.dsl.stream import Stream
from streamlog.processing.location import caller_location
from streamlog.processing.operators.in_order import LATE

T = TypeVar("T")


class OrderedStream(Stream[T]):
    """What `Stream.in_order` returns."""

    def late(self, *, name: str | None = None) -> Stream[T]:
        """The records that came too late to be put in order, as they came."""
        assert isinstance(self.node, OperatorNode)
        node = SideNode(
            name=check_name(name, None, f"late-{self.node.name}"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            exit=LATE,
        )
        self.graph.add(node)
        return Stream(self.graph, node)
