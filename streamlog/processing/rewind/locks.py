"""Who works with a pipeline's state folder: one rewind, or workers, and never both.

A rewind holds `rewind.lock` and then looks at the workers' seats. A worker takes its seat and then
looks at `rewind.lock`. So at least one of the two sees the other.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from streamlog.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LOCK = "rewind.lock"


class RewindLock:
    """The lock of one state folder; lets go at the end of its block, or of the process."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._descriptor = -1

    def exists(self) -> bool:
        """Whether anybody has ever held it."""
        return self._path.exists()

    def is_free(self) -> bool:
        """Whether nobody holds it now; if so it is ours."""
        if self._descriptor >= 0:
            return True
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor
        return True

    def take(self) -> None:
        """Takes it.

        Raises:
            RefusedError: If somebody else holds it.
        """
        if not self.is_free():
            holder = self._path.read_text().strip() or "unknown"
            raise RefusedError(
                f"a rewind of this pipeline is under way: process {holder}",
                hint="Wait until it has ended",
            )

    def __enter__(self) -> RewindLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def running_here(folder: Path) -> list[int]:
    """Returns the processes on this machine that hold a worker's seat of this folder."""
    found: list[int] = []
    for path in sorted((folder / "workers").glob("*.lock")):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            text = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
            found.append(int(text) if text.isdigit() else 0)
        finally:
            os.close(descriptor)
    return found
