"""The bound on open segment files and on the memory of their indexes, for a whole log directory.

Segments open their files and load their indexes when they are first used, and give up both when
others were used more recently. What must not be given up is held elsewhere: a fetch holds the file
that it sends, a flush those that it syncs.
"""

from __future__ import annotations

import errno
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from streamlog.broker.log.disk import Disk, DiskFile

FILES_MAX = 256
INDEX_BYTES_MAX = 64 << 20


class Pooled(Protocol):
    """What the pool asks to give up its file and its indexes."""

    def release(self) -> None:
        """Drops the open file and what can be loaded again."""

    def index_bytes(self) -> int:
        """Returns how much memory the loaded indexes take."""


class FilePool:
    """Least recently used segments give way; O(1) per use."""

    def __init__(
        self, disk: Disk, *, files_max: int = FILES_MAX, index_bytes_max: int = INDEX_BYTES_MAX
    ) -> None:
        assert files_max >= 1
        self.disk = disk
        self.files_max = files_max
        self.index_bytes_max = index_bytes_max
        self._open: OrderedDict[Pooled, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def open(self, user: Pooled, path: str, *, create: bool = False) -> DiskFile:
        """Opens a file for a segment, at the cost of the least recently used one."""
        while len(self._open) >= self.files_max:
            self._open.popitem(last=False)[0].release()
        try:
            file = self.disk.open(path, create=create)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self.release_all()
            file = self.disk.open(path, create=create)
        self._open[user] = None
        return file

    def touch(self, user: Pooled) -> None:
        """Notes that a segment was used just now."""
        self._open.move_to_end(user)

    def grew(self, user: Pooled) -> None:
        """Makes room after a segment loaded an index."""
        total = sum(other.index_bytes() for other in self._open)
        for other in list(self._open):
            if total <= self.index_bytes_max or other is user:
                return
            total -= other.index_bytes()
            del self._open[other]
            other.release()

    def forget(self, user: Pooled) -> None:
        """Takes a segment out that is going away."""
        self._open.pop(user, None)

    def release_all(self) -> None:
        """Closes what can be closed: the process has run out of descriptors."""
        while self._open:
            self._open.popitem(last=False)[0].release()
