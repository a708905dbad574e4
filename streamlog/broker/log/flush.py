"""What one partition has written and not yet synced, and the ticket that a flush round takes of it.

A ticket is taken on the event loop and names the files and the end of the log at that moment.
Its `run` may go to another thread: it touches nothing but files. When it has returned, the
partition is told, and everything up to the ticket's end counts as flushed. A batch that is
written while a ticket runs belongs to the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from streamlog.broker.log.disk import Disk, DiskFile


class LogPosition(NamedTuple):
    """An offset and where its batch would begin: in which segment, at which byte."""

    offset: int
    segment_base: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushTicket:
    """The files to sync so that the log is on disk up to `end`."""

    end: LogPosition
    files: tuple[DiskFile, ...]
    directory: str
    syncs_directory: bool
    """Whether names changed: a segment was begun."""
    seals: bool
    """Whether a segment ends in it; the recovery point is then to be written down, so that damage
    in that segment can be told from a torn tail."""

    def run(self, disk: Disk) -> None:
        """Syncs; blocks. Raises `OSError` if the disk failed, and then nothing may be believed."""
        for file in self.files:
            file.datasync()
        if self.syncs_directory:
            disk.sync_dir(self.directory)


@dataclass(slots=True)
class Unsynced:
    """Collects what the next ticket will name."""

    files: dict[str, DiskFile] = field(default_factory=dict)
    directory: bool = False
    sealed: bool = False

    def __bool__(self) -> bool:
        return bool(self.files) or self.directory

    def take(self, end: LogPosition, directory: str) -> FlushTicket:
        """Returns a ticket for all that was collected, and begins anew."""
        ticket = FlushTicket(
            end=end,
            files=tuple(self.files.values()),
            directory=directory,
            syncs_directory=self.directory,
            seals=self.sealed,
        )
        self.files, self.directory, self.sealed = {}, False, False
        return ticket
