"""The exception tree: every error that a user may meet, with its exit code and a way out.

A message says what failed, where and why; `hint` says what to do next, as a command that can be
pasted where there is one. The command line prints `streamlog: <message>. <hint>` and ends with the
class's `exit_code`. Three families stand under one base: the caller is wrong (`UsageError`), the
other side is wrong (`PeerError`), the data or the disk is wrong (`DataError`, `StorageError`).
"""

from __future__ import annotations

from typing import ClassVar


class StreamlogError(Exception):
    """The base of all errors that streamlog raises on purpose.

    Args:
        message: What failed, where and why; one sentence, no full stop at its end.
        hint: What to do next, if there is something to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class UserCodeError(StreamlogError):
    """A function that the user wrote raised; the record and the user's line are named."""


class UsageError(StreamlogError):
    """The caller asked for something that cannot be: a bad argument, name or setting."""

    exit_code = 2


class PeerError(StreamlogError):
    """The other side of a connection is wrong: it broke the protocol or answered with an error."""


class UnreachableError(PeerError):
    """Nobody answers at the address, or not in time."""

    exit_code = 3


class NotFoundError(StreamlogError):
    """A topic, group, file or pipeline that was named does not exist."""

    exit_code = 4


class RefusedError(StreamlogError):
    """What was asked for is possible but not allowed now: it would break or lose something."""

    exit_code = 5


class DataError(StreamlogError):
    """Bytes that were read are not what they should be: a bad record, batch or value."""

    exit_code = 6


class StorageError(StreamlogError):
    """A disk failed, is full, or holds something that cannot be trusted."""

    exit_code = 6
