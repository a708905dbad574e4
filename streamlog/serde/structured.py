"""What JSON and MessagePack share: msgspec's typed encoder and decoder behind the serde port.

msgspec checks the type while it parses, so a decoded value is of the type or there is a message
that says where it is not. Dictionaries and sets are written in sorted order: equal values have
equal bytes, in every process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar, cast

import msgspec
import msgspec.inspect

from streamlog.errors import UsageError
from streamlog.serde.base import convert_each
from streamlog.serde.errors import SerdeError, excerpt
from streamlog.serde.formats import is_convertible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
D = TypeVar("D", covariant=True)

_DECODE_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)
_ENCODE_ERRORS = (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError)


class Decoder(Protocol[D]):
    """What msgspec's decoders of either format can do."""

    def decode(self, data: bytes, /) -> D:
        """Parses and checks."""


class StructuredCodec(Generic[T]):
    """A typed msgspec encoder and decoder pair with the semantics of a serde.

    Args:
        value_type: The type of the values, as msgspec understands it.
        format_name: For messages.
        encode: msgspec's encoder.
        decoder: msgspec's decoder for the type.
    """

    def __init__(
        self,
        value_type: type[T],
        format_name: str,
        encode: Callable[[object], bytes],
        decoder: Decoder[T],
    ) -> None:
        self._type_name = getattr(value_type, "__name__", None) or str(value_type)
        self._format_name = format_name
        self._encode = encode
        self._decode = decoder.decode
        self._nullable = accepts_none(value_type)
        foreign = foreign_class(msgspec.inspect.type_info(value_type))
        if foreign is not None:
            raise UsageError(
                f"{foreign.__name__} has no {format_name}: its fields are unknown",
                hint="Use a msgspec.Struct, a dataclass, a pydantic model or a plain type, or "
                "name a serde",
            )

    def encode(self, value: T) -> bytes | None:
        """Returns the bytes of `value`; a `None` is a null in the log."""
        if value is None:
            return None
        try:
            return self._encode(value)
        except _ENCODE_ERRORS as error:
            raise SerdeError(
                f"a value of {type(value).__name__} has no {self._format_name}: {error}"
            ) from error

    def decode(self, data: bytes | None) -> T:
        """Returns the value of `data`."""
        if data is None:
            if self._nullable:
                return cast("T", None)
            raise SerdeError(
                f"{self._type_name} was expected, this is null",
                hint=f"If nulls belong in the data, annotate it as {self._type_name} | None",
            )
        try:
            return self._decode(data)
        except _DECODE_ERRORS as error:
            raise SerdeError(
                f"{excerpt(data)} is no {self._type_name} as {self._format_name}: {error}"
            ) from error

    def encode_all(self, values: Sequence[T]) -> list[bytes | None]:
        """Encodes a column."""
        if None not in values:
            encode = self._encode
            try:
                return [encode(value) for value in values]
            except _ENCODE_ERRORS:
                pass  # Below it fails again, and there the index is known.
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[T]:
        """Decodes a column."""
        decode = cast("Callable[[bytes | None], T]", self._decode)
        try:
            return [decode(data) for data in column]
        except _DECODE_ERRORS:
            # A null, or bad data: item by item, nulls pass and the index is known.
            return convert_each(self.decode, column)


def accepts_none(value_type: object) -> bool:
    """Says whether `None` is a value of the type.

    >>> accepts_none(int | None), accepts_none(int)
    (True, False)
    """
    try:
        msgspec.convert(None, cast("type[object]", value_type))
    except (msgspec.ValidationError, TypeError):
        return False
    return True


def foreign_class(info: object, seen: set[int] | None = None) -> type | None:
    """Returns a class within a type that msgspec would only compare, not build; `None` if none is.

    Found before the first record, it is an error with a way out; found by it, a broken record.
    """
    seen = set() if seen is None else seen
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        return None if is_convertible(info.cls) else info.cls
    if isinstance(info, tuple):
        parts: tuple[object, ...] = info
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        parts = tuple(getattr(info, name) for name in type(info).__struct_fields__)
    else:
        return None
    return next((found for part in parts if (found := foreign_class(part, seen))), None)
