"""What a fused function is compiled with: everything of a task that its steps use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.dsl.nodes import AsyncMapNode
    from streamlog.processing.operators.calls import Answers, Call
    from streamlog.processing.operators.operator import Operator
    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.state.rows import WindowRows


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a tree's steps use beside the records.

    Attributes:
        tables: The global tables, by topic.
        rows: The rows of plain windows, by step.
        operators: The other steps with state, by step.
        closed_through: By step: windows that end here or before are closed.
        partition: The task's.
        answers: What takes the answer of an async function, by step, for the record of an index.
        unread: Topics whose values nobody looks at.
        calls: Where what is to be called goes; then the tree's async steps only note that.
    """

    tables: Mapping[str, TableView]
    rows: Mapping[str, WindowRows]
    operators: Mapping[str, Operator]
    closed_through: Mapping[str, int]
    partition: int
    answers: Mapping[AsyncMapNode, Answers]
    unread: frozenset[str] = frozenset()
    calls: list[Call] | None = None
