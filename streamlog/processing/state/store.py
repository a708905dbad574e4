"""A task's local state on disk: one LMDB environment, one transaction for each checkpoint.

Three maps:

* `rows`: what the changelog holds too; the names are those of `keys`.
* `history`: what checkpoints overwrote; see the module of that name.
* `about`: the layout, what the state belongs to, the changelog's position, `TaskMeta`, and in
  `rewrite/…` the names whose contents the changelog does not know: those that `undo` took back, and
  those under which an owner that was fenced had written. The next checkpoint writes them again.

A write transaction of LMDB belongs to one thread, so each begins and commits in one function here.
A store is used by one thread at a time, and by one process: the lock file says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from streamlog.processing.errors import LayoutChangedError, StateError, StateInUseError
from streamlog.processing.state import history
from streamlog.processing.state.meta import TaskMeta, decode_meta, encode_meta

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.state.history import Map, Transaction

Position = tuple[str, int]
"""A topic and a partition."""

_MAP_SIZE_FIRST: Final = 16 << 20
_MAP_SIZE_MAX: Final = 1 << 40
_META: Final = b"meta"
_LAYOUT: Final = b"layout"
_IDENTITY: Final = b"identity"
_CHANGELOG: Final = b"changelog"
_EPOCH: Final = b"epoch"
_REWRITE: Final = b"rewrite/"
_OFFSET: Final = struct.Struct(">Q")


class TaskStore:
    """The state of one task; opened by `open_task_store`.

    Attributes:
        meta: The last checkpoint.
        changelog_position: Offset after the last marker of the changelog that the state holds.
    """

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder = folder
        self.meta = TaskMeta()
        self.changelog_position = 0
        self.rewrites: set[bytes] = set()
        self._epoch = 0
        self._lock = lock
        self._reader: Transaction | None = None
        with _translated(folder):
            self._open()

    def _open(self) -> None:
        self._env = lmdb.open(
            str(self.folder), map_size=_MAP_SIZE_FIRST, max_dbs=3, max_spare_txns=1
        )
        self._rows = self._env.open_db(b"rows")
        self._history = self._env.open_db(b"history")
        self._about = self._env.open_db(b"about")
        with self._env.begin() as txn:
            self._past = history.load_past(txn, self._history)
            self._load(txn)

    def _load(self, txn: Transaction) -> None:
        """Reads what is kept in memory; after everything that writes."""
        stored = txn.get(_META, db=self._about)
        self.meta = decode_meta(stored) if stored else TaskMeta()
        position = txn.get(_CHANGELOG, db=self._about)
        self.changelog_position = _OFFSET.unpack(position)[0] if position else 0
        epoch = txn.get(_EPOCH, db=self._about)
        self._epoch = _OFFSET.unpack(epoch)[0] if epoch else 0
        names = _names_from(txn, self._about, _REWRITE)
        self.rewrites = {name.removeprefix(_REWRITE) for name in names}

    @property
    def sequence(self) -> int:
        """Number of the last checkpoint; 0 before the first."""
        return self.meta.sequence

    @property
    def epoch(self) -> int:
        """Highest epoch that has owned the state, also if it took no checkpoint.

        Such an owner has written outputs, and readers of these refuse lower epochs from then on.
        """
        return max(self.meta.epoch, self._epoch)

    def positions(self) -> dict[Position, int]:
        """Returns the next offset to read of each input that was ever read."""
        return {(topic, partition): offset for topic, partition, offset in self.meta.positions}

    # Reading rows.

    def get(self, name: bytes) -> bytes | None:
        """Returns a row's contents."""
        with _translated(self.folder):
            found: bytes | None = self._read().get(name, db=self._rows)
        return found

    def scan(self, prefix: bytes) -> list[tuple[bytes, bytes]]:
        """Returns the rows whose names begin with a prefix, in the order of their names."""
        with _translated(self.folder):
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
        with _translated(self.folder):
            cursor = self._read().cursor(self._rows)
            if cursor.set_range(begin):
                for name, value in cursor:
                    if name >= end:
                        break
                    yield name, value
            cursor.close()

    def distinct_prefixes(self, prefix: bytes, size: int) -> list[bytes]:
        """Returns the different first `size` bytes of the names that begin with a prefix.

        It seeks from one to the next, so it costs as much as there are, not as there are rows.
        """
        with _translated(self.folder):
            cursor = self._read().cursor(self._rows)
            found: list[bytes] = []
            there = cursor.set_range(prefix)
            while there and cursor.key().startswith(prefix):
                found.append(cursor.key()[:size])
                there = cursor.set_range(found[-1] + b"\xff")
            cursor.close()
        return found

    def rows(self) -> list[tuple[bytes, bytes]]:
        """Returns all rows."""
        return self.scan(b"")

    def size(self) -> tuple[int, int]:
        """Returns how many rows there are, and how many bytes the files take, history included."""
        with _translated(self.folder):
            rows: int = self._read().stat(self._rows)["entries"]
            pages: int = self._env.info()["last_pgno"] + 1
            return rows, pages * self._env.stat()["psize"]

    def _read(self) -> Transaction:
        """A read transaction that lasts until the next write."""
        if self._reader is None:
            self._reader = self._env.begin()
        return self._reader

    # Writing.

    def commit(
        self,
        changes: Sequence[tuple[bytes, bytes | None]],
        meta: TaskMeta,
        changelog_position: int | None,
    ) -> None:
        """Makes a checkpoint the state: rows, meta and history in one transaction.

        Args:
            changes: Names with new contents, or with nothing to remove them.
            meta: Its sequence is above the current one.
            changelog_position: Offset after the checkpoint's marker; nothing if there is none.
        """
        assert meta.sequence > self.meta.sequence, "checkpoints are numbered upwards"
        position = self.changelog_position if changelog_position is None else changelog_position

        def write(txn: Transaction) -> history.Past:
            past = self._write(txn, changes, meta, keep_history=True)
            txn.put(_CHANGELOG, _OFFSET.pack(position), db=self._about)
            for name in self.rewrites:
                txn.delete(_REWRITE + name, db=self._about)
            return past

        self._transact(write)

    def apply(
        self,
        changes: Sequence[tuple[bytes, bytes | None]],
        meta: TaskMeta | None,
        changelog_position: int,
        voided: set[bytes],
        epoch: int = 0,
    ) -> None:
        """Takes checkpoints from the changelog, as one step of the history.

        Args:
            changes: As for `commit`.
            meta: Of the last of them; nothing if there was none.
            changelog_position: Offset after the last marker or fence that was read.
            voided: Names of rows in the changelog whose newest contents there do not count.
            epoch: The highest that was seen there.
        """
        highest = max(epoch, self.epoch)

        def write(txn: Transaction) -> history.Past:
            past = self._past
            if meta is not None:
                # State that is built from nothing has no past to go back to.
                past = self._write(txn, changes, meta, keep_history=self.meta.sequence > 0)
            txn.put(_CHANGELOG, _OFFSET.pack(changelog_position), db=self._about)
            txn.put(_EPOCH, _OFFSET.pack(highest), db=self._about)
            for name, _ in changes:
                txn.delete(_REWRITE + name, db=self._about)
            for name in voided:
                txn.put(_REWRITE + name, b"", db=self._about)
            return past

        self._transact(write)

    def _write(
        self,
        txn: Transaction,
        changes: Sequence[tuple[bytes, bytes | None]],
        meta: TaskMeta,
        *,
        keep_history: bool,
    ) -> history.Past:
        rows = txn.cursor(self._rows)
        overwritten = [
            (name, rows.pop(name) if value is None else rows.replace(name, value))
            for name, value in changes
        ]
        rows.close()
        txn.put(_META, encode_meta(meta), db=self._about)
        if not keep_history:
            return self._past
        past = self._past
        if past and past[-1][0] >= meta.sequence:
            # Another owner went back and counts anew: what we could undo is not how it came about.
            txn.drop(self._history, delete=False)
            past = []
        return history.record(txn, self._history, past, meta.sequence, overwritten, self.meta)

    # Going back.

    def checkpoints(self) -> list[tuple[int, Mapping[Position, int]]]:
        """Returns (sequence, positions) of what `undo` can reach, the current one first."""
        found: list[tuple[int, Mapping[Position, int]]] = [(self.sequence, self.positions())]
        with _translated(self.folder):
            for number, _ in reversed(self._past):
                before = history.meta_before(self._read(), self._history, number)
                positions = {(t, p): offset for t, p, offset in before.positions}
                found.append((before.sequence, positions))
        return found

    def undo(self, to_sequence: int) -> None:
        """Takes back checkpoints, one by one, until `to_sequence` is the newest.

        Raises:
            StateError: If the history does not reach back to it.
        """
        if to_sequence not in [sequence for sequence, _ in self.checkpoints()]:
            raise StateError(
                f"the state in {self.folder} is at checkpoint {self.sequence}, and its history "
                f"does not reach back to {to_sequence}",
                hint="Rebuild it from the log: remove the folder and start the pipeline anew",
            )

        def write(txn: Transaction) -> history.Past:
            meta, past = self.meta, self._past
            while meta.sequence != to_sequence:
                meta, rows, past = history.undo_last(txn, self._history, past)
                for name, value in rows:
                    if value is None:
                        txn.delete(name, db=self._rows)
                    else:
                        txn.put(name, value, db=self._rows)
                    txn.put(_REWRITE + name, b"", db=self._about)
            # The epoch never goes back: it says who may write.
            meta = msgspec.structs.replace(meta, epoch=self.meta.epoch)
            txn.put(_META, encode_meta(meta), db=self._about)
            return past

        self._transact(write)

    def clear(self) -> None:
        """Empties the state: as if it had never been used."""

        def write(txn: Transaction) -> history.Past:
            txn.drop(self._rows, delete=False)
            txn.drop(self._history, delete=False)
            for name in _names_from(txn, self._about, _REWRITE):
                txn.delete(name, db=self._about)
            txn.delete(_META, db=self._about)
            txn.delete(_CHANGELOG, db=self._about)
            return []

        self._transact(write)

    def _transact(self, write: Callable[[Transaction], history.Past]) -> None:
        """One transaction on this thread; tried again with a larger map when it does not fit."""
        self._end_reading()
        with _translated(self.folder):
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        past = write(txn)
                    break
                except lmdb.MapFullError:
                    size = self._env.info()["map_size"] * 2
                    if size > _MAP_SIZE_MAX:
                        raise
                    self._env.set_mapsize(size)
            self._past = past
            with self._env.begin() as txn:
                self._load(txn)

    def _end_reading(self) -> None:
        if self._reader is not None:
            self._reader.abort()
            self._reader = None

    # What the state belongs to.

    def agree(self, layout: Mapping[str, str], identity: str) -> None:
        """Checks that the state is of this plan and of these topics, and notes both.

        Raises:
            LayoutChangedError: If a step's state is not what the plan says.
        """
        encoded = msgspec.msgpack.encode(dict(layout), order="deterministic")
        with self._env.begin() as txn:
            stored_layout = txn.get(_LAYOUT, db=self._about)
            stored_identity = txn.get(_IDENTITY, db=self._about)
        if stored_identity is not None and stored_identity != identity.encode():
            # Its topics were deleted and made anew: no offset in it means anything any more.
            self.clear()
        elif self.meta.layout:
            # What the rows are goes by their checkpoint, which may be from the changelog.
            _compare_layouts(self.meta.layout, layout)
        elif stored_layout is not None and self.sequence > 0:
            _compare_layouts(msgspec.msgpack.decode(stored_layout, type=dict[str, str]), layout)

        def write(txn: Transaction) -> history.Past:
            txn.put(_LAYOUT, encoded, db=self._about)
            txn.put(_IDENTITY, identity.encode(), db=self._about)
            return self._past

        if stored_layout != encoded or stored_identity != identity.encode():
            self._transact(write)

    def check_layout(self, layout: Mapping[str, str]) -> None:
        """Checks that the rows, which may be from the changelog, are of this plan.

        Raises:
            LayoutChangedError: If a step's state is not what the plan says.
        """
        _compare_layouts(self.meta.layout, layout)

    def close(self) -> None:
        """Lets go of the files; repeats are no-ops."""
        if self._lock < 0:
            return
        self._end_reading()
        self._env.close()
        os.close(self._lock)
        self._lock = -1


