"""Which part of the sources a run reads: all of it, or between offsets that were settled before.

A task that has no position yet begins at the span's beginning; one that has goes on from there. At
the span's end reading stops to the record, also in the middle of a batch, so that what comes out is
a function of the span alone.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from streamlog.client.values import EARLIEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.values import FetchedChunk

Input = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets by input; an input that is not named is read from its start, and without end."""

    begins: Mapping[Input, int] = field(default_factory=dict)
    ends: Mapping[Input, int] = field(default_factory=dict)
    """Excluded."""

    def first(self, key: Input, position: int | None) -> int:
        """Returns the offset to read first, which may be `EARLIEST`."""
        return self.begins.get(key, EARLIEST) if position is None else position

    def is_over(self, key: Input, position: int) -> bool:
        """Whether nothing is left to read from a position on."""
        end = self.ends.get(key)
        return end is not None and position >= end

    def narrow(self, key: Input, begin: int, end: int) -> tuple[int, int]:
        """Returns what of a partition's records, from `begin` up to `end`, is in the span.

        >>> Span({("flights", 0): 10}, {("flights", 0): 90}).narrow(("flights", 0), 0, 50)
        (10, 50)
        """
        return max(begin, self.begins.get(key, begin)), min(end, self.ends.get(key, end))

    def cut(self, chunk: FetchedChunk) -> FetchedChunk:
        """Returns what of a chunk is before the end."""
        end = self.ends.get((chunk.topic, chunk.partition))
        if end is None:
            return chunk
        columns = chunk.columns
        if columns.offsets and columns.offsets[-1] >= end:
            columns = columns.slice(0, bisect_left(columns.offsets, end))
        return replace(
            chunk,
            columns=columns,
            next_offset=min(chunk.next_offset, end),
            high_watermark=min(chunk.high_watermark, end),
        )


WHOLE = Span()
