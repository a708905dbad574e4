"""The assignors by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.assignors.cooperative_sticky import CooperativeStickyAssignor
from streamlog.client.assignors.range import RangeAssignor
from streamlog.client.assignors.round_robin import RoundRobinAssignor
from streamlog.client.assignors.sticky import StickyAssignor
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.client.assignors.assignor import Assignor

ASSIGNORS: dict[str, Assignor] = {
    assignor.name: assignor
    for assignor in (
        RangeAssignor(),
        RoundRobinAssignor(),
        StickyAssignor(),
        CooperativeStickyAssignor(),
    )
}


def assignors_named(choice: Sequence[str | Assignor]) -> tuple[Assignor, ...]:
    """Returns the assignors of these names, or those given as they are, in this order.

    Raises:
        UsageError: if one is unknown, or they mix eager and cooperative ones: members of such a
            group could not agree whether partitions are kept while it rebalances.
    """
    unknown = [each for each in choice if isinstance(each, str) and each not in ASSIGNORS]
    if unknown or not choice:
        raise UsageError(
            f"there is no assignor {unknown[0]!r}" if unknown else "no assignor is named",
            hint=f"Choose among {', '.join(ASSIGNORS)}",
        )
    chosen = tuple(ASSIGNORS[each] if isinstance(each, str) else each for each in choice)
    if len({assignor.cooperative for assignor in chosen}) > 1:
        names = ", ".join(assignor.name for assignor in chosen)
        raise UsageError(
            f"the assignors {names} are partly eager, partly cooperative",
            hint="Name only cooperative ones, or only eager ones",
        )
    return chosen
