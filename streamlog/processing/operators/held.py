"""Records that wait in the state for their time, in an order that no mix of writers changes.

Most of them are gone before the next checkpoint. So new ones wait in a heap in memory, and become
rows when a checkpoint asks for them. The name of a row is

    due         8 bytes   the time that has to pass
    timestamp   8 bytes   of the record
    key                   as `token_of` makes it
    writer      8 bytes

and it holds the key, if it is a long one, and the records for which all these are equal, in the
order in which they came. What one writer wrote comes in its order, so records leave, and lie in
their rows, in the order of due time, event time, key, writer and arrival.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from streamlog.processing.state.row_table import (
    NAME_SIZE_MAX,
    RowTable,
    kept_key,
    key_of,
    time_name,
    time_of,
    token_of,
)

if TYPE_CHECKING:
    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

_encode = msgspec.msgpack.Encoder(order="deterministic").encode
_decode: Final = msgspec.msgpack.Decoder().decode

_TOKEN_BEGINS: Final = 16
_WRITER_SIZE: Final = 8
_END: Final = b"\xff" * (NAME_SIZE_MAX + 1)


class Held(NamedTuple):
    """A record that waits, in the order in which records leave."""

    due: int
    timestamp: int
    has_key: bool
    """No key comes before every key."""
    key_bytes: bytes
    writer: int
    arrival: int
    """Counted from 1 since the last checkpoint; of older ones below that."""
    item: Any

    @property
    def key(self) -> bytes | None:
        """The record's key."""
        return self.key_bytes if self.has_key else None


class HeldRecords(RowTable):
    """The records that wait.

    Args:
        context: Of the operator.
        number: Of the table among those of the operator.
    """

    def __init__(self, context: OperatorContext, number: int = 0) -> None:
        super().__init__(context.store, context.store_id, number)
        self._fresh: list[Held] = []
        self._arrivals = 0
        self._floor = b""
        """No row comes before it."""
        self._first_row_due = self._find_first_row()

    def hold(self, due: int, timestamp: int, key: bytes | None, writer: int, item: object) -> None:
        """Keeps what MessagePack can hold of a record until `due` has passed."""
        self._arrivals += 1
        place = (due, timestamp, key is not None, key or b"", writer, self._arrivals)
        heappush(self._fresh, Held(*place, item))

    def release(self, before: int | None) -> list[Held]:
        """Removes what was due before a time, or everything; returns it in order."""
        released = self._release_rows(before)
        stored = len(released)
        fresh = self._fresh
        while fresh and (before is None or fresh[0].due < before):
            released.append(heappop(fresh))
        if 0 < stored < len(released):
            released.sort(key=_place)
        return released

    def _release_rows(self, before: int | None) -> list[Held]:
        first = self._first_row_due
        if first is None or (before is not None and first >= before):
            return []
        end = _END if before is None else time_name(before)
        released: list[Held] = []
        for name, row in list(self.scan(self._floor, end)):
            kept, items = _decode(row)
            key = key_of(name[_TOKEN_BEGINS:-_WRITER_SIZE], kept)
            place = (time_of(name), time_of(name, 8), key is not None, key or b"")
            writer = time_of(name, len(name) - _WRITER_SIZE)
            for arrival, item in enumerate(items, 1 - len(items)):
                released.append(Held(*place, writer, arrival, item))
            self.delete(name)
        # Rows are in the order of tokens, of which those of long keys come last.
        released.sort(key=_place)
        if before is not None:
            self._floor = end
        self._first_row_due = self._find_first_row()
        return released

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        for held in sorted(self._fresh, key=_place):
            self._store_row(held)
        self._fresh.clear()
        self._arrivals = 0
        return super().changes()

    def _store_row(self, held: Held) -> None:
        token = token_of(held.key)
        due = time_name(held.due)
        name = due + time_name(held.timestamp) + token + time_name(held.writer)
        row = self.get(name)
        if row is None:
            self.put(name, _encode((kept_key(held.key, token), [held.item])))
        else:
            kept, items = _decode(row)
            self.put(name, _encode((kept, [*items, held.item])))
        if self._first_row_due is None or held.due < self._first_row_due:
            self._first_row_due = held.due
        self._floor = min(self._floor, due)

    def _find_first_row(self) -> int | None:
        found = next(self.scan(self._floor, _END), None)
        return None if found is None else time_of(found[0])


def _place(held: Held) -> tuple[int, int, bool, bytes, int, int]:
    return held[:6]
