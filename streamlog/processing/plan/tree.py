"""The steps of a sub-topology, as trees.

One begins where records come in, and one behind each step that acts as time passes, for example
when a window closes. What such a step puts out at once, because a record came, runs through the
same steps inside the tree of that record.

Time lags behind steps that wait: a window's results come out `grace` after its end. The lag of a
tree is the sum of the lags on the way to it; stream time less the lag is what a later step may rely
on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import Node, StatefulNode
    from streamlog.processing.plan.homes import Entry
    from streamlog.processing.repartition.writers import StepClock


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One node in a tree, with what follows it there."""

    node: Node
    children: tuple[Step, ...]
    topic: str | None = None
    """The repartition topic that records are written to here."""
    port: int = 0
    """Of an operator: which of its inputs this is; -1: the record says so itself."""
    lag_ms: int = 0
    """How far what leaves the step may be behind the time of what enters it."""
    shown: bool = True
    """Of a `peek`: whether its function is called here, and not upstream already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The steps that follow a root in one go."""

    root: Entry | StatefulNode
    steps: tuple[Step, ...]
    lag_ms: int
    """How far stream time has to be ahead for what leaves the root."""
    clock: StepClock | None = None
    """When the root is told of time: how far behind the task's, and in which steps."""
