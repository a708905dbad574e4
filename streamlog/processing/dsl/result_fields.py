"""Results with one field for each aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.aggregates import Aggregate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

R = TypeVar("R")


def builder(result: type[R], names: tuple[str, ...]) -> Callable[[list[Any]], R]:
    """Returns what makes a result of its aggregates' results, in the order of `names`."""

    def build(values: list[Any]) -> R:
        return result(**dict(zip(names, values, strict=True)))

    return build


def check_fields(result: type[object], fields: Mapping[str, Aggregate[Any]]) -> None:
    """Refuses what the result type would refuse at the first closed window."""
    example = ".aggregate(Delays, flights=count())"
    if not isinstance(result, type):
        raise plan_error(
            f"aggregate takes a type first, this is {result!r}", hint=f"Write: {example}"
        )
    for key, each in fields.items():
        if not isinstance(each, Aggregate):
            raise plan_error(
                f"field {key} of {result.__name__} takes an aggregate, this is {each!r}",
                hint=f"Write: {key}=last(lambda value: …); there are also count, sum_, mean, min_, "
                "max_, first and others",
            )
    if not fields:
        raise plan_error(f"nothing fills the fields of {result.__name__}", hint=f"Write: {example}")
    try:
        known = {
            field.name: field.required for field in msgspec.structs.fields(cast("Any", result))
        }
    except TypeError:
        return
    missing = [key for key, required in known.items() if required and key not in fields]
    unknown = [key for key in fields if key not in known]
    if missing or unknown:
        raise plan_error(
            f"{result.__name__} has the fields {', '.join(known)}"
            + (f"; nothing fills {', '.join(missing)}" if missing else "")
            + (f"; it has no {', '.join(unknown)}" if unknown else "")
        )
