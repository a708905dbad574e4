"""Reading the rows of a task's state, for its owner and for those who only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.state.about import translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import lmdb

    from streamlog.processing.state.history import Map, Transaction


class StoredRows:
    """The rows as of one moment, which lasts until `_end_reading`.

    Attributes:
        folder: Where they are.
    """

    folder: Path
    _env: lmdb.Environment
    _rows: Map
    _reader: Transaction | None = None

    def get(self, name: bytes) -> bytes | None:
        """Returns a row's contents."""
        try:
            found: bytes | None = self._read().get(name, db=self._rows)
        except Exception:
            # Asked for by the hundred thousand: a block around it would cost more than LMDB does.
            with translated(self.folder):
                raise
        return found

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Returns the rows whose names begin with a prefix, in the order of their names."""
        with translated(self.folder):
            cursor = self._read().cursor(self._rows)
            found: list[tuple[bytes, bytes]] = []
            if cursor.set_range(prefix):
                for name, value in cursor:
                    if not name.startswith(prefix):
                        break
                    found.append((name, value))
            cursor.close()
        return found

    def scan_range(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields the rows from `begin` up to, and not with, `end`, in the order of their names.

        It must be over before the next write.
        """
        try:
            cursor = self._read().cursor(self._rows)
            if cursor.set_range(begin):
                for name, value in cursor:
                    if name >= end:
                        break
                    yield name, value
            cursor.close()
        except Exception:
            with translated(self.folder):
                raise

    def distinct_prefixes(self, prefix: bytes, size: int) -> list[bytes]:
        """Returns the different first `size` bytes of the names that begin with a prefix.

        It seeks from one to the next, so it costs as much as there are, not as there are rows.
        """
        with translated(self.folder):
            cursor = self._read().cursor(self._rows)
            found: list[bytes] = []
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                found.append(cursor.key()[:size])
                there = cursor.set_range(found[-1] + b"\xff")
            cursor.close()
        return found

    def count(self, prefix: bytes) -> int:
        """Returns how many rows have names that begin with a prefix."""
        with translated(self.folder):
            cursor = self._read().cursor(self._rows)
            found = 0
            if cursor.set_range(prefix):
                for name in cursor.iternext(keys=True, values=False):
                    if not name.startswith(prefix):
                        break
                    found += 1
            cursor.close()
        return found

    def rows(self) -> list[tuple[bytes, bytes]]:
        """Returns all rows."""
        return self.scan(b"")

    def size(self) -> tuple[int, int]:
        """Returns how many rows there are, and how many bytes the files take, history included."""
        with translated(self.folder):
            rows: int = self._read().stat(self._rows)["entries"]
            pages: int = self._env.info()["last_pgno"] + 1
            return rows, pages * self._env.stat()["psize"]

    def _read(self) -> Transaction:
        """A read transaction that lasts until the next write."""
        if self._reader is None:
            self._reader = self._env.begin()
        return self._reader

    def _end_reading(self) -> None:
        if self._reader is not None:
            self._reader.abort()
            self._reader = None
