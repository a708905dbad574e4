"""Which serde a type gets if nobody says otherwise."""

from __future__ import annotations

from types import NoneType
from typing import TYPE_CHECKING, TypeVar, cast, get_args

from streamlog.errors import UsageError
from streamlog.serde.formats import is_message
from streamlog.serde.json import JsonSerde
from streamlog.serde.protobuf import ProtobufSerde
from streamlog.serde.raw import RawSerde
from streamlog.serde.text import TextSerde

if TYPE_CHECKING:
    from streamlog.serde.base import Serde

T = TypeVar("T")


def serde_for(value_type: type[T]) -> Serde[T]:
    """Returns the default serde of a type: bytes as they are, text as UTF-8, all else as JSON.

    Protobuf messages, which have a form of their own, are written in it.

    >>> serde_for(str), serde_for(int)
    (TextSerde(nullable=False), JsonSerde(int))

    Raises:
        UsageError: The type has no JSON.
    """
    variants = set(get_args(value_type))
    if value_type is bytes or variants == {bytes, NoneType}:
        return cast("Serde[T]", RawSerde(nullable=value_type is not bytes))
    if value_type is str or variants == {str, NoneType}:
        return cast("Serde[T]", TextSerde(nullable=value_type is not str))
    if is_message(value_type):
        return ProtobufSerde(value_type)
    try:
        return JsonSerde(value_type)
    except (TypeError, ValueError, NameError) as error:
        raise UsageError(
            f"{value_type!r} cannot be read as JSON: {error}",
            hint="Use a msgspec.Struct, a dataclass or a plain type, or name a serde",
        ) from error
