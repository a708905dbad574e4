"""What checkpoints overwrote, so that they can be undone one by one, and how long that is kept.

For each checkpoint there is one entry `sequence 0x00` that tells the checkpoint before it, and
entries `sequence 0x01 number` with the rows that it changed, some hundred in each: the name and the
contents before (nothing if there was no such row), first those that are there since, then those
that are not.

**Thinning.** What is older is kept more coarsely (`TIERS`): neighbours become one step, which
undoes them together. A row that both came and went within a step leaves no trace in it, so a long
history of short-lived windows stays small. Each row is written again once for each tier.

**Bounds.** A step goes when all that it could undo is older than the pipeline's `history`, and the
oldest go while they are larger than its `history_bytes` altogether. The newest always stays.

These functions run inside the store's transactions. The list of steps (`Past`) is handed in and
out, so that a transaction which is tried again begins with the same one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from streamlog.processing.state.meta import TaskMeta, decode_meta, encode_meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000

TIERS: Final = (
    (2 * MINUTE_MS, 10_000),
    (20 * MINUTE_MS, MINUTE_MS),
    (2 * HOUR_MS, 10 * MINUTE_MS),
)
"""Beyond which age checkpoints become steps of which span; younger ones are kept one by one."""

STEPS_MAX: Final = 5_000
"""More than thinning leaves of any day; a bound for clocks that go wrong."""
MERGED_BYTES_MAX: Final = 16 << 20
"""Steps that are larger together stay apart: the task waits while they are merged."""
CHUNK_BYTES: Final = 16_000
ROW_OVERHEAD_BYTES: Final = 8

Transaction: TypeAlias = Any
Map: TypeAlias = Any
"""Those of `lmdb`, whose annotations speak of memoryviews even where it returns only bytes."""

Overwritten: TypeAlias = tuple[bytes, bytes | None, bool]
"""A row's name, its contents before, and whether there is such a row since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLimits:
    """How long a task can be rewound from its local state alone.

    Args:
        span_ms: Wall time.
        bytes_max: Of one task.
    """

    span_ms: int = 6 * HOUR_MS
    bytes_max: int = 256 << 20


class Step(msgspec.Struct, frozen=True, array_like=True):
    """What undoes one checkpoint, or several that became one."""

    sequence: int
    """Of the checkpoint that it undoes."""
    size: int
    rows: int
    time_ms: int
    """Wall time of that checkpoint."""
    before_ms: int
    """Wall time of the checkpoint to which it leads."""


Past: TypeAlias = list[Step]
"""Oldest first."""

_NUMBER: Final = struct.Struct(">Q")
_CHUNK: Final = struct.Struct(">I")
_META: Final = b"\x00"
_ROWS: Final = b"\x01"
_AFTER: Final = b"\x02"

_encode: Final = msgspec.msgpack.Encoder().encode
_STEP_DECODER: Final = msgspec.msgpack.Decoder(tuple[Step, bytes])
_Rows: TypeAlias = list[tuple[bytes, bytes | None]]
_CHUNK_DECODER: Final = msgspec.msgpack.Decoder(tuple[_Rows, _Rows])


def load_past(txn: Transaction, db: Map) -> Past:
    """Returns what the history holds; one seek for each step."""
    past: Past = []
    cursor = txn.cursor(db)
    there = cursor.first()
    while there:
        number = cursor.key()[:8]
        past.append(_STEP_DECODER.decode(cursor.value())[0])
        there = cursor.set_range(number + _AFTER)
    cursor.close()
    return past


def record(
    txn: Transaction,
    db: Map,
    past: Past,
    overwritten: Sequence[Overwritten],
    before: tuple[TaskMeta, int],
    after: tuple[int, int],
    limits: HistoryLimits,
) -> Past:
    """Notes a checkpoint.

    Args:
        txn: The transaction that makes it.
        db: The history's map.
        past: What the history holds.
        overwritten: What it changes.
        before: The checkpoint before it, and when that was.
        after: Its own sequence and time.
        limits: What to keep.
    """
    meta, before_ms = before
    sequence, time_ms = after
    kept = [each for each in overwritten if each[1] is not None or each[2]]
    step = _put(txn, db, sequence, kept, meta, (time_ms, before_ms))
    past = _thin(txn, db, [*past, step], time_ms)
    return _trim(txn, db, past, time_ms, limits)


def _put(
    txn: Transaction,
    db: Map,
    sequence: int,
    rows: Sequence[Overwritten],
    meta: TaskMeta,
    times: tuple[int, int],
) -> Step:
    number = _NUMBER.pack(sequence)
    total = 0
    chunks: list[Sequence[Overwritten]] = []
    start = size = 0
    for index, (name, before, _) in enumerate(rows):
        size += len(name) + (len(before) if before else 0) + ROW_OVERHEAD_BYTES
        if size >= CHUNK_BYTES:
            chunks.append(rows[start : index + 1])
            total += size
            start, size = index + 1, 0
    if start < len(rows):
        chunks.append(rows[start:])
        total += size
    for index, chunk in enumerate(chunks):
        there = [(name, before) for name, before, is_there in chunk if is_there]
        gone = [(name, before) for name, before, is_there in chunk if not is_there]
        txn.put(number + _ROWS + _CHUNK.pack(index), _encode((there, gone)), db=db)
    step = Step(sequence, total, len(rows), *times)
    txn.put(number + _META, _encode((step, encode_meta(meta))), db=db)
    return step


