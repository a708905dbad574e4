"""A worker's seat on this machine: the name under which its group knows it across restarts.

A worker that was killed and is started again must not wait until its dead self has timed out. So it
joins its group as a static member (KIP-345) under a name that outlives the process: the state
folder's own id and the number of a seat in it. A seat is held by a file lock, which the kernel lets
go of when the process dies, however it dies; a paused process keeps its seat, so that nobody takes
its name while it may still wake up.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.errors import RefusedError

if TYPE_CHECKING:
    from pathlib import Path

SEATS_MAX = 1024
"""More workers than any one machine runs; a bound on the search."""


@dataclass(frozen=True, slots=True)
class Seat:
    """A held seat; `release` gives it back, and so does the end of the process."""

    instance_id: str
    descriptor: int
    folder_id: str
    """Of the state folder."""

    def release(self) -> None:
        """Gives the seat back."""
        os.close(self.descriptor)


def take_seat(folder: Path) -> Seat:
    """Takes the first free seat of a pipeline's state folder.

    Raises:
        RefusedError: If every seat is taken.
    """
    seats = folder / "workers"
    seats.mkdir(parents=True, exist_ok=True)
    folder_id = _folder_id(seats)
    for number in range(SEATS_MAX):
        descriptor = os.open(seats / f"{number}.lock", os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return Seat(f"streamlog-{folder_id}-{number}", descriptor, folder_id)
    raise RefusedError(
        f"{SEATS_MAX} workers already run on {folder}", hint="Name another folder: --state DIR"
    )


def _folder_id(seats: Path) -> str:
    """The id that the folder got when it was first used; two machines never share one."""
    path = seats / "id"
    if not path.exists():
        fresh = seats / f"id.{os.getpid()}"
        fresh.write_text(uuid.uuid4().hex[:12])
        try:
            # A hard link, unlike a rename, does not replace the id of whoever was quicker.
            os.link(fresh, path)
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_text().strip()
