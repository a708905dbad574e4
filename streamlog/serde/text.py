"""Text as UTF-8, without quotes: what other tools write as keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.serde.base import convert_each
from streamlog.serde.errors import SerdeError, excerpt

if TYPE_CHECKING:
    from collections.abc import Sequence


class TextSerde:
    """Turns `str` into UTF-8 and back.

    >>> TextSerde().decode(TextSerde().encode("grün"))
    'grün'

    Args:
        nullable: Whether a null is a value; else it is an error.
    """

    def __init__(self, *, nullable: bool = False) -> None:
        self._nullable = nullable

    def __repr__(self) -> str:
        return f"TextSerde(nullable={self._nullable})"

    def encode(self, value: str | None) -> bytes | None:
        """Returns `value` as UTF-8."""
        if value is None:
            return None
        if not isinstance(value, str):
            raise SerdeError(f"text must be str, this is {type(value).__name__}")
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise SerdeError(f"{value[:40]!r} has no UTF-8: {error.reason}") from None

    def decode(self, data: bytes | None) -> str | None:
        """Returns the text of `data`."""
        if data is None:
            if self._nullable:
                return None
            raise SerdeError("text was expected, this is null")
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise SerdeError(
                f"{excerpt(data)} is no UTF-8: {error.reason} at byte {error.start}",
                hint="Annotate the type as bytes to read it as it is",
            ) from None

    def encode_all(self, values: Sequence[str | None]) -> list[bytes | None]:
        """Encodes a column."""
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[str | None]:
        """Decodes a column."""
        return convert_each(self.decode, column)
