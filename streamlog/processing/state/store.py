"""A task's local state on disk: one LMDB environment, one transaction for each checkpoint.

Three maps:

* `rows`: what the changelog holds too; the names are those of `keys`.
* `undo`: what checkpoints overwrote; see `history`.
* `about`: the last checkpoint, what the state belongs to, the changelog's position, and in
  `rewrite/…` the names whose contents the changelog does not know: those that were undone, and
  those under which an owner that was fenced had written. The next checkpoint writes them again.

A store is used by one thread at a time, and by one process: the lock file says so. Other processes
may read; see `view`. Beside it are its snapshots; see there.
"""

from __future__ import annotations

import fcntl
import logging
import os
from typing import TYPE_CHECKING, Final

from streamlog.errors import StreamlogError
from streamlog.processing.errors import StateInUseError
from streamlog.processing.state import about, history
from streamlog.processing.state.about import translated
from streamlog.processing.state.going_back import RewindableStore
from streamlog.processing.state.keys import DECISIONS_ID
from streamlog.processing.state.lineage import last_common
from streamlog.processing.state.meta import encode_meta
from streamlog.processing.state.snapshots import (
    SnapshotWriter,
    beyond,
    find_snapshots,
    remove_every,
    remove_snapshots,
    remove_torn,
    rows_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streamlog.doors import Clock
    from streamlog.processing.state.history import Transaction
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.state.retention import Retention

logger = logging.getLogger(__name__)

LOOKS_MAX: Final = 1_000
"""Some milliseconds: whoever asks whether a state has an owner holds its lock for a moment."""


class TaskStore(RewindableStore):
    """The state of one task; opened by `open_task_store`.

    Attributes:
        about: What it says of itself, as of the last transaction.
    """

    _snapshot_looked_ms: int | None = None
    """Wall time of the newest snapshot, or of the last try; nothing if nobody has looked."""

    # Checkpoints.

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
            before = self.meta, self.about.time_ms
            past = self._write(txn, changes, (meta, now_ms), before, self._past)
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
                before = self.meta, self.about.time_ms
                common = None
                if with_history:
                    common, before = self._common_past(txn, meta)
                past = self._write(txn, changes, (meta, time_ms), before, common)
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
        after: tuple[TaskMeta, int],
        before: tuple[TaskMeta, int],
        past: history.Past | None,
    ) -> history.Past:
        """Writes a checkpoint; its history continues `past`, or what is left if that is nothing."""
        meta, time_ms = after
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
            limits = self._retention.history
            times = (meta.sequence, time_ms)
            past = history.record(txn, self._history, past, overwritten, before, times, limits)
        txn.put(about.META, encode_meta(meta), db=self._about)
        about.put_number(txn, self._about, about.TIME, time_ms)
        if not self.about.since_ms:
            about.put_number(txn, self._about, about.SINCE, time_ms)
        return history.load_past(txn, self._history) if past is None else past

    def _common_past(
        self, txn: Transaction, meta: TaskMeta
    ) -> tuple[history.Past | None, tuple[TaskMeta, int]]:
        """Returns the history that leads to a checkpoint of the changelog, and where it ends.

        Another owner may have gone back to before our last checkpoint. Then the state goes back to
        there as well; if it cannot, it has no past.
        """
        before = self.meta, self.about.time_ms
        if self.meta.sequence == 0:
            # State that is built from nothing has no past to go back to.
            return None, before
        common = last_common(self.meta, meta)
        if common == (self.meta.timeline, self.meta.sequence):
            return self._past, before
        kept = history.kept_before(txn, self._history, self._past)
        for steps, (fork, time_ms) in enumerate(kept, 1):
            if fork.sequence and (fork.timeline, fork.sequence) == common:
                left = len(self._past) - steps
                undone = self._past[left:]
                rows = history.rows_before(txn, self._history, undone[::-1])
                changes = [change for change in rows.items() if change[0] < DECISIONS_ID]
                self._overwrite(txn, changes)
                for step in undone:
                    history.drop_step(txn, self._history, step)
                return self._past[:left], (fork, time_ms)
        txn.drop(self._history, delete=False)
        return None, before

    # Snapshots.

    def tend_snapshot(self) -> None:
        """Begins a snapshot of the last checkpoint if one is due, or goes on with it, for a moment.

        A snapshot that fails harms nothing but itself; the next one is tried in its time.
        """
        limits = self._retention.snapshots
        try:
            with translated(self.folder):
                if self._copying is None and self._is_snapshot_due():
                    self._snapshot_looked_ms = self.about.time_ms
                    size = rows_bytes(self._env, self._rows)
                    if size > limits.bytes_max:
                        logger.warning(
                            "no snapshot of the state in %s is kept: it has %d bytes, and "
                            "snapshots_bytes is %d",
                            *(self.folder, size, limits.bytes_max),
                        )
                        return
                    self._begin_snapshot()
                if self._copying is not None and self._copying.step():
                    self._copying = None
                    self._tidy_snapshots()
        except (OSError, StreamlogError) as error:
            logger.warning("the state in %s was not copied: %s", self.folder, error)
            self._give_up_copying()

    def take_snapshot(self) -> None:
        """Takes a snapshot of the last checkpoint now, whole; tests need it."""
        self._give_up_copying()
        with translated(self.folder):
            self._begin_snapshot()
            assert self._copying is not None
            while not self._copying.step():
                pass
            self._copying = None
            self._tidy_snapshots()

    def _is_snapshot_due(self) -> bool:
        limits = self._retention.snapshots
        if self._snapshot_looked_ms is None:
            if not limits.kept:
                remove_every(self.folder)
            newest = next((each.checkpoint.time_ms for each in self.snapshots()), 0)
            self._snapshot_looked_ms = max(newest, self.about.since_ms)
        return limits.is_due(self.about.time_ms, self._snapshot_looked_ms)

    def _begin_snapshot(self) -> None:
        self._copying = SnapshotWriter(
            self.folder, self._env, self._rows, self.about, durable=self._durable
        )

    def _tidy_snapshots(self) -> None:
        """Removes those that are too many, and those that lead nowhere any more."""
        there = find_snapshots(self.folder)
        useful = [each for each in there if each.leads_to(self.about)]
        remove_snapshots(each for each in there if each not in useful)
        remove_snapshots(beyond(useful, self._retention.snapshots))


