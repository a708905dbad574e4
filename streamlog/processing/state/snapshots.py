"""Kept snapshots: whole copies of a task's state, for rewinds to where history does not reach.

A snapshot is an LMDB file of its own, `snapshots/<sequence>.mdb` in the task's folder, with two of
the maps that the state has: the rows, packed tightly, and `about` with the checkpoint's meta and
time. What undoes checkpoints is left out: a snapshot is one checkpoint.

It is written beside the running task, some thousands of rows behind each of its checkpoints, out
of a read transaction that stays as of the checkpoint with which it began. So no checkpoint waits
for more than a small step, and nothing else reads or writes the state meanwhile. LMDB cannot give
pages of that time back until the snapshot is complete, so the state's file may grow by what changes
until then; and should its map have to grow, which LMDB allows only while nobody reads, the snapshot
is given up and begun anew.

The file is written as `….new` and renamed once all of it is on disk. `about` is written last: a
file without it is torn. Torn files are removed by the state's next owner.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from streamlog.processing.state import about
from streamlog.processing.state.about import translated
from streamlog.processing.state.kept import KeptCheckpoint
from streamlog.processing.state.lineage import leads_to
from streamlog.processing.state.meta import encode_meta

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from streamlog.processing.state.about import About
    from streamlog.processing.state.history import Map, Transaction

logger = logging.getLogger(__name__)

FOLDER: Final = "snapshots"
STEP_ROWS: Final = 20_000
"""Some 40 ms of reading and writing."""
STEP_BYTES: Final = 4 << 20
_SUFFIX: Final = ".mdb"
_FRESH: Final = ".new"
_MAPS_MAX: Final = 2
_PAGES_SPARE: Final = 1_024
"""Packed rows take no more pages than they do in the state; this is for the rest of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotLimits:
    """When a task's state is copied, and what is kept of that.

    Args:
        every_ms: One for each such span of the wall clock.
        kept: The newest so many are kept; 0: none is taken.
        bytes_max: Of all that a task keeps. State that is larger alone is not copied.
        lead_ms: By how much the task is behind others with its snapshot; see `retention_of`.
    """

    every_ms: int = 24 * 3_600_000
    kept: int = 7
    bytes_max: int = 1 << 30
    lead_ms: int = 0

    def is_due(self, now_ms: int, last_ms: int) -> bool:
        """Whether a new span has begun since the last snapshot."""
        ends_at = (last_ms - self.lead_ms) // self.every_ms + 1
        return self.kept > 0 and (now_ms - self.lead_ms) // self.every_ms >= ends_at


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One that is complete."""

    checkpoint: KeptCheckpoint
    """Its rows are all that it has."""
    identity: bytes
    """What the state belonged to."""
    size_bytes: int
    path: Path

    @property
    def sequence(self) -> int:
        """The checkpoint's number."""
        return self.checkpoint.sequence

    def leads_to(self, now: About) -> bool:
        """Whether a state came about from it; if so, the state can be taken back to it.

        One of a timeline that a rewind has left is of no use: it holds what was taken back, and so
        do the inputs that it had read. Nor is one of inputs that were deleted and made anew, or of
        steps that are laid out differently since.
        """
        then, meta = self.checkpoint.meta, now.meta
        return (
            leads_to(then, meta)
            and self.identity == now.identity
            and then.topic_ids.items() <= {**then.topic_ids, **meta.topic_ids}.items()
            and then.layout.items() <= meta.layout.items()
        )


class SnapshotWriter:
    """Copies the rows of one checkpoint, step by step.

    Args:
        home: The task's folder.
        env: Its state.
        rows: The map of the rows.
        now: What the state says of itself: the checkpoint.
        durable: Whether the snapshot must outlast the machine, and not only the process.
    """

    def __init__(
        self, home: Path, env: lmdb.Environment, rows: Map, now: About, *, durable: bool
    ) -> None:
        self.path = home / FOLDER / f"{now.meta.sequence}{_SUFFIX}"
        self._fresh = self.path.with_name(self.path.name + _FRESH)
        self._now = now
        self._durable = durable
        self.path.parent.mkdir(exist_ok=True)
        self._fresh.unlink(missing_ok=True)
        self._txn = env.begin()
        self._cursor = self._txn.cursor(rows)
        self._items = iter(self._cursor)
        pages = _pages(self._txn, rows) + _PAGES_SPARE
        try:
            self._copy = lmdb.open(
                str(self._fresh),
                subdir=False,
                lock=False,
                max_dbs=_MAPS_MAX,
                map_size=2 * pages * env.stat()["psize"],
                sync=durable,
            )
        except BaseException:
            self._stop_reading()
            raise
        self._rows = self._copy.open_db(about.ROWS)
        self._about = self._copy.open_db(about.ABOUT)

    def step(self) -> bool:
        """Copies some rows; returns whether the snapshot is complete."""
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for item in islice(self._items, STEP_ROWS):
            batch.append(item)
            size += len(item[0]) + len(item[1])
            if size >= STEP_BYTES:
                break
        with self._copy.begin(write=True) as txn:
            if batch:
                txn.cursor(self._rows).putmulti(batch, append=True)
            if len(batch) == STEP_ROWS or size >= STEP_BYTES:
                return False
            txn.put(about.IDENTITY, self._now.identity, db=self._about)
            about.put_number(txn, self._about, about.TIME, self._now.time_ms)
            txn.put(about.META, encode_meta(self._now.meta), db=self._about)
        self._stop_reading()
        self._copy.close()
        self._fresh.rename(self.path)
        if self._durable:
            _flush(self.path.parent)
        return True

    def give_up(self) -> None:
        """Ends without a snapshot."""
        self._stop_reading()
        self._copy.close()
        self._fresh.unlink(missing_ok=True)

    def _stop_reading(self) -> None:
        self._cursor.close()
        self._txn.abort()