def open_task_store(
    folder: Path, sub: SubTopologyPlan, partition: int, *, identity: str = ""
) -> TaskStore:
    """Opens or creates a task's state in `folder/<sub-topology>/<partition>`.

    Args:
        folder: The pipeline's state folder.
        sub: The task's sub-topology, with which the state's layout must agree.
        partition: The task's partition.
        identity: What the state belongs to, such as the ids of its topics; state that belongs to
            something else is cleared.

    Raises:
        StateInUseError: If another process has it open.
        LayoutChangedError: If the plan's state differs from what is stored.
        StateError: If it cannot be read.
    """
    home = folder / sub.name / str(partition)
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StateInUseError(
            f"the state in {home} is in use by process {owner}",
            hint="Wait until that worker has ended, or name another folder: --state DIR",
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    try:
        store = TaskStore(home, lock)
    except BaseException:
        os.close(lock)
        raise
    try:
        store.agree(sub.layout, identity)
    except BaseException:
        store.close()
        raise
    return store


def remove_task_store(folder: Path, sub_topology: str, partition: int) -> None:
    """Deletes a task's state, which nobody may have open."""
    shutil.rmtree(folder / sub_topology / str(partition), ignore_errors=True)


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Turns LMDB's errors into ours."""
    try:
        yield
    except lmdb.Error as error:
        raise StateError(
            f"the state in {folder} failed: {error}",
            hint="Is the disk full? If the state is damaged, remove the folder: it is restored "
            "from the changelog",
        ) from error
    except (msgspec.MsgspecError, struct.error) as error:
        raise StateError(
            f"the state in {folder} is damaged: {error}",
            hint="Remove the folder: the state is restored from the changelog",
        ) from error


def _names_from(txn: Transaction, db: Map, prefix: bytes) -> list[bytes]:
    cursor = txn.cursor(db)
    names: list[bytes] = []
    if cursor.set_range(prefix):
        for name in cursor.iternext(keys=True, values=False):
            if not name.startswith(prefix):
                break
            names.append(name)
    cursor.close()
    return names


def _compare_layouts(stored: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuses a plan whose steps would misread what is stored; new steps are welcome."""
    for step, shape in stored.items():
        if wanted.get(step) == shape:
            continue
        now = f"is {wanted[step]} now" if step in wanted else "is not in the pipeline any more"
        raise LayoutChangedError(
            f'the state of step "{step}" was written as {shape}, but the step {now}',
            hint="Undo the edit, give the changed step a new name=, or run the pipeline under "
            "another name, so that it builds its state from the log",
        )
