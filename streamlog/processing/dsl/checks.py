"""Checks of what the user hands to a verb, with messages that show the right way."""

from __future__ import annotations

import re

from streamlog.processing.dsl import inference
from streamlog.processing.dsl.location import Location, caller_location
from streamlog.processing.errors import PlanError

NAME_LENGTH_MAX = 100
"""Names become parts of topic names, which have at most 249 characters."""
TOPIC_NAME_LENGTH_MAX = 249

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def plan_error(message: str, *, hint: str | None = None, at: Location | None = None) -> PlanError:
    """Returns the error, with the user's line in front."""
    return PlanError(f"{at or caller_location()}: {message}", hint=hint)


def check_function(function: object, verb: str, example: str) -> None:
    """Refuses what cannot be called, and what would have to be awaited."""
    if not callable(function):
        raise plan_error(
            f"{verb} takes a function, this is {function!r}", hint=_write(verb, example)
        )
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & 0x80:
        raise plan_error(
            f"{verb} takes a plain function, {function!r} is async",
            hint="Steps run record by record without waiting; write def instead of async def",
        )


def check_name(name: str | None, function: object, verb: str) -> str:
    """Returns a step's name: the given one if it is fit for a topic's name, else a derived one."""
    if name is None:
        derived = inference.derived_name(function) if callable(function) else ""
        return f"{verb}-{derived}" if derived else verb
    if not isinstance(name, str) or not _NAME.fullmatch(name) or len(name) > NAME_LENGTH_MAX:
        raise plan_error(
            f"{name!r} cannot name a step: names become parts of topic names",
            hint=f"Use letters, digits, '.', '_' and '-', at most {NAME_LENGTH_MAX} of them",
        )
    return name


def check_topic_name(name: object) -> str:
    """Returns a topic's name if Kafka allows it."""
    if (
        not isinstance(name, str)
        or not _NAME.fullmatch(name)
        or name in (".", "..")
        or len(name) > TOPIC_NAME_LENGTH_MAX
    ):
        raise plan_error(
            f"{name!r} cannot name a topic",
            hint=f"Use letters, digits, '.', '_' and '-', at most {TOPIC_NAME_LENGTH_MAX} of them",
        )
    return name


def _write(verb: str, example: str) -> str:
    return f"Write: .{verb}({example})"
