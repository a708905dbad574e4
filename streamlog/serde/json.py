"""Typed values as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from streamlog.serde.formats import encode_json, json_decoder
from streamlog.serde.structured import StructuredCodec

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class JsonSerde(Generic[T]):
    """Turns values of one type into JSON and back.

    >>> JsonSerde(list[int]).encode([1, 2])
    b'[1,2]'
    >>> JsonSerde(list[int]).decode(b"[1, 2]")
    [1, 2]

    Args:
        value_type: Whatever msgspec knows: structs, dataclasses, typed dictionaries, attrs, unions,
            dates, decimals and the plain types; pydantic models as well.
    """

    def __init__(self, value_type: type[T]) -> None:
        self.value_type = value_type
        self._codec = StructuredCodec(value_type, "JSON", encode_json, json_decoder(value_type))

    def __repr__(self) -> str:
        return f"JsonSerde({getattr(self.value_type, '__name__', self.value_type)})"

    def encode(self, value: T) -> bytes | None:
        """Returns the JSON of `value`; a `None` is a null in the log."""
        return self._codec.encode(value)

    def decode(self, data: bytes | None) -> T:
        """Returns the value of `data`; raises `SerdeError` if it is none of the type."""
        return self._codec.decode(data)

    def encode_all(self, values: Sequence[T]) -> list[bytes | None]:
        """Encodes a column; raises `SerdeError` with the index of the first bad value."""
        return self._codec.encode_all(values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[T]:
        """Decodes a column; raises `SerdeError` with the index of the first bad item."""
        return self._codec.decode_all(column)
