"""What a task decides by the wall clock, on record before it has an effect.

Three things depend on the moment: that a source has been silent for so long that its time goes on,
that the others of a task's sources go on without it, and that a wall-clock timer is due. What
follows from them must come out the same after a crash, and again when the same records are
processed anew. So a decision is a row of the task's state, under the position at which it was
taken. It goes to the changelog with a checkpoint, and acts only once that is durable. A task that
comes upon a decision at its position applies it, at once and before the record there: after a
crash, after a restore, and on its way again after a rewind, which leaves these rows alone.

    row: position, 8 bytes  ->  [[kind, number], …] in the order in which they were taken

What a decision puts out is caused by the record before its position, and numbered behind all that
this record caused by itself (`repartition.position.DRAIN_INDEX`). Several decisions at one position
go on counting, so the checkpoint says how many were applied and where the count stands.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from streamlog.processing.state.keys import DECISIONS_ID
from streamlog.processing.state.row_table import RowTable

if TYPE_CHECKING:
    from streamlog.processing.state.store import TaskStore

TIME: Final = 0
"""Stream time has come to a moment, without a record."""
WALL: Final = 1
"""The wall clock shows a moment: timers up to it are due."""
IDLE: Final = 2
"""One of several sources is silent: the others go on without it."""
AWAKE: Final = 3
"""It is heard again."""

Decision: TypeAlias = tuple[int, int]
"""Kind, and milliseconds or the number of a source."""

AT_ONE_POSITION_MAX: Final = 100
"""Beyond this, later decisions of a kind replace the last: a pipeline may be silent for months."""

_POSITION: Final = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Decision]).decode


class Decisions:
    """The decisions of one task, those to come again included.

    Args:
        store: The task's state.
        position: The task's next offset.
        applied: How many decisions at this position have had their effect.
    """

    def __init__(self, store: TaskStore, position: int, applied: int) -> None:
        self.table = RowTable(store, DECISIONS_ID, 0)
        self._position = position
        self._applied = applied
        begin = _POSITION.pack(position)
        rows = self.table.scan(begin, b"\xff" * 9)
        self._ahead = {_POSITION.unpack(name)[0]: _decode(row) for name, row in rows}
        self._undurable = 0
        """Of those at this position: how many are in no checkpoint yet."""

    @property
    def applied(self) -> int:
        """How many decisions at this position have had their effect."""
        return self._applied

    def take(self, decision: Decision) -> None:
        """Takes a decision here; it acts once a checkpoint holds it."""
        here = self._ahead.setdefault(self._position, [])
        last = here[-1] if here else None
        if last is not None and len(here) >= AT_ONE_POSITION_MAX and last[0] == decision[0]:
            here[-1] = decision
            self._applied = min(self._applied, len(here) - 1)
            self._undurable = max(self._undurable, 1)
        else:
            here.append(decision)
            self._undurable += 1
        self.table.put(_POSITION.pack(self._position), _encode(here))

    @property
    def waiting(self) -> bool:
        """Whether any was taken that no checkpoint holds yet."""
        return self._undurable > 0

    def committed(self) -> None:
        """A checkpoint holds all that were taken."""
        self._undurable = 0

    def due(self) -> list[Decision]:
        """Returns those here that are durable and have had no effect yet, and counts them in."""
        here = self._ahead.get(self._position)
        if here is None:
            return []
        durable = len(here) - self._undurable
        found = here[self._applied : durable]
        self._applied = max(self._applied, durable)
        return found

    def next_position(self) -> int | None:
        """Returns the first position behind this one at which decisions wait."""
        return min((each for each in self._ahead if each > self._position), default=None)

    def move(self, position: int) -> None:
        """The task has processed records; what lies behind it matters no more."""
        if position != self._position:
            self._position, self._applied = position, 0
            # Rows of decisions that were passed stay on disk: a rewind comes upon them again.
            self._ahead = {at: each for at, each in self._ahead.items() if at >= position}
