"""One table of an operator's rows in a task's state: in memory what is new, on disk the rest.

A table is a sorted map from names to bytes. What a checkpoint has not written yet is kept in
memory, and reads look there first; a bounded number of rows that are on disk is kept as well. A
scan merges both in the order of names.

On disk a row's name is

    store id   4 bytes   hash of the step's name
    table      1 byte    number of the table among those of the step
    name                 at most `NAME_SIZE_MAX` bytes

`token_of` makes names of keys that may be too long for that; `time_name` makes names of times that
sort as the times do.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from streamlog.processing.state.changed_rows import ChangedRows
from streamlog.processing.subclassing import mypyc_attr

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streamlog.processing.state.rows import Change
    from streamlog.processing.state.store import TaskStore

NAME_SIZE_MAX: Final = 490
"""LMDB's keys have at most 511 bytes; the history's prefix takes 9, ours 5."""
NO_NAME: Final = b"\xff" * (NAME_SIZE_MAX + 1)
"""Behind all names."""
KEY_SIZE_MAX: Final = 400
CLEAN_ROWS_MAX: Final = 50_000
"""Rows on disk that one table keeps in memory as well; beyond it they are forgotten all at once."""

_KEY_SIZE: Final = struct.Struct(">H")
_TIME: Final = struct.Struct(">Q")
_WRITER: Final = struct.Struct(">I")
_SIGN: Final = 1 << 63

_NO_KEY: Final = b"\x00"
_SHORT: Final = b"\x01"
_LONG: Final = b"\x02"


def token_of(key: bytes | None) -> bytes:
    """Returns a key as the beginning of a name: no token is the beginning of another one.

    A long key is told by its digest, so an operator that needs the key back keeps it in the row.
    """
    if key is None:
        return _NO_KEY
    if len(key) <= KEY_SIZE_MAX:
        return _SHORT + _KEY_SIZE.pack(len(key)) + key
    return _LONG + blake2b(key, digest_size=32).digest()


def kept_key(key: bytes | None, token: bytes) -> bytes | None:
    """Returns what a row has to keep of a key, because its token does not tell it.

    >>> kept_key(b"a", token_of(b"a")), kept_key(b"a" * 500, token_of(b"a" * 500)) == b"a" * 500
    (None, True)
    """
    return key if token[:1] == _LONG else None


def key_of(token: bytes, kept: bytes | None = None) -> bytes | None:
    """Returns the key that a token was made of.

    >>> key_of(token_of(b"a")), key_of(token_of(None))
    (b'a', None)

    Args:
        token: What `token_of` returned.
        kept: What `kept_key` returned.
    """
    return token[3:] if token[:1] == _SHORT else kept


def time_name(time_ms: int) -> bytes:
    """Returns 8 bytes that sort as times do, negative ones included.

    >>> time_name(-1) < time_name(0) < time_name(256)
    True
    """
    return _TIME.pack(time_ms + _SIGN)


def time_of(name: bytes, position: int = 0) -> int:
    """Returns the time at a position of a name.

    >>> time_of(b"?" + time_name(-5), 1)
    -5
    """
    time: int = _TIME.unpack_from(name, position)[0]
    return time - _SIGN


def writer_name(writer: int) -> bytes:
    """Returns 4 bytes that sort as writers do."""
    return _WRITER.pack(writer)


def writer_in(name: bytes, position: int) -> int:
    """Returns the writer at a position of a name."""
    writer: int = _WRITER.unpack_from(name, position)[0]
    return writer


def floor(time: int, step: int) -> int:
    """Returns the multiple of `step` at or before a time."""
    return time - time % step


@mypyc_attr(allow_interpreted_subclasses=True)
class RowTable:
    """A sorted map of rows; `None` never is a row's contents.

    Args:
        store: The task's state.
        store_id: Of the step.
        number: Of the table in its step, from 0.
    """

    def __init__(self, store: TaskStore, store_id: bytes, number: int) -> None:
        self._store = store
        self._prefix = store_id + bytes([number])
        self._changed = ChangedRows()
        self._clean: dict[bytes, bytes | None] = {}

    def get(self, name: bytes) -> bytes | None:
        """Returns a row's contents, or nothing if there is no such row."""
        changed = self._changed.rows
        if name in changed:
            return changed[name]
        if name in self._clean:
            return self._clean[name]
        found = self._store.get(self._prefix + name)
        self._remember(name, found)
        return found

    def put(self, name: bytes, row: bytes) -> None:
        """Writes a row."""
        assert len(name) <= NAME_SIZE_MAX, "use token_of for keys"
        self._changed.put(name, row)

    def delete(self, name: bytes) -> None:
        """Removes a row, if there is one."""
        if self._clean.get(name, b"") is None:
            # It is known not to be on disk, so a row that came and went leaves nothing to write.
            self._changed.drop(name)
        else:
            self._changed.put(name, None)

    def put_all(self, rows: Mapping[bytes, bytes]) -> None:
        """Writes many rows."""
        for name, row in rows.items():
            self._changed.put(name, row)

    def delete_all(self, names: Iterable[bytes]) -> None:
        """Removes many rows."""
        for name in names:
            self.delete(name)

    def scan(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields the rows from `begin` up to, and not with, `end`, in the order of their names.

        The table must not be changed before the scan is over: take a list of it first.
        """
        size = len(self._prefix)
        stored = self._store.scan_range(self._prefix + begin, self._prefix + end)
        there = next(stored, None)
        for name in self._changed.names(begin, end):
            while there is not None and there[0][size:] < name:
                yield there[0][size:], there[1]
                there = next(stored, None)
            if there is not None and there[0][size:] == name:
                there = next(stored, None)
            row = self._changed.rows[name]
            if row is not None:
                yield name, row
        while there is not None:
            yield there[0][size:], there[1]
            there = next(stored, None)

    def scan_prefix(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yields the rows whose names begin with `prefix`; as `scan`."""
        return self.scan(prefix, after_prefix(prefix))

    def first(self) -> tuple[bytes, bytes] | None:
        """Returns the row with the smallest name."""
        return next(self.scan_prefix(b""), None)

    def next_name(self, begin: bytes) -> bytes:
        """Returns the smallest name from `begin` on; `NO_NAME`, which is behind all, if none is."""
        found = next(self.scan(begin, NO_NAME), None)
        return NO_NAME if found is None else found[0]

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        return [(self._prefix + name, row) for name, row in self._changed.in_order()]

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        for name, row in self._changed.rows.items():
            self._remember(name, row)
        self._changed.clear()

    def _remember(self, name: bytes, row: bytes | None) -> None:
        if len(self._clean) >= CLEAN_ROWS_MAX:
            self._clean.clear()
        self._clean[name] = row


def after_prefix(prefix: bytes) -> bytes:
    r"""Returns what comes after all names that begin with a prefix.

    >>> after_prefix(b"ab"), after_prefix(bytes([1, 255]))
    (b'ac', b'\x02')
    """
    shortened = prefix.rstrip(b"\xff")
    if not shortened:
        return NO_NAME
    return shortened[:-1] + bytes([shortened[-1] + 1])
