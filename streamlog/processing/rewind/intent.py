"""What a rewind is about to do, on disk before it does any of it.

The file stands in the pipeline's state folder until the rewind is complete. Whoever comes next, a
worker or another rewind, finds it and finishes what it says, or gives it up if the pipeline has
run since. It holds the checkpoint that each task gets, computed once: finishing decides nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.errors import StateError
from streamlog.processing.rewind.outline import Outline  # noqa: TC001 (msgspec needs it)
from streamlog.processing.state.meta import TaskMeta  # noqa: TC001 (msgspec needs it)

if TYPE_CHECKING:
    from pathlib import Path

FILE = "rewind.json"


class TaskIntent(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one task."""

    sub_topology: str
    partition: int
    to_sequence: int
    """The checkpoint that is repeated; 0: none, the state is emptied."""
    from_snapshot: bool
    """Whether that is a kept snapshot, and not in its history."""
    moved: bool
    """Whether its rows change; else only what it says of its writers."""
    meta: TaskMeta
    """The checkpoint that it gets, but for what follows from `cuts`."""
    cuts: dict[int, int]
    """Of its writers: from which sequence on what they wrote does not count any more."""
    read_from: dict[str, int]
    """By topic of its inputs: the offset that the group is told."""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A rewind under way."""

    id: str
    target: str
    """As the user wrote it."""
    host: str
    outline: Outline
    tasks: tuple[TaskIntent, ...]
    """Those that change, upstream first."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Intent)


def save_intent(folder: Path, intent: Intent) -> None:
    """Writes the file, durably."""
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"{FILE}.new"
    with fresh.open("wb") as file:
        file.write(_ENCODER.encode(intent))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(folder / FILE)
    _flush(folder)


def load_intent(folder: Path) -> Intent | None:
    """Returns the rewind that is under way, if there is one.

    Raises:
        StateError: If the file cannot be read.
    """
    path = folder / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return _DECODER.decode(data)
    except msgspec.MsgspecError as error:
        raise StateError(
            f"{path}, which says how a rewind was to go, is damaged: {error}",
            hint="Remove it and rewind again",
        ) from error


def forget_intent(folder: Path) -> None:
    """Removes the file: the rewind is complete, or given up."""
    (folder / FILE).unlink(missing_ok=True)
    _flush(folder)


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
