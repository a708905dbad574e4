"""Checks of what the user hands to a verb, with messages that show the right way."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Final

from streamlog.processing.declaration import check_count, check_topic_name, is_name, plan_error
from streamlog.processing.dsl import inference

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.location import Location

NAME_LENGTH_MAX: Final = 100
"""Names become parts of topic names, which have at most 249 characters."""

_COROUTINE: Final = 0x80
_ASYNC_GENERATOR: Final = 0x200


def check_function(function: object, verb: str, example: str, *, arguments: int = 1) -> None:
    """Refuses what cannot be called, or not with so many values, and what has to be awaited."""
    if not callable(function):
        raise plan_error(
            f"{verb} takes a function, this is {function!r}", hint=_write(verb, example)
        )
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        raise plan_error(
            f"{verb} takes a plain function, {function!r} is async",
            hint="Steps run record by record without waiting; write def instead of async def, or "
            "put what has to wait into .map_async(…)",
        )
    check_arguments(function, verb, _write(verb, example), arguments)


def check_arguments(
    function: Callable[..., object],
    what: str,
    hint: str,
    arguments: int = 1,
    *,
    at: Location | None = None,
) -> None:
    """Refuses a function that cannot be called with so many values."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Some that are written in C do not say what they take.
        return
    try:
        signature.bind(*range(arguments))
    except TypeError as error:
        name = getattr(function, "__name__", repr(function))
        values = "one value" if arguments == 1 else f"{arguments} values"
        raise plan_error(
            f"{what} calls {name}{signature} with {values}: {error}", hint=hint, at=at
        ) from None


def check_name(name: str | None, function: object, verb: str) -> str:
    """Returns a step's name: the given one if it is fit for a topic's name, else a derived one."""
    if name is None:
        derived = inference.derived_name(function) if callable(function) else ""
        return f"{verb}-{derived}" if derived else verb
    if not is_name(name, NAME_LENGTH_MAX):
        raise plan_error(
            f"{name!r} cannot name a {'pipeline' if verb == 'pipeline' else 'step'}: names become "
            "parts of topic names",
            hint=f"Use letters, digits, '.', '_' and '-', at most {NAME_LENGTH_MAX} of them",
        )
    return name


def check_output(topic: object, partitions: object, serde: object) -> str:
    """Returns the name of a topic that is written; refuses what `to` cannot use."""
    if partitions is not None:
        check_count(partitions, "to(partitions=…)", example='.to("delays", partitions=4)')
    check_serde(serde, "to(serde=…)")
    return check_topic_name(topic)


def check_serde(serde: object, what: str, *, at: Location | None = None) -> None:
    """Refuses what is no serde; `None` stands for the default."""
    verbs = ("encode", "decode", "encode_all", "decode_all")
    if serde is None or (not isinstance(serde, type) and all(hasattr(serde, v) for v in verbs)):
        return
    raise plan_error(
        f"{what} is {serde!r}, which does not turn values into bytes and back",
        hint="A serde is an object with encode, decode, encode_all and decode_all, such as "
        "AvroSerde(Order, schema)",
        at=at,
    )


def _write(verb: str, example: str) -> str:
    return f"Write: .{verb}({example})"
