"""A task's local state on disk: one LMDB environment, one transaction for each checkpoint.

Three maps:

* `rows`: what the changelog holds too; the names are those of `keys`.
* `undo`: what checkpoints overwrote; see `history`.
* `about`: the last checkpoint, what the state belongs to, the changelog's position, and in
  `rewrite/…` the names whose contents the changelog does not know: those that were undone, and
  those under which an owner that was fenced had written. The next checkpoint writes them again.

A write transaction of LMDB belongs to one thread, so each begins and commits in one function here.
A store is used by one thread at a time, and by one process: the lock file says so. Other processes
may read; see `view`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from streamlog.doors import Clock, SystemClock
from streamlog.processing.errors import StateError, StateInUseError
from streamlog.processing.state import about, history
from streamlog.processing.state.about import compare_layouts, names_from, translated
from streamlog.processing.state.history import HistoryLimits
from streamlog.processing.state.kept import (
    KeptCheckpoint,
    Undone,
    kept_checkpoints,
    rewound_meta,
)
from streamlog.processing.state.keys import DECISIONS_ID
from streamlog.processing.state.meta import TaskMeta, encode_meta
from streamlog.processing.state.stored_rows import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.state.history import Map, Transaction
    from streamlog.processing.state.kept import Position

_MAP_SIZE_FIRST: Final = 256 << 20
"""Of addresses; the file grows with what is in it."""
_MAP_SIZE_MAX: Final = 1 << 40


class TaskStore(StoredRows):
    """The state of one task; opened by `open_task_store`.

    Attributes:
        about: What it says of itself, as of the last transaction.
    """

    def __init__(
        self,
        folder: Path,
        lock: int,
        clock: Clock | None = None,
        limits: HistoryLimits | None = None,
        *,
        durable: bool = True,
    ) -> None:
        self.folder = folder
        self.about = about.About()
        self._clock = clock or SystemClock()
        self._limits = limits or HistoryLimits()
        self._lock = lock
        self._reader: Transaction | None = None
        with translated(folder):
            self._open(durable)

    def _open(self, durable: bool) -> None:
        self._env = lmdb.open(
            str(self.folder),
            map_size=_MAP_SIZE_FIRST,
            max_dbs=about.MAPS_MAX,
            max_spare_txns=1,
            sync=durable,
        )
        self._rows = self._env.open_db(about.ROWS)
        self._history = self._env.open_db(about.HISTORY)
        self._about = self._env.open_db(about.ABOUT)
        with self._env.begin() as txn:
            self._past = history.load_past(txn, self._history)
            self.about = about.load_about(txn, self._about)

    @property
    def meta(self) -> TaskMeta:
        """The last checkpoint."""
        return self.about.meta

    @property
    def changelog_position(self) -> int:
        """Offset after the last marker of the changelog that the state holds."""
        return self.about.changelog_position

    @property
    def rewrites(self) -> set[bytes]:
        """Names of rows whose contents the changelog does not know."""
        return self.about.rewrites

    @property
    def sequence(self) -> int:
        """Number of the last checkpoint; 0 before the first."""
        return self.meta.sequence

    @property
    def epoch(self) -> int:
        """Highest epoch that has owned the state, also if it took no checkpoint.

        Such an owner has written outputs, and readers of these refuse lower epochs from then on.
        """
        return max(self.meta.epoch, self.about.epoch)

    def positions(self) -> dict[Position, int]:
        """Returns the next offset to read of each input that was ever read."""
        return {(topic, partition): offset for topic, partition, offset in self.meta.positions}

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
        # No two have the same time, so that going back to one of them goes behind the other.
        now_ms = max(self._clock.wall_ms(), self.about.time_ms + 1)

        def write(txn: Transaction) -> history.Past:
            past = self._write(txn, changes, meta, now_ms, self._past)
            about.put_number(txn, self._about, about.CHANGELOG, position)
            for name in self.rewrites:
                txn.delete(about.REWRITE + name, db=self._about)
            return past

        self._transact(write)

    def apply(
        self,
        changes: Sequence[tuple[bytes, bytes | None]],
        meta: TaskMeta | None,
        changelog_position: int,
        voided: set[bytes],
        epoch: int = 0,
        time_ms: int = 0,
        *,
        with_history: bool = True,
    ) -> None:
        """Takes checkpoints from the changelog, as one step of the history.

        Args:
            changes: As for `commit`.
            meta: Of the last of them; nothing if there was none.
            changelog_position: Offset after the last marker or fence that was read.
            voided: Names of rows in the changelog whose newest contents there do not count.
            epoch: The highest that was seen there.
            time_ms: When the last of them was written; 0 if nobody knows.
            with_history: Whether to keep what undoes the step; without, what there is goes as well,
                because it would lead back from somewhere else.
        """
        highest = max(epoch, self.epoch)

        def write(txn: Transaction) -> history.Past:
            past = self._past
            if meta is not None:
                if not with_history and past:
                    txn.drop(self._history, delete=False)
                common = self._common_past(txn, meta) if with_history else None
                past = self._write(txn, changes, meta, time_ms, common)
            about.put_number(txn, self._about, about.CHANGELOG, changelog_position)
            about.put_number(txn, self._about, about.EPOCH, highest)
            if self.rewrites:
                for name in self.rewrites.intersection([name for name, _ in changes]):
                    txn.delete(about.REWRITE + name, db=self._about)
            for name in voided:
                txn.put(about.REWRITE + name, b"", db=self._about)
            return past

        self._transact(write)

    def _write(
        self,
        txn: Transaction,
        changes: Sequence[tuple[bytes, bytes | None]],
        meta: TaskMeta,
        time_ms: int,
        past: history.Past | None,
    ) -> history.Past:
        """Writes a checkpoint; its history continues `past`, or what is left if that is nothing."""
        if past is None:
            self._overwrite(txn, changes)
        else:
            rows = txn.cursor(self._rows)
            overwritten = [
                (name, rows.pop(name), False)
                if value is None
                else (name, rows.replace(name, value), True)
                for name, value in changes
            ]
            rows.close()
            before, after = (self.meta, self.about.time_ms), (meta.sequence, time_ms)
            past = history.record(
                txn, self._history, past, overwritten, before, after, self._limits
            )
        txn.put(about.META, encode_meta(meta), db=self._about)
        about.put_number(txn, self._about, about.TIME, time_ms)
        return history.load_past(txn, self._history) if past is None else past

    def _overwrite(self, txn: Transaction, changes: Sequence[tuple[bytes, bytes | None]]) -> None:
        rows = txn.cursor(self._rows)
        there = [change for change in changes if change[1] is not None]
        rows.putmulti(sorted(there, key=itemgetter(0)))
        if len(there) < len(changes):
            for name, value in changes:
                if value is None and rows.set_key(name):
                    rows.delete()
        rows.close()

    def _common_past(self, txn: Transaction, meta: TaskMeta) -> history.Past | None:
        """The history if our last checkpoint leads to this one; else drops what does not."""
        if self.meta.sequence == 0:
            # State that is built from nothing has no past to go back to.
            return None
        same = meta.timeline == self.meta.timeline and meta.sequence > self.meta.sequence
        forked = meta.timeline != self.meta.timeline and meta.forked_from == self.meta.timeline
        if same or (forked and self.meta.sequence <= meta.forked_at):
            return self._past
        # Another owner went back: what is above the fork is not how the rows came about, and
        # without the fork itself nothing below it leads here either.
        common = [step for step in self._past if forked and step.sequence <= meta.forked_at]
        if not common or common[-1].sequence != meta.forked_at:
            common = []
        for step in self._past[len(common) :]:
            history.drop_step(txn, self._history, step)
        return None

    # Going back. What was decided once is decided again likewise: those rows, the last, stay.

    def checkpoints(self) -> list[KeptCheckpoint]:
        """Returns to what the state can go back, the current checkpoint first."""
        with translated(self.folder):
            return kept_checkpoints(self._read(), self._history, self._past, self.about)

    def undone(self, to_sequence: int) -> Undone:
        """Returns what has to be changed for the state to be as it was at a checkpoint.

        Raises:
            StateError: If the history does not reach back to it.
        """
        checkpoints = self.checkpoints()
        for steps, each in enumerate(checkpoints):
            if each.sequence == to_sequence:
                newest_first = self._past[::-1][:steps]
                with translated(self.folder):
                    found = history.rows_before(self._read(), self._history, newest_first)
                changes = sorted(found.items(), key=itemgetter(0))
                del changes[bisect_left(changes, DECISIONS_ID, key=itemgetter(0)) :]
                return Undone(each, changes)
        raise StateError(
            f"the state in {self.folder} is at checkpoint {self.sequence}, and its history "
            f"does not reach back to {to_sequence}",
            hint="See what is kept: streamlog rewind PIPELINE. Or have it read its input again: "
            "--rebuild",
        )

    def emptied(self) -> Undone:
        """Returns what has to be changed for the state to be empty."""
        nothing: list[tuple[bytes, bytes | None]] = [
            (name, None) for name, _ in self.rows() if name < DECISIONS_ID
        ]
        return Undone(KeptCheckpoint(TaskMeta(), 0, len(nothing)), nothing)

    def undo(self, to_sequence: int) -> None:
        """Goes back to a checkpoint; the next one tells the changelog.

        Raises:
            StateError: If the history does not reach back to it.
        """
        undone = self.undone(to_sequence)
        self.rewind(undone, rewound_meta(self.meta, undone.to.meta), None)

    def rewind(self, undone: Undone, meta: TaskMeta, changelog_position: int | None) -> None:
        """Makes what was undone the state, in one transaction.

        Args:
            undone: From `undone` or `emptied`, with nothing written since.
            meta: Of the checkpoint to which the state goes, under a new number.
            changelog_position: Offset after the marker that tells it to the changelog; nothing if
                the next checkpoint has to.
        """
        kept = undone.to.sequence

        def write(txn: Transaction) -> history.Past:
            past = [step for step in self._past if step.sequence <= kept]
            if kept == 0:
                left = _rows_from(txn, self._rows, DECISIONS_ID)
                txn.drop(self._rows, delete=False)
                txn.drop(self._history, delete=False)
                self._overwrite(txn, left)
                past = []
            else:
                self._overwrite(txn, undone.changes)
                for step in self._past[len(past) :]:
                    history.drop_step(txn, self._history, step)
            txn.put(about.META, encode_meta(meta), db=self._about)
            about.put_number(txn, self._about, about.TIME, undone.to.time_ms)
            if not meta.layout:
                txn.delete(about.LAYOUT, db=self._about)
            if changelog_position is None:
                for name, _ in undone.changes:
                    txn.put(about.REWRITE + name, b"", db=self._about)
            else:
                about.put_number(txn, self._about, about.CHANGELOG, changelog_position)
                for name in self.rewrites:
                    txn.delete(about.REWRITE + name, db=self._about)
            return past

        self._transact(write)

    def clear(self) -> None:
        """Empties the state: as if it had never been used."""

        def write(txn: Transaction) -> history.Past:
            txn.drop(self._rows, delete=False)
            txn.drop(self._history, delete=False)
            for name in names_from(txn, self._about, about.REWRITE):
                txn.delete(name, db=self._about)
            for name in (about.META, about.TIME, about.CHANGELOG):
                txn.delete(name, db=self._about)
            return []

        self._transact(write)

    def _transact(self, write: Callable[[Transaction], history.Past]) -> None:
        """One transaction on this thread; tried again with a larger map when it does not fit."""
        self._end_reading()
        with translated(self.folder):
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
                self.about = about.load_about(txn, self._about)

    # What the state belongs to.

    def note_outline(self, outline: bytes) -> None:
        """Notes the pipeline's outline, for whoever looks into the state without its file."""
        if outline == self.about.outline:
            return

        def write(txn: Transaction) -> history.Past:
            txn.put(about.OUTLINE, outline, db=self._about)
            return self._past

        self._transact(write)

    def agree(self, layout: Mapping[str, str] | None, identity: str) -> None:
        """Checks that the state is of this plan and of these topics, and notes both.

        Args:
            layout: Of the plan; nothing if there is no plan to agree with.
            identity: Of the topics.

        Raises:
            LayoutChangedError: If a step's state is not what the plan says.
        """
        with self._env.begin() as txn:
            stored_layout = txn.get(about.LAYOUT, db=self._about)
            stored_identity = txn.get(about.IDENTITY, db=self._about)
        encoded = stored_layout
        if layout is not None:
            encoded = msgspec.msgpack.encode(dict(layout), order="deterministic")
        if stored_identity is not None and stored_identity != identity.encode():
            # Its topics were deleted and made anew: no offset in it means anything any more.
            self.clear()
        elif layout is None:
            pass
        elif self.meta.layout:
            # What the rows are goes by their checkpoint, which may be from the changelog.
            compare_layouts(self.meta.layout, layout)
        elif stored_layout is not None and self.sequence > 0:
            compare_layouts(msgspec.msgpack.decode(stored_layout, type=dict[str, str]), layout)

        def write(txn: Transaction) -> history.Past:
            if encoded is not None:
                txn.put(about.LAYOUT, encoded, db=self._about)
            txn.put(about.IDENTITY, identity.encode(), db=self._about)
            return self._past

        if stored_layout != encoded or stored_identity != identity.encode():
            self._transact(write)

    def check_layout(self, layout: Mapping[str, str]) -> None:
        """Checks that the rows, which may be from the changelog, are of this plan.

        Raises:
            LayoutChangedError: If a step's state is not what the plan says.
        """
        compare_layouts(self.meta.layout, layout)

    def close(self) -> None:
        """Lets go of the files; repeats are no-ops."""
        if self._lock < 0:
            return
        self._end_reading()
        self._env.close()
        os.close(self._lock)
        self._lock = -1


