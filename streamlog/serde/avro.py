"""Typed values as Avro; needs `pip install streamlog[avro]`.

Two framings, both without a schema in the record:

* bare: the Avro encoding and nothing else. Writer and reader have agreed on one schema;
* Confluent's, as its clients and Kafka Connect write with a schema registry: a zero byte, the id of
  the writer's schema in 4 bytes, the Avro encoding. The schemas of the ids that may come are given;
  a record is read with its writer's schema and resolved to ours, as Avro's rules have it.

Decoded data is converted to the type by msgspec, so a `Struct`, dataclass or `dict` will do.
"""

from __future__ import annotations

import json
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from streamlog.errors import UsageError
from streamlog.serde.base import convert_each
from streamlog.serde.errors import SerdeError, excerpt
from streamlog.serde.structured import accepts_none

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_FRAME: Final = struct.Struct(">bI")
_MAGIC: Final = 0


class AvroSerde(Generic[T]):
    """Turns values of one type into Avro and back.

    Args:
        value_type: Whatever msgspec converts to: structs, dataclasses, dictionaries.
        schema: The schema with which values are written, and to which they are resolved: a
            dictionary, or its JSON.
        schema_id: Ours in the registry; with it, records are framed as Confluent's clients do.
        writers: The schemas of other ids that may come.

    Raises:
        UsageError: fastavro is not installed, or the schema is none.
    """

    def __init__(
        self,
        value_type: type[T],
        schema: str | Mapping[str, Any],
        *,
        schema_id: int | None = None,
        writers: Mapping[int, str | Mapping[str, Any]] | None = None,
    ) -> None:
        try:
            import fastavro
        except ImportError as error:
            raise UsageError(
                "Avro needs fastavro, which is not installed", hint="pip install streamlog[avro]"
            ) from error
        if writers and schema_id is None:
            raise UsageError("writers= are told by the ids in records: give schema_id= as well")
        self.value_type = value_type
        self._read, self._write = fastavro.schemaless_reader, fastavro.schemaless_writer
        self._schema = _parsed(schema)
        self._schema_id = schema_id
        self._writers = {number: _parsed(each) for number, each in (writers or {}).items()}
        if schema_id is not None:
            self._writers[schema_id] = self._schema
        self._nullable = accepts_none(value_type)

    def __repr__(self) -> str:
        return f"AvroSerde({getattr(self.value_type, '__name__', self.value_type)})"

    def encode(self, value: T) -> bytes | None:
        """Returns the Avro of `value`; a `None` is a null in the log."""
        if value is None:
            return None
        into = BytesIO()
        if self._schema_id is not None:
            into.write(_FRAME.pack(_MAGIC, self._schema_id))
        try:
            # Avro has types of its own for moments, decimals and bytes: these stay as they are.
            plain = msgspec.to_builtins(value, builtin_types=_AVRO_TYPES)
            self._write(into, self._schema, plain)
        except Exception as error:
            raise SerdeError(
                f"a value of {type(value).__name__} does not fit the Avro schema: {error}"
            ) from error
        return into.getvalue()

    def decode(self, data: bytes | None) -> T:
        """Returns the value of `data`; raises `SerdeError` if it is none of the type."""
        if data is None:
            if self._nullable:
                return None  # type: ignore[return-value]
            raise SerdeError(f"{self!r} has a null to read")
        source = BytesIO(data)
        writer = self._schema if self._schema_id is None else self._writer_of(data, source)
        try:
            plain = self._read(source, writer, self._schema)
            rest = len(data) - source.tell()
            if rest:
                raise ValueError(f"{rest} bytes are left behind the value")
            return msgspec.convert(plain, self.value_type, builtin_types=_AVRO_TYPES)
        except Exception as error:
            raise SerdeError(f"{excerpt(data)} is no {self!r}: {error}") from error

    def encode_all(self, values: Sequence[T]) -> list[bytes | None]:
        """Encodes a column; raises `SerdeError` with the index of the first bad value."""
        return convert_each(self.encode, values)

    def decode_all(self, column: Sequence[bytes | None]) -> list[T]:
        """Decodes a column; raises `SerdeError` with the index of the first bad item."""
        return convert_each(self.decode, column)

    def _writer_of(self, data: bytes, source: BytesIO) -> Any:  # noqa: ANN401 (a parsed schema)
        frame = source.read(_FRAME.size)
        if len(frame) < _FRAME.size or frame[0] != _MAGIC:
            raise SerdeError(
                f"{excerpt(data)} does not begin with a schema's id",
                hint="If records are bare Avro, leave schema_id= out",
            )
        number = _FRAME.unpack(frame)[1]
        if number not in self._writers:
            raise SerdeError(
                f"the record was written with schema {number}, which is not known",
                hint=f"Give it: AvroSerde(…, writers={{{number}: schema}})",
            )
        return self._writers[number]


def _avro_types() -> tuple[type, ...]:
    from datetime import date, datetime, time
    from decimal import Decimal
    from uuid import UUID

    return (datetime, date, time, Decimal, UUID, bytes)


_AVRO_TYPES: Final = _avro_types()


def _parsed(schema: str | Mapping[str, Any]) -> Any:  # noqa: ANN401 (fastavro's own form)
    import fastavro

    try:
        found = json.loads(schema) if isinstance(schema, str) else dict(schema)
        return fastavro.parse_schema(found)
    except Exception as error:
        raise UsageError(f"this is no Avro schema: {error}") from error
