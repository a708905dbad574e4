"""What an aggregate is, before it has seen a value: a kind and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """One aggregate of a step.

    Args:
        field: The result's field that it fills; empty when the result is the aggregate itself.
        kind: A key of `accumulators.KINDS`.
        selector: What of a value it looks at; the whole value if there is none.
        value_type: Of what the selector yields, as far as it is known; `None` if it is not.
    """

    field: str
    kind: str
    selector: Callable[[Any], object] | None
    value_type: object = None
