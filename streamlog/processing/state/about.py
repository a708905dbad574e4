"""What a task's state says of itself, beside its rows: the map `about`.

It is read by the task's owner and, from other processes, by whoever looks into the state of a
running worker.
"""

from __future__ import annotations

import struct
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import lmdb
import msgspec

from streamlog.processing.errors import LayoutChangedError, StateError
from streamlog.processing.state.meta import TaskMeta, decode_meta

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from streamlog.processing.state.history import Map, Transaction

MAPS_MAX: Final = 4
ROWS: Final = b"rows"
HISTORY: Final = b"undo"
ABOUT: Final = b"about"

META: Final = b"meta"
TIME: Final = b"time"
LAYOUT: Final = b"layout"
IDENTITY: Final = b"identity"
OUTLINE: Final = b"outline"
CHANGELOG: Final = b"changelog"
EPOCH: Final = b"epoch"
SINCE: Final = b"since"
REWRITE: Final = b"rewrite/"

NUMBER: Final = struct.Struct(">Q")


@dataclass(slots=True)
class About:
    """What the map says.

    Attributes:
        meta: The last checkpoint.
        time_ms: Wall time of the last checkpoint; 0 if nobody knows.
        changelog_position: Offset after the last marker of the changelog that the state holds.
        epoch: The highest that was seen.
        since_ms: Wall time of the first checkpoint that this file ever held.
        identity: What the state belongs to.
        outline: Of the pipeline; see `processing.rewind.outline`.
        rewrites: Names of rows whose contents the changelog does not know.
    """

    meta: TaskMeta = field(default_factory=TaskMeta)
    time_ms: int = 0
    changelog_position: int = 0
    epoch: int = 0
    since_ms: int = 0
    identity: bytes = b""
    outline: bytes = b""
    rewrites: set[bytes] = field(default_factory=set)


def load_about(txn: Transaction, db: Map) -> About:
    """Reads the map."""
    meta = txn.get(META, db=db)
    return About(
        meta=decode_meta(meta) if meta else TaskMeta(),
        time_ms=_number(txn, db, TIME),
        changelog_position=_number(txn, db, CHANGELOG),
        epoch=_number(txn, db, EPOCH),
        since_ms=_number(txn, db, SINCE),
        identity=txn.get(IDENTITY, db=db) or b"",
        outline=txn.get(OUTLINE, db=db) or b"",
        rewrites={name.removeprefix(REWRITE) for name in names_from(txn, db, REWRITE)},
    )


def put_number(txn: Transaction, db: Map, name: bytes, number: int) -> None:
    """Writes one of the map's numbers."""
    txn.put(name, NUMBER.pack(number), db=db)


def _number(txn: Transaction, db: Map, name: bytes) -> int:
    found = txn.get(name, db=db)
    return NUMBER.unpack(found)[0] if found else 0


def names_from(txn: Transaction, db: Map, prefix: bytes) -> list[bytes]:
    """Returns the names in a map that begin with a prefix."""
    cursor = txn.cursor(db)
    names: list[bytes] = []
    if cursor.set_range(prefix):
        for name in cursor.iternext(keys=True, values=False):
            if not name.startswith(prefix):
                break
            names.append(name)
    cursor.close()
    return names


@contextmanager
def translated(folder: Path) -> Iterator[None]:
    """Turns LMDB's errors into ours."""
    try:
        yield
    except lmdb.Error as error:
        raise StateError(
            f"the state in {folder} failed: {error}",
            hint="Is the disk full? If the state is damaged, remove the folder: it is restored "
            "from the changelog",
        ) from error
    except (msgspec.MsgspecError, struct.error) as error:
        raise StateError(
            f"the state in {folder} is damaged: {error}",
            hint="Remove the folder: the state is restored from the changelog",
        ) from error


def compare_layouts(stored: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Refuses a plan whose steps would misread what is stored; new steps are welcome.

    Raises:
        LayoutChangedError: If a step's state is not what the plan says.
    """
    for step, shape in stored.items():
        if wanted.get(step) == shape:
            continue
        now = f"is {wanted[step]} now" if step in wanted else "is not in the pipeline any more"
        raise LayoutChangedError(
            f'the state of step "{step}" was written as {shape}, but the step {now}',
            hint="Undo the edit; or begin anew: streamlog rewind FILE:PIPELINE --to start; or "
            "build the new version's state beside: streamlog replay FILE:PIPELINE --as v2",
        )
