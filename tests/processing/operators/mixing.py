"""The orders in which the records of several writers may arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from random import Random

T = TypeVar("T")


def mixed(records: Sequence[T], writer_of: Callable[[T], Hashable], rng: Random) -> list[T]:
    """Another order in which the records may arrive: a writer's own stay in theirs."""
    by_writer: dict[Hashable, list[T]] = {}
    for record in records:
        by_writer.setdefault(writer_of(record), []).append(record)
    result = []
    while by_writer:
        writer = rng.choice(list(by_writer))
        result.append(by_writer[writer].pop(0))
        if not by_writer[writer]:
            del by_writer[writer]
    return result
