"""Protobuf messages; needs `pip install streamlog[protobuf]` and classes made by `protoc`.

Bare by default: the message's encoding and nothing else. With a schema's id, records are framed as
Confluent's clients do with a schema registry: a zero byte, the id in 4 bytes, the message's index
path in its file (a zero byte for the first), the encoding. Reading takes either of the ids' forms;
which message it is, is for the type to say.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from streamlog.errors import UsageError
from streamlog.serde.base import convert_each
from streamlog.serde.errors import SerdeError, excerpt
from streamlog.serde.formats import is_message

if TYPE_CHECKING:
    from collections.abc import Sequence

M = TypeVar("M")

_FRAME: Final = struct.Struct(">bI")
_MAGIC: Final = 0
_INDEXES_MAX: Final = 64


class ProtobufSerde(Generic[M]):
    """Turns messages of one class into bytes and back.

    Args:
        message_type: The class, as `protoc` made it.
        schema_id: Ours in the registry; with it, records are framed as Confluent's clients do.

    Raises:
        UsageError: The class is none of Protobuf's.
    """

    def __init__(self, message_type: type[M], *, schema_id: int | None = None) -> None:
        if not is_message(message_type):
            raise UsageError(
                f"{message_type!r} is no Protobuf message",
                hint="Give the class that protoc has made: ProtobufSerde(orders_pb2.Order)",
            )
        self.value_type = message_type
        self._from_bytes = cast("Any", message_type).FromString
        self._schema_id = schema_id
        self._head = b"" if schema_id is None else _FRAME.pack(_MAGIC, schema_id) + b"\x00"

    def __repr__(self) -> str:
        return f"ProtobufSerde({self.value_type.__name__})"

    def encode(self, value: M) -> bytes | None:
        """Returns the bytes of `value`; a `None` is a null in the log."""
        if value is None:
            return None
        try:
            return self._head + cast(
                "bytes", cast("Any", value).SerializeToString(deterministic=True)
            )
        except Exception as error:
            raise SerdeError(f"{type(value).__name__} cannot be written: {error}") from error

    def decode(self, data: bytes | None) -> M:
        """Returns the message of `data`; raises `SerdeError` if it is none of the class."""
        if data is None:
            raise SerdeError(f"{self!r} has a null to read")
        body = data if self._schema_id is None else self._body_of(data)
        try:
            return cast("M", self._from_bytes(body))
        except Exception as error:
            raise SerdeError(f"{excerpt(data)} is no {self!r}: {error}") from error

    def encode_all(self, values: Sequence[M]) -> list[bytes | None]:
        """Encodes a column; raises `SerdeError` with the index of the first bad value."""
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[M]:
        """Decodes a column; raises `SerdeError` with the index of the first bad item."""
        return convert_each(self.decode, column)

    def _body_of(self, data: bytes) -> bytes:
        """What follows the frame: behind the id a count of indexes and so many varints."""
        if len(data) <= _FRAME.size or data[0] != _MAGIC:
            raise SerdeError(
                f"{excerpt(data)} does not begin with a schema's id",
                hint="If records are bare Protobuf, leave schema_id= out",
            )
        count, position = _zigzag(data, _FRAME.size)
        if not 0 <= count <= _INDEXES_MAX:
            raise SerdeError(f"{excerpt(data)} names a message by {count} indexes")
        for _ in range(count):
            _, position = _zigzag(data, position)
        return data[position:]


def _zigzag(data: bytes, position: int) -> tuple[int, int]:
    """Reads a zigzag varint; returns it and where it ends."""
    number = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise SerdeError(f"{excerpt(data)} ends within its frame")
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), position
        shift += 7