def rows_bytes(env: lmdb.Environment, rows: Map) -> int:
    """Returns how many bytes the rows of a state take."""
    with env.begin() as txn:
        size: int = _pages(txn, rows) * env.stat()["psize"]
    return size


def _pages(txn: Transaction, rows: Map) -> int:
    stat = txn.stat(rows)
    pages: int = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
    return pages


# Reading them.


def find_snapshots(home: Path) -> list[Snapshot]:
    """Returns the complete snapshots in a task's folder, of whatever state, the newest first."""
    found: list[Snapshot] = []
    for path in (home / FOLDER).glob(f"*{_SUFFIX}"):
        snapshot = _look_at(path)
        if snapshot is not None:
            found.append(snapshot)
    return sorted(found, key=lambda each: each.sequence, reverse=True)


def _look_at(path: Path) -> Snapshot | None:
    """What a file says of itself; nothing if it is no snapshot, or gone meanwhile."""
    try:
        with _opened(path) as (env, rows, own), env.begin() as txn:
            if txn.get(about.META, db=own) is None:
                return None
            then = about.load_about(txn, own)
            count: int = txn.stat(rows)["entries"]
        size = path.stat().st_size
    except (lmdb.Error, msgspec.MsgspecError, OSError) as error:
        logger.warning("%s is no snapshot: %s", path, error)
        return None
    return Snapshot(KeptCheckpoint(then.meta, then.time_ms, count), then.identity, size, path)


@contextmanager
def snapshot_rows(path: Path) -> Iterator[Iterator[tuple[bytes, bytes]]]:
    """Opens a snapshot; yields its rows, in the order of their names.

    Raises:
        StateError: If it cannot be read.
    """
    with translated(path), _opened(path) as (env, rows, _), env.begin() as txn:
        cursor = txn.cursor(rows)
        try:
            yield iter(cursor)
        finally:
            cursor.close()


@contextmanager
def _opened(path: Path) -> Iterator[tuple[lmdb.Environment, Map, Map]]:
    env = lmdb.open(
        str(path), subdir=False, readonly=True, lock=False, create=False, max_dbs=_MAPS_MAX
    )
    try:
        yield env, env.open_db(about.ROWS, create=False), env.open_db(about.ABOUT, create=False)
    finally:
        env.close()


def differences(
    now: Iterator[tuple[bytes, bytes]], then: Iterator[tuple[bytes, bytes]]
) -> Iterator[tuple[bytes, bytes | None]]:
    """Yields what has to be changed in rows for them to be others; both in the order of names."""
    one, other = next(now, None), next(then, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], None
            one = next(now, None)
        elif one is None or other[0] < one[0]:
            yield other
            other = next(then, None)
        else:
            if one[1] != other[1]:
                yield other
            one, other = next(now, None), next(then, None)


# Removing them.


def remove_torn(home: Path) -> None:
    """Removes what a crash has left of snapshots; for the state's owner only."""
    for path in (home / FOLDER).glob(f"*{_FRESH}"):
        path.unlink(missing_ok=True)


def remove_snapshots(snapshots: Iterable[Snapshot]) -> None:
    """Removes snapshots for good."""
    for each in snapshots:
        each.path.unlink(missing_ok=True)


def remove_every(home: Path) -> None:
    """Removes all that is in a task's folder of snapshots, also what cannot be read."""
    for path in (home / FOLDER).glob("*"):
        path.unlink(missing_ok=True)


def beyond(snapshots: Iterable[Snapshot], limits: SnapshotLimits) -> list[Snapshot]:
    """Returns those of some snapshots, the newest first, that are more than what is to be kept."""
    total = 0
    surplus: list[Snapshot] = []
    for number, each in enumerate(snapshots, 1):
        total += each.size_bytes
        if number > limits.kept or total > limits.bytes_max:
            surplus.append(each)
    return surplus


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
