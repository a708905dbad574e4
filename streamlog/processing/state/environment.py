"""The environment of a task's state: opened, written in one transaction at a time, let go of.

A write transaction of LMDB belongs to one thread, so each begins and commits in one function. The
map grows as the state does; LMDB allows that only while this process reads nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from streamlog.doors import Clock, SystemClock
from streamlog.processing.state import about, history
from streamlog.processing.state.about import compare_layouts, names_from, translated
from streamlog.processing.state.retention import Retention
from streamlog.processing.state.snapshots import remove_every
from streamlog.processing.state.stored_rows import StoredRows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from streamlog.processing.state.history import Transaction
    from streamlog.processing.state.kept import Position
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.state.snapshots import SnapshotWriter

_MAP_SIZE_FIRST: Final = 256 << 20
"""Of addresses; the file grows with what is in it."""
_MAP_SIZE_MAX: Final = 1 << 40


class StoreEnvironment(StoredRows):
    """A task's state, without what is done with it.

    Attributes:
        about: What it says of itself, as of the last transaction.
    """

    _past: history.Past

    def __init__(
        self,
        folder: Path,
        lock: int,
        clock: Clock | None = None,
        retention: Retention | None = None,
        *,
        durable: bool = True,
    ) -> None:
        self.folder = folder
        self.about = about.About()
        self._clock = clock or SystemClock()
        self._retention = retention or Retention()
        self._lock = lock
        self._durable = durable
        self._reader: Transaction | None = None
        self._copying: SnapshotWriter | None = None
        with translated(folder):
            self._open()

    def _open(self) -> None:
        self._env = lmdb.open(
            str(self.folder),
            map_size=_MAP_SIZE_FIRST,
            max_dbs=about.MAPS_MAX,
            max_spare_txns=1,
            sync=self._durable,
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
                    self._give_up_copying()
                    self._env.set_mapsize(size)
            self._past = past
            with self._env.begin() as txn:
                self.about = about.load_about(txn, self._about)

    def _give_up_copying(self) -> None:
        """Ends the snapshot that is being written, if there is one."""
        copying, self._copying = self._copying, None
        if copying is not None:
            copying.give_up()

    def clear(self) -> None:
        """Empties the state: as if it had never been used."""

        def write(txn: Transaction) -> history.Past:
            txn.drop(self._rows, delete=False)
            txn.drop(self._history, delete=False)
            for name in names_from(txn, self._about, about.REWRITE):
                txn.delete(name, db=self._about)
            for name in (about.META, about.TIME, about.CHANGELOG, about.SINCE):
                txn.delete(name, db=self._about)
            return []

        self._give_up_copying()
        remove_every(self.folder)
        self._transact(write)

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
        self._give_up_copying()
        self._env.close()
        os.close(self._lock)
        self._lock = -1
