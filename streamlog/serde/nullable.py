"""Values of any serde, or nulls: what a table's topic holds, where a null ends a row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from streamlog.serde.base import convert_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.serde.base import Serde

T = TypeVar("T")


class NullableSerde(Generic[T]):
    """Another serde, for which a null is `None` even if its type has none.

    >>> from streamlog.serde.text import TextSerde
    >>> serde = NullableSerde(TextSerde())
    >>> serde.decode(None), serde.decode(b"a"), serde.encode(None)
    (None, 'a', None)

    Args:
        serde: The other one.
    """

    def __init__(self, serde: Serde[T]) -> None:
        self._serde = serde

    def __repr__(self) -> str:
        return f"NullableSerde({self._serde!r})"

    def encode(self, value: T | None) -> bytes | None:
        """Returns the bytes of a value, and a null for `None`."""
        return None if value is None else self._serde.encode(value)

    def decode(self, data: bytes | None) -> T | None:
        """Returns the value of `data`, and `None` for a null."""
        return None if data is None else self._serde.decode(data)

    def encode_all(self, values: Sequence[T | None]) -> list[bytes | None]:
        """Encodes a column; raises `SerdeError` with the index of the first bad value."""
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[T | None]:
        """Decodes a column; raises `SerdeError` with the index of the first bad item."""
        if None not in column:
            return list(self._serde.decode_all(column))
        return convert_each(self.decode, column)
