"""What checkpoints overwrote, newest last, so that they can be undone one by one.

For each checkpoint one entry `sequence 0x00` with the checkpoint before it, and an entry
`sequence 0x01 name` for each row that it changed, with the contents before: empty if there were
none, else "+" and the contents. Bounded in checkpoints and in bytes; the oldest go first.

These functions run inside the store's transactions. The list of checkpoints (`Past`) is handed in
and out, so that a transaction which is tried again begins with the same one.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from streamlog.processing.state.meta import TaskMeta, decode_meta, encode_meta

if TYPE_CHECKING:
    from collections.abc import Sequence

HISTORY_CHECKPOINTS_MAX: Final = 1_000
HISTORY_BYTES_MAX: Final = 64 << 20
"""With a checkpoint a second, a quarter of an hour; of a large state less."""

ENTRY_OVERHEAD_BYTES: Final = 32

Transaction: TypeAlias = Any
Map: TypeAlias = Any
"""Those of `lmdb`, whose annotations speak of memoryviews even where it returns only bytes."""

Past: TypeAlias = list[tuple[int, int]]
"""Sequence and size of each checkpoint in the history, oldest first."""

_NUMBER: Final = struct.Struct(">Q")
_META: Final = b"\x00"
_ROW: Final = b"\x01"


def load_past(txn: Transaction, db: Map) -> Past:
    """Returns what the history holds; one seek for each checkpoint."""
    past: Past = []
    cursor = txn.cursor(db)
    there = cursor.first()
    while there:
        number = cursor.key()[:8]
        size, _ = msgspec.msgpack.decode(cursor.value(), type=tuple[int, bytes])
        past.append((_NUMBER.unpack(number)[0], size))
        there = cursor.set_range(number + b"\xff")
    cursor.close()
    return past


def record(
    txn: Transaction,
    db: Map,
    past: Past,
    sequence: int,
    overwritten: Sequence[tuple[bytes, bytes | None]],
    meta: TaskMeta,
) -> Past:
    """Notes a checkpoint: what it overwrote, and the checkpoint `meta` before it."""
    number = _NUMBER.pack(sequence)
    size = 0
    cursor = txn.cursor(db)
    for name, before in overwritten:
        entry = b"" if before is None else b"+" + before
        cursor.put(number + _ROW + name, entry)
        size += len(name) + len(entry) + ENTRY_OVERHEAD_BYTES
    cursor.put(number + _META, msgspec.msgpack.encode((size, encode_meta(meta))))
    cursor.close()
    return _trim(txn, db, [*past, (sequence, size)])


def _trim(txn: Transaction, db: Map, past: Past) -> Past:
    """Drops the oldest checkpoints that are above the bounds; the newest always stays."""
    total = sum(size for _, size in past)
    dropped = 0
    while dropped < len(past) - 1 and (
        len(past) - dropped > HISTORY_CHECKPOINTS_MAX or total > HISTORY_BYTES_MAX
    ):
        number, size = past[dropped]
        _take(txn, db, number)
        total -= size
        dropped += 1
    return past[dropped:]


def undo_last(
    txn: Transaction, db: Map, past: Past
) -> tuple[TaskMeta, list[tuple[bytes, bytes | None]], Past]:
    """Takes the newest checkpoint out; returns the one before it, the rows before, the rest."""
    before = TaskMeta()
    rows: list[tuple[bytes, bytes | None]] = []
    for kind, name, value in _take(txn, db, past[-1][0]):
        if kind == _META:
            before = decode_meta(msgspec.msgpack.decode(value, type=tuple[int, bytes])[1])
        else:
            rows.append((name, value[1:] if value else None))
    return before, rows, past[:-1]


def meta_before(txn: Transaction, db: Map, sequence: int) -> TaskMeta:
    """Returns the checkpoint before one that is in the history."""
    value = txn.get(_NUMBER.pack(sequence) + _META, db=db)
    assert value is not None
    return decode_meta(msgspec.msgpack.decode(value, type=tuple[int, bytes])[1])


def _take(txn: Transaction, db: Map, sequence: int) -> list[tuple[bytes, bytes, bytes]]:
    """Removes a checkpoint's entries; returns (kind, name, value) of each."""
    number = _NUMBER.pack(sequence)
    taken: list[tuple[bytes, bytes, bytes]] = []
    cursor = txn.cursor(db)
    there = cursor.set_range(number)
    while there and cursor.key().startswith(number):
        entry = cursor.key()
        taken.append((entry[8:9], entry[9:], cursor.value()))
        there = cursor.delete()
    cursor.close()
    return taken
