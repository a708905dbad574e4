"""A step of a table's life: what a key's row was, and what it is from now on.

A table is a stream of changes. Whoever adds rows up takes `old` out and puts `new` in; whoever only
wants to know what holds looks at `new`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from msgspec import Struct

if TYPE_CHECKING:
    from streamlog.processing.dsl.nodes import RuntimeType

T = TypeVar("T")


class Change(Struct, Generic[T], frozen=True, array_like=True):
    """The row of one key before and after; `None` stands for no row.

    >>> Change(old=None, new=1), Change(old=1, new=2), Change(old=2, new=None)
    (Change(old=None, new=1), Change(old=1, new=2), Change(old=2, new=None))
    """

    old: T | None
    new: T | None


def change_type(row_type: RuntimeType) -> RuntimeType:
    """Returns the type of the changes of a table with rows of a type; `None` if that is not known.

    >>> change_type(None), change_type(int) == Change[int]
    (None, True)
    """
    generic: Any = Change
    return None if row_type is None else generic[row_type]


def nullable_type(row_type: RuntimeType) -> RuntimeType:
    """Returns the type of a row or none; `None` if the row's type is not known."""
    return None if row_type is None else cast("Any", row_type) | None
