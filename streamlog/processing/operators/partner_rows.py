"""Records that wait for partners: by side, key and time, decoded while they are in use.

    side | token of the key | time | writer  ->  list of records

What has changed since the last checkpoint stays in memory until the next one writes it; of what is
written a bounded number is kept. A record that came and went in between is never written.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.operators.join_rows import Waiting, encode_row, waiting_decoder
from streamlog.processing.state.row_table import (
    RowTable,
    time_name,
    time_of,
    writer_in,
    writer_name,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.dsl.nodes import RuntimeType
    from streamlog.processing.operators.operator import OperatorContext
    from streamlog.processing.state.rows import Change

KEYS_KEPT_MAX: Final = 50_000
"""Keys whose written records are kept decoded."""

_SIDES: Final = (b"\x00", b"\x01")

Moment: TypeAlias = tuple[int, int]
"""A time and a writer."""


class Slot:
    """The records of one key, time and writer.

    Attributes:
        records: In the order in which they came.
        changed: Whether they differ from what is written.
        written: Whether there is a row.
    """

    __slots__ = ("changed", "records", "written")

    def __init__(self, records: list[Waiting[Any]], *, changed: bool, written: bool) -> None:
        self.records = records
        self.changed = changed
        self.written = written


class _Held:
    """What waits on one side under one key, in the order of time and writer."""

    __slots__ = ("moments", "slots")

    def __init__(self) -> None:
        self.moments: list[Moment] = []
        self.slots: list[Slot] = []


class PartnerRows(RowTable):
    """Both sides' records.

    Args:
        context: Where the operator runs.
        number: Of the table.
        value_types: Of the values of both sides.
    """

    def __init__(
        self, context: OperatorContext, number: int, value_types: Sequence[RuntimeType]
    ) -> None:
        super().__init__(context.store, context.store_id, number)
        self._decode = tuple(waiting_decoder(each) for each in value_types)
        self._held: dict[bytes, _Held] = {}
        self._touched: set[bytes] = set()
        self._gone: list[bytes] = []
        """Rows to remove; nobody looks for them, since their keys are at hand."""

    def add(
        self, side: int, token: bytes, timestamp: int, writer: int, record: Waiting[Any]
    ) -> None:
        """Adds a record."""
        prefix = _SIDES[side] + token
        held = self._of(prefix)
        moment = timestamp, writer
        moments = held.moments
        index = len(moments)
        if moments and moment <= moments[-1]:
            index = bisect_left(moments, moment)
            if moments[index] == moment:
                held.slots[index].records.append(record)
                held.slots[index].changed = True
                self._touched.add(prefix)
                return
        moments.insert(index, moment)
        held.slots.insert(index, Slot([record], changed=True, written=False))
        self._touched.add(prefix)

    def between(self, side: int, token: bytes, first: int, last: int) -> list[tuple[int, Slot]]:
        """Returns what waits from one time to another, with its time."""
        held = self._of(_SIDES[side] + token)
        moments = held.moments
        if not moments or moments[-1][0] < first:
            return []
        begin, end = bisect_left(moments, (first,)), bisect_left(moments, (last + 1,))
        return [(moments[index][0], held.slots[index]) for index in range(begin, end)]

    def changed(self, side: int, token: bytes, slot: Slot) -> None:
        """Notes that something has changed within a slot."""
        slot.changed = True
        self._touched.add(_SIDES[side] + token)

    def take(
        self, side: int, token: bytes, first: int, last: int
    ) -> list[tuple[int, int, Waiting[Any]]]:
        """Takes out what waits from one time to another: time, writer and record."""
        prefix = _SIDES[side] + token
        held = self._of(prefix)
        moments, slots = held.moments, held.slots
        begin, end = bisect_left(moments, (first,)), bisect_left(moments, (last + 1,))
        taken: list[tuple[int, int, Waiting[Any]]] = []
        for index in range(begin, end):
            time, writer = moments[index]
            slot = slots[index]
            if slot.written:
                self._gone.append(_name(prefix, moments[index]))
            taken += [(time, writer, record) for record in slot.records]
        # A key of which nothing is left stays: it is known then that nothing is on disk.
        del moments[begin:end]
        del slots[begin:end]
        return taken

    def changes(self) -> list[Change]:
        """Returns what the next checkpoint has to write."""
        self._remove()
        rows: dict[bytes, bytes] = {}
        for prefix in self._touched:
            held = self._held[prefix]
            for index, slot in enumerate(held.slots):
                if slot.changed:
                    rows[_name(prefix, held.moments[index])] = encode_row(slot.records)
                    slot.changed, slot.written = False, True
        self.put_all(rows)
        self._touched.clear()
        return super().changes()

    def _remove(self) -> None:
        self.delete_all(self._gone)
        self._gone.clear()

    def _remember(self, name: bytes, row: bytes | None) -> None:
        """Nothing: what is used again is kept decoded."""

    def _of(self, prefix: bytes) -> _Held:
        held = self._held.get(prefix)
        if held is None:
            if len(self._held) >= KEYS_KEPT_MAX + len(self._touched):
                self._remove()
                self._held = {name: self._held[name] for name in self._touched}
            held = self._held[prefix] = _Held()
            decode, size = self._decode[prefix[0]], len(prefix)
            for name, row in self.scan_prefix(prefix):
                held.moments.append((time_of(name, size), writer_in(name, size + 8)))
                held.slots.append(Slot(decode(row), changed=False, written=True))
        return held


def _name(prefix: bytes, moment: Moment) -> bytes:
    return prefix + time_name(moment[0]) + writer_name(moment[1])
