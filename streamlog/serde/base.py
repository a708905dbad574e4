"""The port between typed values and the bytes in a record's key or value.

A null in the log (a tombstone, or a record without a key) is `None` on both sides: `encode(None)`
is `None`, and `decode(None)` is `None` where the type allows it, a `SerdeError` where it does not.

The batch forms exist because the pipeline moves columns: one call and one `try` for a thousand
values. They fail as a whole, with the index of the first bad item, so that the caller can set it
aside and go on behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from streamlog.serde.errors import SerdeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")


class Serde(Protocol[T]):
    """Turns values of one type into bytes and back."""

    def encode(self, value: T) -> bytes | None:
        """Returns the bytes of `value`; raises `SerdeError` if it has none in this format."""

    def decode(self, data: bytes | None) -> T:
        """Returns the value of `data`; raises `SerdeError` if it is none of the type."""

    def encode_all(self, values: Sequence[T]) -> list[bytes | None]:
        """Encodes a column; raises `SerdeError` with the index of the first bad value."""

    def decode_all(self, column: Sequence[bytes | None]) -> list[T]:
        """Decodes a column; raises `SerdeError` with the index of the first bad item."""


A = TypeVar("A")
B = TypeVar("B")


def convert_each(convert: Callable[[A], B], column: Sequence[A]) -> list[B]:
    """Converts a column item by item, and puts the index of a bad item into its `SerdeError`."""
    converted: list[B] = []
    try:
        for item in column:
            converted.append(convert(item))  # noqa: PERF401 (its length is the bad item's index)
    except SerdeError as error:
        raise SerdeError(error.message, hint=error.hint, index=len(converted)) from error
    return converted
