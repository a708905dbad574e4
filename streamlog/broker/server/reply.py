"""What a handler hands back for a request: bytes and file ranges, now, later or never."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from streamlog.errors import PeerError


class FileRange(Protocol):
    """Bytes of an open file, sent without being read into this process."""

    @property
    def position(self) -> int:
        """Where in the file they begin."""

    @property
    def size(self) -> int:
        """How many there are."""

    def fileno(self) -> int:
        """Returns the descriptor to send from."""

    def read(self) -> bytes:
        """Copies them, which is quicker than `sendfile` when they are few."""


Part = bytes | bytearray | memoryview | FileRange
Parts = Sequence[Part]


class Deferred:
    """A response that is not known yet; later requests are handled meanwhile, responses keep order.

    Args:
        complete: Waits until it is known and returns its parts, or None if nothing is sent.
    """

    __slots__ = ("complete",)

    def __init__(self, complete: Callable[[], Awaitable[Parts | None]]) -> None:
        self.complete = complete


Reply = Parts | Deferred | None
"""None where the protocol has no response, as for a Produce request with acks=0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Both ends of a connection, as this host sees them."""

    address: str
    port: int
    local_address: str
    local_port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.port}"


Handler = Callable[[memoryview, Peer], Awaitable[Reply]]
"""Handles one request; the frame's bytes are the handler's until it returns, and then no more."""


class CloseConnectionError(PeerError):
    """The connection cannot go on: what came is no request, or the protocol asks for a close."""
