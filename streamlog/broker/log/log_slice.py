"""A range of bytes of a segment file that a fetch will send: whole batches, not copied.

A slice refers to its open file, so the bytes stay readable while a `sendfile` runs, whatever
retention or the bound on open files do in the meantime.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamlog.broker.log.disk import DiskFile


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSlice:
    """What one read of a partition yields; `size` 0 has no file."""

    file: DiskFile | None
    position: int
    """Where in the file the first batch begins."""
    size: int
    """How many bytes; the last batch may be cut short, which clients expect."""
    start_offset: int
    """The offset that was asked for; the first batch may begin before it."""
    available_bytes: int = 0
    """How many bytes there are to the upper bound; what a fetch's `min_bytes` is compared with."""
    is_behind: bool = False
    """Whether the bytes are of an older segment than the one that is being written."""

    def fileno(self) -> int:
        """Returns the descriptor for `sendfile`; there is none of an empty slice."""
        assert self.file is not None
        return self.file.fileno()

    def read(self) -> bytes:
        """Copies the bytes, for a connection that cannot `sendfile`."""
        return self.file.pread(self.size, self.position) if self.file is not None else b""
