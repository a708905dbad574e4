"""How streamlog uses msgspec: deterministic, and open to two more kinds of values.

Dictionaries and sets are written in sorted order, so equal values have equal bytes in every
process. Beside what msgspec knows, values may be pydantic models and Protobuf messages, alone or
anywhere inside. Neither library is imported for that: their classes are known by what they can do.
A pydantic model is the dictionary of its fields (under their aliases); a Protobuf message is its
own encoding in MessagePack, and its JSON mapping in JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def is_model(value_type: object) -> bool:
    """Says whether a class is a pydantic model."""
    return isinstance(value_type, type) and hasattr(value_type, "model_validate")


def is_message(value_type: object) -> bool:
    """Says whether a class is a Protobuf message."""
    return (
        isinstance(value_type, type)
        and hasattr(value_type, "SerializeToString")
        and hasattr(value_type, "FromString")
    )


def is_convertible(value_type: object) -> bool:
    """Says whether values of a class that msgspec does not know can be written and read."""
    return is_model(value_type) or is_message(value_type)


def _simplify(value: Any) -> object:  # noqa: ANN401 (whatever msgspec does not know)
    """What stands for a value in MessagePack."""
    kind = type(value)
    if is_model(kind):
        return value.model_dump(mode="json", by_alias=True)
    if is_message(kind):
        return value.SerializeToString(deterministic=True)
    raise TypeError(f"{kind.__name__} has no fields that are known")


def _simplify_for_json(value: Any) -> object:  # noqa: ANN401
    if not is_message(type(value)):
        return _simplify(value)
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(value, preserving_proto_field_name=True)


def _build(value_type: Any, data: Any) -> object:  # noqa: ANN401
    """The value that something stands for."""
    if is_model(value_type):
        return value_type.model_validate(data)
    if is_message(value_type):
        if isinstance(data, bytes):
            return value_type.FromString(data)
        from google.protobuf.json_format import ParseDict

        return ParseDict(data, value_type())
    raise TypeError(f"{value_type} has no fields that are known")


encode_msgpack: Callable[[Any], bytes] = msgspec.msgpack.Encoder(
    order="deterministic", enc_hook=_simplify
).encode
"""Writes a value as MessagePack."""

encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(
    order="deterministic", enc_hook=_simplify_for_json
).encode
"""Writes a value as JSON."""


def msgpack_decoder(value_type: type[T]) -> msgspec.msgpack.Decoder[T]:
    """Returns a decoder of MessagePack for a type."""
    return msgspec.msgpack.Decoder(value_type, dec_hook=_build)


def json_decoder(value_type: type[T]) -> msgspec.json.Decoder[T]:
    """Returns a decoder of JSON for a type."""
    return msgspec.json.Decoder(value_type, dec_hook=_build)