def open_task_store(
    folder: Path,
    sub_topology: str,
    partition: int,
    *,
    layout: Mapping[str, str] | None = None,
    identity: str = "",
    clock: Clock | None = None,
    retention: Retention | None = None,
    durable: bool = True,
) -> TaskStore:
    """Opens or creates a task's state in `folder/<sub-topology>/<partition>`.

    Args:
        folder: The pipeline's state folder.
        sub_topology: The task's.
        partition: The task's partition.
        layout: With which the state's must agree, by step; nothing if there is no plan.
        identity: What the state belongs to, such as the ids of its topics; state that belongs to
            something else is cleared.
        clock: Tells when checkpoints are taken.
        retention: How long they can be undone.
        durable: Whether a checkpoint must outlast the machine, and not only the process.

    Raises:
        StateInUseError: If another process has it open.
        LayoutChangedError: If the plan's state differs from what is stored.
        StateError: If it cannot be read.
    """
    home = folder / sub_topology / str(partition)
    home.mkdir(parents=True, exist_ok=True)
    lock = os.open(home / "owner.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
    if not _is_locked_by_us(lock):
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise StateInUseError(
            f"the state in {home} is in use by process {owner}",
            hint="Wait until that worker has ended, or name another folder: --state DIR",
        )
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    try:
        store = TaskStore(home, lock, clock, retention, durable=durable)
    except BaseException:
        os.close(lock)
        raise
    try:
        remove_torn(home)
        store.agree(layout, identity)
    except BaseException:
        store.close()
        raise
    return store


def _is_locked_by_us(lock: int) -> bool:
    """Takes the owner's lock, if it is free but for those who look whether it is."""
    for _ in range(LOOKS_MAX):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.sched_yield()
        else:
            return True
    return False
