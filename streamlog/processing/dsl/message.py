"""A record with everything that it came with, for functions that look at more than the value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from streamlog.records.columns import Headers

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message(Generic[T]):
    """What `Stream.with_context` yields in place of the bare value.

    Attributes:
        value: The value.
        key: The record's key, as bytes.
        timestamp: Its event time, milliseconds since 1970.
        headers: Of the record in the source topic; none behind a repartition topic.
        partition: Of the topic that the task reads.
        offset: In that partition.
    """

    value: T
    key: bytes | None
    timestamp: int
    headers: Headers
    partition: int
    offset: int

    def header(self, name: str) -> bytes | None:
        """Returns the last header of a name, or nothing if there is none."""
        for key, value in reversed(self.headers):
            if key == name:
                return value
        return None
