"""What a declaration is checked for wherever it is made: names of topics, spans of time, numbers.

Pipelines, windows and policies are declared by the user's code, often far from where they are used.
So each is checked where it is said, and an error begins with that line.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from streamlog.processing.errors import PlanError
from streamlog.processing.location import Location, caller_location

TOPIC_NAME_LENGTH_MAX: Final = 249

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def plan_error(message: str, *, hint: str | None = None, at: Location | None = None) -> PlanError:
    """Returns the error, with the user's line in front."""
    return PlanError(f"{at or caller_location()}: {message}", hint=hint)


def is_name(name: object, length_max: int) -> bool:
    """Says whether something has the characters that Kafka allows in the name of a topic."""
    return isinstance(name, str) and len(name) <= length_max and _NAME.fullmatch(name) is not None


def check_topic_name(name: object) -> str:
    """Returns a topic's name if Kafka allows it."""
    if not isinstance(name, str) or not is_name(name, TOPIC_NAME_LENGTH_MAX) or name in (".", ".."):
        raise plan_error(
            f"{name!r} cannot name a topic",
            hint=f"Use letters, digits, '.', '_' and '-', at most {TOPIC_NAME_LENGTH_MAX} of them",
        )
    return name


def check_span(span: object, what: str, *, least_ms: int | None = 0) -> int:
    """Returns a span in whole milliseconds, the unit of timestamps in the log.

    Args:
        span: A timedelta, if it is right.
        what: It is, for the message.
        least_ms: The shortest that makes sense; `None`: it may be negative.
    """
    if not isinstance(span, timedelta):
        raise plan_error(
            f"{what} is {span!r}, but it has to be a timedelta",
            hint="For example: timedelta(hours=1)",
        )
    whole, rest = divmod(
        span.days * 86_400_000_000 + span.seconds * 1_000_000 + span.microseconds, 1000
    )
    if rest or (least_ms is not None and whole < least_ms):
        least = "" if least_ms is None else f", at least {least_ms}"
        raise plan_error(
            f"{what} is {span}, but it has to be whole milliseconds{least}",
            hint="For example: timedelta(hours=1)",
        )
    return whole


def check_count(
    count: object, what: str, *, least: int = 1, most: int | None = None, example: str
) -> int:
    """Returns a whole number.

    Args:
        count: The number, if it is right.
        what: It is, for the message.
        least: The smallest that makes sense.
        most: The largest that does.
        example: A call that is right.
    """
    is_whole = isinstance(count, int) and not isinstance(count, bool)
    if not is_whole or count < least or (most is not None and count > most):  # type: ignore[operator]
        bounds = f"at least {least}" if most is None else f"from {least} to {most:,}"
        raise plan_error(
            f"{what} is {count!r}, but it has to be a whole number, {bounds}",
            hint=f"For example: {example}",
        )
    return count  # type: ignore[return-value]