def _rows_from(txn: Transaction, db: Map, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    return [(name, txn.get(name, db=db)) for name in names_from(txn, db, prefix)]


def open_task_store(
    folder: Path,
    sub: SubTopologyPlan | str,
    partition: int,
    *,
    identity: str = "",
    clock: Clock | None = None,
    limits: HistoryLimits | None = None,
    durable: bool = True,
) -> TaskStore:
    """Opens or creates a task's state in `folder/<sub-topology>/<partition>`.

    Args:
        folder: The pipeline's state folder.
        sub: The task's sub-topology, with which the state's layout must agree; or only its name.
        partition: The task's partition.
        identity: What the state belongs to, such as the ids of its topics; state that belongs to
            something else is cleared.
        clock: Tells when checkpoints are taken.
        limits: How long they can be undone.
        durable: Whether a checkpoint must outlast the machine, and not only the process.

    Raises:
        StateInUseError: If another process has it open.
        LayoutChangedError: If the plan's state differs from what is stored.
        StateError: If it cannot be read.
    """
    home = folder / (sub if isinstance(sub, str) else sub.name) / str(partition)
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
        store = TaskStore(home, lock, clock, limits, durable=durable)
    except BaseException:
        os.close(lock)
        raise
    try:
        store.agree(None if isinstance(sub, str) else sub.layout, identity)
    except BaseException:
        store.close()
        raise
    return store


def remove_task_store(folder: Path, sub_topology: str, partition: int) -> None:
    """Deletes a task's state, which nobody may have open."""
    shutil.rmtree(folder / sub_topology / str(partition), ignore_errors=True)
