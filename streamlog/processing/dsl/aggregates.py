"""The aggregates of a window, as the user writes them.

None of them depends on the order in which records arrive: the same records give the same result,
to the last bit. Sums and means of floats are exact and rounded once; `first` and `last` go by event
time. A selector that yields `None` leaves that record out, as aggregates in SQL do with nulls; of
nothing, `count` and `sum_` are 0 and all others are `None`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Aggregate(Generic[T_contra]):
    """An aggregate over values of one type; made by the functions of this module."""

    __slots__ = ("kind", "selector")

    def __init__(self, kind: str, selector: Callable[[T_contra], object] | None) -> None:
        self.kind = kind
        self.selector = selector

    def __repr__(self) -> str:
        name = "" if self.selector is None else getattr(self.selector, "__name__", "…")
        return f"{self.kind}({name})"


def count(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """Counts records, or those for which the selector does not yield `None`."""
    return Aggregate("count", selector)


def sum_(selector: Callable[[T], float | None]) -> Aggregate[T]:
    """Adds numbers up: whole numbers stay whole, floats are added exactly and rounded once."""
    return Aggregate("sum", selector)


def mean(selector: Callable[[T], float | None]) -> Aggregate[T]:
    """The exact sum, divided by how many there were; a float, or `None` of nothing."""
    return Aggregate("mean", selector)


def min_(selector: Callable[[T], object]) -> Aggregate[T]:
    """The smallest of values that compare with each other, or `None` of nothing."""
    return Aggregate("min", selector)


def max_(selector: Callable[[T], object]) -> Aggregate[T]:
    """The largest of values that compare with each other, or `None` of nothing."""
    return Aggregate("max", selector)


def first(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """What the earliest record yields, by event time."""
    return Aggregate("first", selector)


def last(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """What the latest record yields, by event time."""
    return Aggregate("last", selector)
