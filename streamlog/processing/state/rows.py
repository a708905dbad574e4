"""The rows of one windowed step: changed ones in memory, all of them on disk, a cache between.

`changed` holds what was touched since the last checkpoint and is where a task's function looks
first. After a checkpoint its rows move to `clean`, which is bounded and only saves reads. So a row
that is changed never has to be marked: being found in `changed` is the mark.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from streamlog.processing.state.keys import (
    end_of,
    row_name,
    row_value,
    split_row,
    window_prefix,
)

if TYPE_CHECKING:
    from streamlog.processing.operators.accumulators import RowFactory
    from streamlog.processing.state.store import TaskStore

CLEAN_ROWS_MAX: Final = 50_000
"""Unchanged rows that are kept to save reads: some tens of megabytes."""

Window: TypeAlias = dict[bytes | None, Any]
"""A window's rows by key; what a row is, is the business of the class below."""
Change: TypeAlias = tuple[bytes, bytes | None]
"""A row's name, and its new contents or nothing."""
Closed: TypeAlias = tuple[int, bytes | None, list[object]]
"""A window's end, a key, and the results of its aggregates."""


class WindowRows:
    """The rows of one step in one task.

    Args:
        store_id: What the names of its rows begin with.
        factory: Makes its rows.
        store: Where they are kept.
    """

    __slots__ = (
        "_clean",
        "_clean_count",
        "_factory",
        "_persisted_ends",
        "_removed",
        "_store",
        "_store_id",
        "changed",
        "opened",
    )

    def __init__(self, store_id: bytes, factory: RowFactory, store: TaskStore) -> None:
        self._store_id = store_id
        self._factory = factory
        self._store = store
        self.changed: dict[int, Window] = {}
        self.opened: int = 0
        """Rows made less rows closed, since this was last read and set to 0."""
        self._clean: dict[int, Window] = {}
        self._clean_count: int = 0
        self._removed: list[bytes] = []
        self._persisted_ends: set[int] = {
            end_of(name) for name in store.distinct_prefixes(store_id, len(store_id) + 8)
        }

    def window(self, end: int) -> Window:
        """Returns the changed rows of a window, to look into and to `touch` into."""
        found = self.changed.get(end)
        if found is None:
            found = {}
            self.changed[end] = found
        return found

    def touch(self, end: int, key: bytes | None) -> Any:  # noqa: ANN401 (see `Window`)
        """Makes a row of a window one of its changed rows, from the cache, the disk or anew."""
        row: Any = None
        clean = self._clean.get(end)
        if clean is not None:
            row = clean.pop(key, None)
            if row is not None:
                self._clean_count -= 1
        if row is None and end in self._persisted_ends:
            name = row_name(window_prefix(self._store_id, end), key)
            stored = self._store.get(name)
            if stored is not None:
                row = self.decode_row(split_row(name, stored)[1])
        if row is None:
            row = self.new_row()
            self.opened += 1
        self.window(end)[key] = row
        return row

    def close(self, through: int) -> list[Closed]:
        """Removes the windows that end at or before `through`; returns results by end and key."""
        ends = {end for end in self.changed if end <= through}
        ends.update([end for end in self._clean if end <= through])
        ends.update([end for end in self._persisted_ends if end <= through])
        closed: list[Closed] = []
        for end in sorted(ends):
            rows = self._take(end)
            self.opened -= len(rows)
            # No key comes before every key.
            if None in rows:
                closed.append((end, None, self.results_of(rows.pop(None))))
            keys = sorted(cast("dict[bytes, Any]", rows))
            closed.extend([(end, key, self.results_of(rows[key])) for key in keys])
        return closed

    # What a row is.

    def new_row(self) -> Any:  # noqa: ANN401 (see `Window`)
        """Returns an empty row."""
        return self._factory.new()

    def decode_row(self, data: bytes) -> Any:  # noqa: ANN401 (see `Window`)
        """Returns the row that was stored."""
        return self._factory.decode(data)

    def encode_row(self, row: Any) -> bytes:  # noqa: ANN401 (see `Window`)
        """Returns a row as it is stored."""
        encoded: bytes = row.encode()
        return encoded

    def results_of(self, row: Any) -> list[object]:  # noqa: ANN401 (see `Window`)
        """Returns the results of a row's aggregates."""
        results: list[object] = row.results()
        return results

    # The rest.

    def _take(self, end: int) -> Window:
        """Removes a window from memory and, with the next checkpoint, from the disk."""
        rows = self.changed.pop(end, {})
        clean = self._clean.pop(end, None)
        if clean is not None:
            self._clean_count -= len(clean)
            rows.update(clean)
        if end in self._persisted_ends:
            self._persisted_ends.discard(end)
            for name, value in self._store.scan(window_prefix(self._store_id, end)):
                self._removed.append(name)
                key, stored = split_row(name, value)
                if key not in rows:
                    rows[key] = self.decode_row(stored)
        return rows

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        changes: list[Change] = [(name, None) for name in self._removed]
        for end in sorted(self.changed):
            prefix = window_prefix(self._store_id, end)
            for key, row in self.changed[end].items():
                changes.append((row_name(prefix, key), row_value(key, self.encode_row(row))))
        return changes

    def committed(self) -> None:
        """What `changes` returned is on disk now."""
        self._removed = []
        for end, rows in self.changed.items():
            if not rows:
                continue
            self._persisted_ends.add(end)
            clean = self._clean.get(end)
            if clean is None:
                self._clean[end] = rows
            else:
                clean.update(rows)
            self._clean_count += len(rows)
        self.changed = {}
        # The oldest windows are the next to be closed: they are dropped last.
        for end in sorted(self._clean, reverse=True):
            if self._clean_count <= CLEAN_ROWS_MAX:
                break
            self._clean_count -= len(self._clean.pop(end))

    def highest_end(self) -> int | None:
        """Returns the end of the last open window, if any is open."""
        ends = [end for end, rows in self.changed.items() if rows]
        ends.extend([end for end, rows in self._clean.items() if rows])
        ends.extend(self._persisted_ends)
        return max(ends) if ends else None