def _thin(txn: Transaction, db: Map, past: Past, now_ms: int) -> Past:
    """Merges the oldest neighbours that are due, one group at a time so that nobody waits."""
    start = 0
    while start < len(past) - 1:
        span = _span_at(now_ms - past[start].time_ms)
        stop = start + 1
        if span:
            # A group is merged once all of it is old enough, or a young part would follow alone.
            bucket = past[start].time_ms // span
            size = past[start].size
            while (
                stop < len(past) - 1
                and past[stop].time_ms // span == bucket
                and size + past[stop].size <= MERGED_BYTES_MAX
            ):
                size += past[stop].size
                stop += 1
            whole = _span_at(now_ms - (bucket + 1) * span) >= span
            if stop - start > 1 and whole:
                merged = _merge(txn, db, past[start:stop])
                return [*past[:start], merged, *past[stop:]]
        start = stop
    return past


def _span_at(age_ms: int) -> int:
    """Returns into what spans steps of an age are merged; 0: not at all."""
    return max((span for beyond, span in TIERS if age_ms > beyond), default=0)


def _merge(txn: Transaction, db: Map, steps: Past) -> Step:
    meta = meta_before(txn, db, steps[0].sequence)
    rows: dict[bytes, Overwritten] = {}
    for step in steps:
        for name, before, there in _take(txn, db, step.sequence):
            first = rows.get(name)
            rows[name] = (name, before if first is None else first[1], there)
    kept = [each for _, each in sorted(rows.items()) if each[1] is not None or each[2]]
    last = steps[-1]
    return _put(txn, db, last.sequence, kept, meta, (last.time_ms, steps[0].before_ms))


def _trim(txn: Transaction, db: Map, past: Past, now_ms: int, limits: HistoryLimits) -> Past:
    """Drops the oldest steps that are beyond the limits."""
    total = sum(step.size for step in past)
    dropped = 0
    while dropped < len(past) - 1 and (
        past[dropped].time_ms < now_ms - limits.span_ms
        or total > limits.bytes_max
        or len(past) - dropped > STEPS_MAX
    ):
        total -= past[dropped].size
        drop_step(txn, db, past[dropped])
        dropped += 1
    return past[dropped:]


def rows_before(txn: Transaction, db: Map, steps: Iterable[Step]) -> dict[bytes, bytes | None]:
    """Returns the rows that differ before all of these steps, newest first, as they were then."""
    found: dict[bytes, bytes | None] = {}
    gone: set[bytes] = set()
    for step in steps:
        number = _NUMBER.pack(step.sequence)
        for chunk in _chunks(txn, db, number):
            there, not_there = _CHUNK_DECODER.decode(chunk)
            found.update(there)
            for name, before in not_there:
                if name not in found:
                    gone.add(name)
                found[name] = before
    for name in gone:
        # It came after that checkpoint and is gone already.
        if found[name] is None:
            del found[name]
    return found


def meta_before(txn: Transaction, db: Map, sequence: int) -> TaskMeta:
    """Returns the checkpoint to which the step of this sequence leads."""
    value = txn.get(_NUMBER.pack(sequence) + _META, db=db)
    assert value is not None
    return decode_meta(_STEP_DECODER.decode(value)[1])


def kept_before(txn: Transaction, db: Map, past: Past) -> Iterator[tuple[TaskMeta, int]]:
    """Yields the checkpoints to which the steps lead, the newest first, and when they were."""
    for step in reversed(past):
        yield meta_before(txn, db, step.sequence), step.before_ms


def drop_step(txn: Transaction, db: Map, step: Step) -> None:
    """Forgets a step."""
    number = _NUMBER.pack(step.sequence)
    cursor = txn.cursor(db)
    there = cursor.set_range(number)
    while there and cursor.key().startswith(number):
        there = cursor.delete()
    cursor.close()


def _chunks(txn: Transaction, db: Map, number: bytes) -> list[bytes]:
    found: list[bytes] = []
    cursor = txn.cursor(db)
    there = cursor.set_range(number + _ROWS)
    while there and cursor.key().startswith(number):
        found.append(cursor.value())
        there = cursor.next()
    cursor.close()
    return found


def _take(txn: Transaction, db: Map, sequence: int) -> list[Overwritten]:
    """Removes a step; returns its rows."""
    number = _NUMBER.pack(sequence)
    rows: list[Overwritten] = []
    cursor = txn.cursor(db)
    there = cursor.set_range(number)
    while there and cursor.key().startswith(number):
        if cursor.key()[8:9] == _ROWS:
            kept, gone = _CHUNK_DECODER.decode(cursor.value())
            rows += [(name, before, True) for name, before in kept]
            rows += [(name, before, False) for name, before in gone]
        there = cursor.delete()
    cursor.close()
    return rows
