"""What an aggregate is, before it has seen a value: a kind and what it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from streamlog.processing.operators.accumulators import RowFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.accumulators import Accumulator

    Maker: TypeAlias = Callable[[], Accumulator]


@dataclass(frozen=True, slots=True)
class AggregateSpec:
    """One aggregate of a step.

    Args:
        field: The result's field that it fills; empty when the result is the aggregate itself.
        kind: What it is, with what its stored state depends on: "count", "top_k(3)".
        selector: What of a value it looks at; the whole value if there is none.
        value_type: Of what is kept, as far as it is known; `None` if it is not.
        make: Makes an empty accumulator, of a kind that `accumulators` does not know.
        can_merge: Whether two of its accumulators can become one, as merging windows need it.
    """

    field: str
    kind: str
    selector: Callable[[Any], object] | None
    value_type: object = None
    make: Maker | None = None
    can_merge: bool = True

    @property
    def label(self) -> str:
        """What it is in a layout: the field and the kind."""
        return f"{self.field}={self.kind}" if self.field else self.kind


def row_factory(specs: Sequence[AggregateSpec]) -> RowFactory:
    """Returns what makes and reads the rows of a step with these aggregates."""
    return RowFactory(
        [spec.kind for spec in specs],
        [spec.value_type for spec in specs],
        [spec.make for spec in specs],
    )


def looks_at_values(specs: Sequence[AggregateSpec]) -> bool:
    """Says whether any of these aggregates looks at a value: counts do not."""
    return any(spec.kind != "count" or spec.selector is not None for spec in specs)


def selection(specs: Sequence[AggregateSpec | None]) -> Callable[[Any], tuple[object, ...]]:
    """Returns a function that takes from a value what each aggregate looks at.

    Written out, since it is called for every record; `None` stands for an aggregate that this value
    is not for.
    """
    scope: dict[str, Any] = {}
    parts = []
    for number, spec in enumerate(specs):
        if spec is None:
            parts.append("None, ")
        elif spec.selector is not None:
            scope[f"f{number}"] = spec.selector
            parts.append(f"f{number}(value), ")
        else:
            parts.append("1, " if spec.kind == "count" else "value, ")
    written: Callable[[Any], tuple[object, ...]] = eval(f"lambda value: ({''.join(parts)})", scope)
    return written
