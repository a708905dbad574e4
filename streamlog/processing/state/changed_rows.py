"""Rows that wait for a checkpoint, by name; sorted only as far as somebody looks at their order.

Most tables are written and read by name far more often than they are scanned, and keeping names in
order costs more than all else that is done to a row. So new names gather in a list until a scan
wants them in their places.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sortedcontainers import SortedList

if TYPE_CHECKING:
    from collections.abc import Iterator


class ChangedRows:
    """A map from names to rows; `None` stands for a row that is to be removed.

    Attributes:
        rows: All of them. To be changed through `put`, `drop` and `clear` alone.
    """

    __slots__ = ("_fresh", "_sorted", "rows")

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes | None] = {}
        self._sorted: SortedList[bytes] = SortedList()
        self._fresh: list[bytes] = []
        """Names that may not be sorted yet; some of them may be gone again, or be here twice."""

    def put(self, name: bytes, row: bytes | None) -> None:
        """Puts a row in its place."""
        if name not in self.rows:
            self._fresh.append(name)
        self.rows[name] = row

    def drop(self, name: bytes) -> None:
        """Forgets a row, if there is one."""
        if name in self.rows:
            del self.rows[name]
            if self._sorted:
                self._sorted.discard(name)

    def clear(self) -> None:
        """Forgets all."""
        self.rows.clear()
        self._sorted.clear()
        self._fresh.clear()

    def names(self, begin: bytes, end: bytes) -> Iterator[bytes]:
        """Returns the names from `begin` up to, and not with, `end`, in order."""
        fresh = self._fresh
        if fresh:
            rows = self.rows
            if len(fresh) == 1:
                if fresh[0] in rows:
                    self._sorted.add(fresh[0])
            else:
                self._sorted.update({name for name in fresh if name in rows})
            fresh.clear()
        names: Iterator[bytes] = self._sorted.irange(begin, end, inclusive=(True, False))
        return names

    def in_order(self) -> list[tuple[bytes, bytes | None]]:
        """Returns all, in the order of their names."""
        rows = self.rows
        return [(name, rows[name]) for name in sorted(rows)]
