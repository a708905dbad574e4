"""Checks of what the user hands to a verb, with messages that show the right way."""

from __future__ import annotations

from typing import Final

from streamlog.processing.declaration import is_name, plan_error
from streamlog.processing.dsl import inference

NAME_LENGTH_MAX: Final = 100
"""Names become parts of topic names, which have at most 249 characters."""

_COROUTINE: Final = 0x80
_ASYNC_GENERATOR: Final = 0x200


def check_function(function: object, verb: str, example: str) -> None:
    """Refuses what cannot be called, and what would have to be awaited."""
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


def _write(verb: str, example: str) -> str:
    return f"Write: .{verb}({example})"
