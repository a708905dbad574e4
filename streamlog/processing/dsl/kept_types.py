"""Of which type it is what a step keeps, and whether that can be read back.

What an aggregate keeps is seen from the type of the field that it fills.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, Final, cast

from streamlog.errors import UsageError
from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.operators.accumulators import ValueCodec
from streamlog.serde.msgpack import MsgpackSerde

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.nodes import RuntimeType
    from streamlog.processing.location import Location

SAY_THE_TYPE: Final = (
    "Say it where the values are made: to=Type behind the function, as in .map(function, to=Type), "
    "a def with a return annotation, or a lambda that calls the type"
)

_LISTS = (list, tuple, set, frozenset, Iterable, Sequence, AbstractSet)


def kept_serde(
    value_type: RuntimeType, what: str, *, hint: str = SAY_THE_TYPE, at: Location | None = None
) -> MsgpackSerde[Any]:
    """Returns how values of a type are kept, or passed through a topic.

    Args:
        value_type: Their type.
        what: Is kept and by whom, for the message: "reduce keeps the values".
        hint: What to write if the type is not known.
        at: The user's line, if it is not the one that is being run.

    Raises:
        PlanError: The type is not known, or its values cannot be read back.
    """
    if value_type is None:
        raise plan_error(
            f"{what}, but their type is not known when the program runs", hint=hint, at=at
        )
    try:
        return MsgpackSerde(cast("type[Any]", value_type))
    except (TypeError, ValueError, NameError, UsageError) as error:
        reason = error.message if isinstance(error, UsageError) else str(error)
        raise plan_error(
            f"{what}, and {value_type!r} cannot be read back: {reason}",
            hint="Use a msgspec.Struct, a dataclass, a pydantic model, a Protobuf message or a "
            "plain type",
            at=at,
        ) from error


def state_codec(value_type: RuntimeType) -> ValueCodec:
    """Returns how values of a type are stored; of an unknown one, plain values alone are."""
    if value_type is not None:
        kept_serde(value_type, "an aggregate keeps values")
    return ValueCodec(value_type)


def item_type(field_type: RuntimeType) -> RuntimeType:
    """Returns the type of the items of a field, or `None` if it is not known.

    >>> item_type(list[int]), item_type(set[str] | None), item_type(None)
    (<class 'int'>, <class 'str'>, None)
    """
    found = _without_none(field_type)
    arguments = typing.get_args(found)
    if typing.get_origin(found) not in _LISTS or not arguments or arguments[0] is Any:
        return None
    result: RuntimeType = arguments[0]
    return result


def item_codec(field_type: RuntimeType, selector: Callable[..., object] | None) -> ValueCodec:
    """Returns how the items of a field are stored; the selector may know more than the field."""
    found = item_type(field_type)
    if found is None and selector is not None:
        found = inference.result_type(selector)
    return state_codec(found)


def container_of(field_type: RuntimeType) -> Callable[[list[object]], object]:
    """Returns what makes the value of a field of a list: a list, unless it says otherwise.

    >>> container_of(set[int])([1, 2]), container_of(None)([1, 2])
    ({1, 2}, [1, 2])
    """
    found = _without_none(field_type)
    origin = typing.get_origin(found) or found
    if origin in (set, AbstractSet):
        return set
    if origin in (frozenset, tuple):
        return origin
    return list


def _without_none(field_type: RuntimeType) -> RuntimeType:
    if typing.get_origin(field_type) in (typing.Union, types.UnionType):
        others = [each for each in typing.get_args(field_type) if each is not type(None)]
        if len(others) == 1:
            return others[0]
    return field_type
