"""What can be wrong between values and bytes."""

from __future__ import annotations

from streamlog.errors import DataError

EXCERPT_SIZE = 60
"""Bytes of bad data that a message shows; enough to recognise it, too few to fill a terminal."""


class SerdeError(DataError):
    """Bytes are not a value of the type, or a value has no bytes in the format.

    Args:
        message: What was expected and what was found.
        hint: What to do next.
        index: Which item of a batch it was; `None` outside the batch forms.
    """

    def __init__(self, message: str, *, hint: str | None = None, index: int | None = None) -> None:
        super().__init__(message, hint=hint)
        self.index = index


def excerpt(data: bytes | None) -> str:
    """Returns the beginning of bad data, fit for a message."""
    if data is None:
        return "null"
    return repr(data[:EXCERPT_SIZE]) + ("..." if len(data) > EXCERPT_SIZE else "")
