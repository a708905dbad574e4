"""Bytes as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.serde.base import convert_each
from streamlog.serde.errors import SerdeError

if TYPE_CHECKING:
    from collections.abc import Sequence


class RawSerde:
    """Passes bytes through.

    Args:
        nullable: Whether a null is a value; else it is an error.
    """

    def __init__(self, *, nullable: bool = True) -> None:
        self._nullable = nullable

    def __repr__(self) -> str:
        return f"RawSerde(nullable={self._nullable})"

    def encode(self, value: bytes | None) -> bytes | None:
        """Returns `value`."""
        if value is not None and not isinstance(value, bytes):
            raise SerdeError(f"raw data must be bytes, this is {type(value).__name__}")
        return value

    def decode(self, data: bytes | None) -> bytes | None:
        """Returns `data`."""
        if data is None and not self._nullable:
            raise SerdeError("bytes were expected, this is null")
        return data

    def encode_all(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        """Returns a copy of the column."""
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[bytes | None]:
        """Returns a copy of the column."""
        return list(column) if self._nullable else convert_each(self.decode, column)
