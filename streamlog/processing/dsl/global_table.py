"""Global tables as the user writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NoReturn, TypeVar

from streamlog.processing.dsl.graph import refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import TableNode

T = TypeVar("T")


class GlobalTable(Generic[T]):
    """A small reference table, of which every worker keeps a whole copy.

    The newest record of a key holds; a null value removes the key. It is loaded to its end before
    the first event, and has no time: an event meets whatever holds when it is processed.
    """

    def __init__(self, graph: Graph, node: TableNode) -> None:
        self.graph = graph
        self.node = node

    def __repr__(self) -> str:
        return f"<global table {self.node.topic} at {self.node.location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", "To use it: stream.join(table, lambda value, row: …)")

    def __len__(self) -> NoReturn:
        refuse(self, "the length", "To use it: stream.join(table, lambda value, row: …)")

    def __iter__(self) -> Iterator[T]:
        refuse(self, "iteration", "To use it: stream.join(table, lambda value, row: …)")

    def __getitem__(self, key: object) -> T:
        refuse(self, "a row", "To look one up: stream.join(table, lambda value, row: …, key=…)")
