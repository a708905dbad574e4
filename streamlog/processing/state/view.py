"""Looking into a task's state from another process than the one that works with it.

LMDB lets any number of processes read while one writes: each sees the state as of one checkpoint,
and holds up nobody. The worker's own lock file is left alone.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import lmdb

from streamlog.processing.state import about, history
from streamlog.processing.state.about import translated
from streamlog.processing.state.kept import kept_checkpoints
from streamlog.processing.state.snapshots import find_snapshots
from streamlog.processing.state.stored_rows import StoredRows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streamlog.processing.state.kept import KeptCheckpoint
    from streamlog.processing.state.snapshots import Snapshot

DATA_FILE = "data.mdb"


class StateView(StoredRows):
    """One task's state as of its last checkpoint when it was opened.

    Attributes:
        about: What it says of itself.
    """

    def __init__(self, folder: Path, env: lmdb.Environment) -> None:
        self.folder = folder
        self._env = env
        self._rows = env.open_db(about.ROWS)
        self._history = env.open_db(about.HISTORY)
        self._about = env.open_db(about.ABOUT)
        self.about = about.load_about(self._read(), self._about)

    def checkpoints(self) -> list[KeptCheckpoint]:
        """Returns to what the state can go back, the current checkpoint first."""
        past = history.load_past(self._read(), self._history)
        return kept_checkpoints(self._read(), self._history, past, self.about)

    def snapshots(self) -> list[Snapshot]:
        """Returns the kept snapshots to which the state can be taken back, the newest first."""
        return [each for each in find_snapshots(self.folder) if each.leads_to(self.about)]

    def close(self) -> None:
        """Ends the look."""
        self._end_reading()
        self._env.close()


@contextmanager
def open_view(home: Path) -> Iterator[StateView | None]:
    """Opens a task's state for reading; yields nothing if there is none yet.

    Args:
        home: The task's folder; see `task_folders`.

    Raises:
        StateError: If it cannot be read.
    """
    if not (home / DATA_FILE).exists():
        yield None
        return
    with translated(home):
        env = lmdb.open(
            str(home), readonly=True, create=False, max_dbs=about.MAPS_MAX, max_spare_txns=1
        )
        try:
            view = StateView(home, env)
        except lmdb.NotFoundError:
            # Its owner has made the file, and not yet the maps.
            env.close()
            view = None
    try:
        yield view
    finally:
        if view is not None:
            view.close()


def task_folders(folder: Path) -> list[tuple[str, int, Path]]:
    """Returns the tasks whose state is in a pipeline's folder: sub-topology, partition, home."""
    found = [
        (home.parent.name, int(home.name), home)
        for home in folder.glob("*/*")
        if home.name.isdigit() and (home / DATA_FILE).exists()
    ]
    return sorted(found)
