"""The way through a tree to its steps with async functions; see `operators.calls`.

These steps stand where a chunk can be walked ahead of its processing: behind steps that keep
nothing, and not behind each other. Anywhere else a topic has to come first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.nodes import AsyncMapNode, OperatorNode, WindowNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.plan.tree import Step, Tree


def calls_of(trees: Sequence[Tree]) -> Tree | None:
    """Returns the way to the async steps of a sub-topology's trees, the entry's being the first.

    Raises:
        PlanError: If one of them stands where it cannot be walked to.
    """
    for tree in trees[1:]:
        _refuse_in(tree.steps, tree.root.name)
    entry = trees[0]
    steps = _ways(entry.steps)
    return replace(entry, steps=steps) if steps else None


def _ways(steps: Sequence[Step]) -> tuple[Step, ...]:
    ways: list[Step] = []
    for step in steps:
        if isinstance(step.node, AsyncMapNode):
            _refuse_in(step.children, step.node.name)
            ways.append(replace(step, children=(), topic=None))
        elif isinstance(step.node, OperatorNode | WindowNode):
            _refuse_in(step.children, step.node.name)
        else:
            children = _ways(step.children)
            if children:
                # Nothing is written or shown on the way.
                ways.append(replace(step, children=children, topic=None, shown=False))
    return tuple(ways)


def _refuse_in(steps: Sequence[Step], behind: str) -> None:
    for step in steps:
        if isinstance(step.node, AsyncMapNode):
            raise plan_error(
                f"map_async step {step.node.name} stands behind {behind} without a topic between",
                hint="Put a .repartition() between the two, or both calls into one function",
                at=step.node.location,
            )
        _refuse_in(step.children, behind)
