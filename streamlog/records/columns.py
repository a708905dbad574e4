"""Records as columns: one list each of offsets, timestamps, keys and values, and headers if any.

A fetched batch is decoded into columns once, and everything above works on lists: a fused function
of a pipeline gets `values`, the console shows `offsets`. Most records bear no headers, so that
column is `None` until a record has one; then it is as long as the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Headers: TypeAlias = tuple[tuple[str, bytes | None], ...]


class Columns:
    """Records, column by column; row `i` is made of the `i`-th item of every list.

    Args:
        offsets: Strictly increasing.
        timestamps: Milliseconds since the epoch; -1 where the writer set none.
        keys: `None` where the record has no key.
        values: `None` is a tombstone.
        headers: `None` if no record has any.
    """

    __slots__ = ("headers", "keys", "offsets", "timestamps", "values")

    def __init__(
        self,
        offsets: list[int],
        timestamps: list[int],
        keys: list[bytes | None],
        values: list[bytes | None],
        headers: list[Headers] | None = None,
    ) -> None:
        self.offsets = offsets
        self.timestamps = timestamps
        self.keys = keys
        self.values = values
        self.headers = headers

    @classmethod
    def empty(cls) -> Columns:
        """Returns columns without records."""
        return cls([], [], [], [])

    def __len__(self) -> int:
        return len(self.offsets)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Columns):
            return NotImplemented
        return list(self.rows()) == list(other.rows())

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if not self.offsets:
            return "Columns(empty)"
        return f"Columns({len(self)} records, offsets {self.offsets[0]} to {self.offsets[-1]})"

    def slice(self, start: int, stop: int | None = None) -> Columns:
        """Returns a copy of the rows from `start` up to `stop`; O(rows), bytes are shared."""
        headers = self.headers
        return Columns(
            self.offsets[start:stop],
            self.timestamps[start:stop],
            self.keys[start:stop],
            self.values[start:stop],
            None if headers is None else headers[start:stop],
        )

    def pick(self, indices: Sequence[int]) -> Columns:
        """Returns a copy of the rows at these indices."""
        headers = self.headers
        return Columns(
            [self.offsets[index] for index in indices],
            [self.timestamps[index] for index in indices],
            [self.keys[index] for index in indices],
            [self.values[index] for index in indices],
            None if headers is None else [headers[index] for index in indices],
        )

    def extend(self, other: Columns) -> None:
        """Appends the rows of `other`."""
        if self.headers is not None or other.headers is not None:
            if self.headers is None:
                self.headers = [()] * len(self)
            self.headers.extend([()] * len(other) if other.headers is None else other.headers)
        self.offsets.extend(other.offsets)
        self.timestamps.extend(other.timestamps)
        self.keys.extend(other.keys)
        self.values.extend(other.values)

    def rows(self) -> Iterator[tuple[int, int, bytes | None, bytes | None, Headers]]:
        """Yields (offset, timestamp, key, value, headers) row by row."""
        headers = [()] * len(self) if self.headers is None else self.headers
        return zip(self.offsets, self.timestamps, self.keys, self.values, headers, strict=True)
