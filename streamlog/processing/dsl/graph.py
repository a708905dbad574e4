"""The sheet on which a pipeline's function draws, and the handles' common misuse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from streamlog.processing.declaration import plan_error
from streamlog.processing.location import caller_location

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import Node
    from streamlog.processing.location import Location


class Graph:
    """The nodes of one run of a pipeline's function, in the order in which they were drawn.

    Attributes:
        nodes: The nodes.
        is_drawn: Whether the function has returned.
    """

    def __init__(self, pipeline: str = "pipeline") -> None:
        self.nodes: list[Node] = []
        self.is_drawn = False
        self._pipeline = pipeline
        self._begun: list[Begun] = []

    def add(self, node: Node) -> None:
        """Notes a node."""
        if self.is_drawn:
            raise plan_error(
                f"a step is added to {self._pipeline}, whose function has returned already",
                hint="Streams and tables belong to one run of a pipeline's function: use them "
                "inside it, and make what another pipeline needs a parameter there",
            )
        self.nodes.append(node)

    def begin(self, what: str, hint: str, *, at: Location | None = None) -> Begun:
        """Notes a handle that draws nothing by itself; whatever makes use of it says so there."""
        begun = Begun(what, at or caller_location(), hint)
        self._begun.append(begun)
        return begun

    def unused(self) -> Begun | None:
        """Returns the last handle of which nothing was made; those before may lead to it."""
        return next((each for each in reversed(self._begun) if not each.is_used), None)


@dataclass(slots=True)
class Begun:
    """A handle that draws nothing until a verb is called on it, as `window` returns one."""

    what: str
    location: Location
    hint: str
    is_used: bool = False


def refuse(handle: object, attempt: str, instead: str) -> NoReturn:
    """Raises what teaches: a handle stands for records that will come, and holds none."""
    raise plan_error(
        f"{attempt} of {handle!r}: the pipeline's function runs once, to describe the steps, "
        "and a stream in it holds no records yet",
        hint=instead,
    )
