"""Where values need not pass a topic, because nobody behind it looks at them.

Counting takes a record's key, time and place, and no more. Behind a `key_by` or a `merge` after
which there is nothing but counts, a record in the repartition topic has no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.dsl.nodes import KeyByNode, MergeNode, OperatorNode, WindowNode
from streamlog.processing.operators.specs import looks_at_values

if TYPE_CHECKING:
    from streamlog.processing.plan.tree import Step, Tree


def is_unread(tree: Tree) -> bool:
    """Says whether nothing in the tree behind a cut looks at the values that enter it."""
    return isinstance(tree.root, KeyByNode | MergeNode) and all(map(_is_blind, tree.steps))


def _is_blind(step: Step) -> bool:
    match step.node:
        case WindowNode(aggregates=aggregates):
            return not looks_at_values(aggregates)
        case OperatorNode(blind=blind):
            return blind
        case _:
            return False
