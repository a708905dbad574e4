"""Rows of accumulators by time and key: what closes together lies together.

As `state.rows.WindowRows` does, it keeps rows as objects from one checkpoint to the next, and makes
bytes of them only then. On disk the name of a row is

    time       8 bytes, one or several of them: the end of a window, or a due time and an end
    key        as `token_of` makes it; with a long key's digest the key stands before the row
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from streamlog.processing.operators.windowed import order_of_key
from streamlog.processing.state.keys import KEY_SIZE_MAX, row_value
from streamlog.processing.state.row_table import (
    RowTable,
    key_of,
    time_name,
    time_of,
    token_of,
)

if TYPE_CHECKING:
    from streamlog.processing.operators.accumulators import Row, RowFactory
    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

CLEAN_ROWS_MAX: Final = 50_000
"""Unchanged rows that are kept to save reads."""
_SIZE: Final = struct.Struct(">I")
_LONG_KEY: Final = 2
"""What a token begins with that does not tell its key."""

Times: TypeAlias = tuple[int, ...]
Rows: TypeAlias = "dict[bytes | None, Row]"


class TimedRows(RowTable):
    """The rows of one table, by one or several times.

    Args:
        context: Of the operator.
        number: Of the table.
        factory: Makes its rows.
        depth: How many times a row is named by.
    """

    def __init__(
        self, context: OperatorContext, number: int, factory: RowFactory, depth: int = 1
    ) -> None:
        super().__init__(context.store, context.store_id, number)
        self._factory = factory
        self._depth = depth
        self._dirty: dict[Times, Rows] = {}
        self._kept: dict[Times, Rows] = {}
        self._kept_count = 0
        self._persisted: set[Times] = set(self._stored_times())
        self._taken: list[bytes] = []
        self.edition = 0
        """Changes when what `window` returned is not to be used any more."""
        self.opened = 0
        """Rows made less rows taken, since this was last read and set to 0."""

    def window(self, times: Times) -> Rows:
        """Returns the changed rows of a time, to look into and to `touch` into."""
        found = self._dirty.get(times)
        if found is None:
            found = self._dirty[times] = {}
        return found

    def touch(self, times: Times, key: bytes | None) -> Row:
        """Makes a row one of the changed rows, from memory, from disk or anew."""
        row: Row | None = None
        kept = self._kept.get(times)
        if kept is not None:
            row = kept.pop(key, None)
            if row is not None:
                self._kept_count -= 1
        if row is None and times in self._persisted:
            stored = self.get(_name(times) + token_of(key))
            if stored is not None:
                row = self._factory.decode(_contents(key, stored))
        if row is None:
            row = self._factory.new()
            self.opened += 1
        self.window(times)[key] = row
        return row

    def row(self, times: Times, key: bytes | None) -> Row:
        """Returns a row that will be changed."""
        found = self._dirty.get(times)
        if found is not None and key in found:
            return found[key]
        return self.touch(times, key)

    def times(self, through: int | None = None) -> list[Times]:
        """Returns the times that have rows, up to a first time, in order."""
        known = {each for each, rows in self._dirty.items() if rows}
        known.update(self._kept, self._persisted)
        return sorted(each for each in known if through is None or each[0] <= through)

    def take(self, times: Times) -> list[tuple[bytes | None, Row]]:
        """Removes the rows of a time; returns them by key."""
        self.edition += 1
        rows = self._dirty.pop(times, {})
        kept = self._kept.pop(times, None)
        if kept is not None:
            self._kept_count -= len(kept)
            rows.update(kept)
        if times in self._persisted:
            self._persisted.discard(times)
            prefix = _name(times)
            for name, stored in self.scan_prefix(prefix):
                self._taken.append(name)
                key = key_of(name[len(prefix) :], _long_key(stored, name[len(prefix)]))
                if key not in rows:
                    rows[key] = self._factory.decode(_contents(key, stored))
        self.opened -= len(rows)
        return [(key, rows[key]) for key in sorted(rows, key=order_of_key)]

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        changes: list[Change] = [(self._prefix + name, None) for name in self._taken]
        for times, rows in self._dirty.items():
            prefix = self._prefix + _name(times)
            changes += [
                (prefix + token_of(key), row_value(key, row.encode())) for key, row in rows.items()
            ]
        return changes

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        # What was read as missing may be there now; rows are kept as objects, not as bytes.
        self._clean.clear()
        self._taken = []
        self.edition += 1
        for times, rows in self._dirty.items():
            if not rows:
                continue
            self._persisted.add(times)
            self._kept.setdefault(times, {}).update(rows)
            self._kept_count += len(rows)
        self._dirty = {}
        # The earliest times are the next to be taken: they are dropped last.
        for times in sorted(self._kept, reverse=True):
            if self._kept_count <= CLEAN_ROWS_MAX:
                break
            self._kept_count -= len(self._kept.pop(times))

    def _stored_times(self) -> list[Times]:
        """The times of the rows on disk; jumps from one to the next."""
        found: list[Times] = []
        size = 8 * self._depth
        begin = b""
        while (row := next(self.scan(begin, b"\xff" * (size + 1)), None)) is not None:
            name = row[0][:size]
            found.append(tuple(time_of(name, 8 * index) for index in range(self._depth)))
            begin = name + b"\xff"
        return found


def _name(times: Times) -> bytes:
    return b"".join([time_name(each) for each in times])


def _contents(key: bytes | None, stored: bytes) -> bytes:
    """A stored row without the key before it."""
    if key is None or len(key) <= KEY_SIZE_MAX:
        return stored
    return stored[4 + len(key) :]


def _long_key(stored: bytes, kind: int) -> bytes | None:
    """The key that stands before a row because its name has its digest only."""
    if kind != _LONG_KEY:
        return None
    size: int = _SIZE.unpack_from(stored)[0]
    return stored[4 : 4 + size]
