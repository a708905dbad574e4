"""A task's state taken back: to a checkpoint in its history, to a snapshot, to nothing.

What was decided by the wall clock once is decided again likewise: those rows, the last, stay.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from streamlog.processing.errors import StateError
from streamlog.processing.state import about, history
from streamlog.processing.state.about import names_from, translated
from streamlog.processing.state.environment import StoreEnvironment
from streamlog.processing.state.kept import KeptCheckpoint, Undone, kept_checkpoints
from streamlog.processing.state.keys import DECISIONS_ID
from streamlog.processing.state.lineage import rewound_meta
from streamlog.processing.state.meta import TaskMeta, encode_meta
from streamlog.processing.state.snapshots import (
    differences,
    find_snapshots,
    remove_snapshots,
    snapshot_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from streamlog.processing.state.history import Map, Transaction
    from streamlog.processing.state.snapshots import Snapshot


class RewindableStore(StoreEnvironment):
    """A task's state, with what a rewind does to it."""

    def checkpoints(self) -> list[KeptCheckpoint]:
        """Returns to what the history can take the state back, the current checkpoint first."""
        with translated(self.folder):
            return kept_checkpoints(self._read(), self._history, self._past, self.about)

    def snapshots(self) -> list[Snapshot]:
        """Returns the kept snapshots to which the state can be taken back, the newest first."""
        return [each for each in find_snapshots(self.folder) if each.leads_to(self.about)]

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

    def undone_to_snapshot(self, sequence: int) -> Undone:
        """Returns what has to be changed for the state to be as it is in a snapshot.

        Raises:
            StateError: If there is no such snapshot, or it cannot be read.
        """
        for each in self.snapshots():
            if each.sequence == sequence:
                with snapshot_rows(each.path) as then, translated(self.folder):
                    cursor = self._read().cursor(self._rows)
                    changes = list(differences(_undecided(cursor), _undecided(then)))
                    cursor.close()
                return Undone(each.checkpoint, changes, in_history=False)
        raise StateError(
            f"the state in {self.folder} has no snapshot of checkpoint {sequence} any more",
            hint="A rewind that was cut short needs it. Without it only the start is left: remove "
            "rewind.json from the pipeline's state folder, then: streamlog rewind PIPELINE --to "
            "start --execute",
        )

    def emptied(self) -> Undone:
        """Returns what has to be changed for the state to be empty."""
        nothing: list[tuple[bytes, bytes | None]] = [
            (name, None) for name, _ in self.rows() if name < DECISIONS_ID
        ]
        return Undone(KeptCheckpoint(TaskMeta(), 0, len(nothing)), nothing, in_history=False)

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
            undone: From `undone`, `undone_to_snapshot` or `emptied`, with nothing written since.
            meta: Of the checkpoint to which the state goes, under a new number.
            changelog_position: Offset after the marker that tells it to the changelog; nothing if
                the next checkpoint has to.
        """
        kept = undone.to.sequence if undone.in_history else 0

        def write(txn: Transaction) -> history.Past:
            past = [step for step in self._past if step.sequence <= kept]
            if undone.to.sequence == 0:
                left = _rows_from(txn, self._rows, DECISIONS_ID)
                txn.drop(self._rows, delete=False)
                self._overwrite(txn, left)
            else:
                self._overwrite(txn, undone.changes)
            if not past:
                txn.drop(self._history, delete=False)
            else:
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

        self._give_up_copying()
        self._transact(write)
        remove_snapshots(
            each for each in find_snapshots(self.folder) if not each.leads_to(self.about)
        )

    def _overwrite(self, txn: Transaction, changes: Sequence[tuple[bytes, bytes | None]]) -> None:
        rows = txn.cursor(self._rows)
        there = [change for change in changes if change[1] is not None]
        rows.putmulti(sorted(there, key=itemgetter(0)))
        if len(there) < len(changes):
            for name, value in changes:
                if value is None and rows.set_key(name):
                    rows.delete()
        rows.close()


def _undecided(items: Iterable[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The rows before those of the decisions."""
    return takewhile(lambda item: item[0] < DECISIONS_ID, items)


def _rows_from(txn: Transaction, db: Map, prefix: bytes) -> list[tuple[bytes, bytes | None]]:
    return [(name, txn.get(name, db=db)) for name in names_from(txn, db, prefix)]
