"""The sheet on which a pipeline's function draws, and the handles' common misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from streamlog.processing.declaration import plan_error

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import Node


class Graph:
    """The nodes of one run of a pipeline's function, in the order in which they were drawn."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []

    def add(self, node: Node) -> None:
        """Notes a node."""
        self.nodes.append(node)


def refuse(handle: object, attempt: str, instead: str) -> NoReturn:
    """Raises what teaches: a handle stands for records that will come, and holds none."""
    raise plan_error(
        f"{attempt} of {handle!r}: the pipeline's function runs once, to describe the steps, "
        "and a stream in it holds no records yet",
        hint=instead,
    )
