"""Groups without windows: one row for each key, whose every change comes out.

What the row amounts to before and after a record comes out as a `Change`. In which order records of
different writers are added depends on how they are mixed, and so do the changes on the way; where
they lead to does not, if the aggregates do not depend on order. A change has the event time of its
record, or that of an earlier one of its key if that is later, so the last change is the newest.

Inputs may be several, each with the aggregates that it feeds (`cogroup`), or the changes of a table
(`regrouped`): then the old row is taken back and the new one added, and a group that has lost all
of its rows ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streamlog.processing.dsl.change import Change
from streamlog.processing.operators.operator import Operator
from streamlog.processing.operators.specs import row_factory, selection
from streamlog.processing.state.object_table import ObjectTable
from streamlog.processing.state.row_table import kept_key, token_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.accumulators import Row
    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.specs import AggregateSpec

_encode = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[bytes | None, int, int, bytes]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupStep:
    """What the user said about a grouped step.

    Args:
        aggregates: What a row has.
        ports: For each input, what each aggregate takes of its values; `None`: nothing.
        build: Makes the result of the aggregates' results, in their order.
        regrouped: Whether the inputs are changes of tables.
    """

    aggregates: tuple[AggregateSpec, ...]
    ports: tuple[tuple[AggregateSpec | None, ...], ...]
    build: Callable[[list[Value]], Value]
    regrouped: bool = False

    @property
    def layout(self) -> str:
        """What its rows look like."""
        kind = "regrouped" if self.regrouped else "grouped"
        return " ".join([kind, *(spec.label for spec in self.aggregates)])

    def make(self, context: OperatorContext) -> Operator:
        """Returns the operator of a task."""
        return Regrouped(self, context) if self.regrouped else Grouped(self, context)


class Group:
    """The row of one key in memory."""

    __slots__ = ("kept", "members", "result", "row", "timestamp")

    def __init__(self, row: Row, kept: bytes | None, timestamp: int, members: int) -> None:
        self.row = row
        self.kept = kept
        """The key, if the row's name does not tell it."""
        self.timestamp = timestamp
        """The largest so far."""
        self.members = members
        """Of a regrouped table: how many rows the group has."""
        self.result: Any = None
        """What came out last, if that is known."""


class Grouped(Operator):
    """Adds each value to the row of its key.

    Args:
        step: What it does.
        context: Of its task.
    """

    def __init__(self, step: GroupStep, context: OperatorContext) -> None:
        factory = row_factory(step.aggregates)

        def decode(data: bytes) -> Group:
            kept, timestamp, members, row = _decode(data)
            return Group(factory.decode(row), kept, timestamp, members)

        self._groups = ObjectTable(context, 0, _encode_group, decode)
        super().__init__([self._groups])
        self._new_row = factory.new
        self._build = step.build
        self._select = [selection(port) for port in step.ports]

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Adds a value; returns the change."""
        name = token_of(key)
        values = self._select[port](value)
        group = self._groups.load(name)
        if group is None:
            group = self._open(key, name, timestamp)
            old = None
        else:
            old = self._result(group)
        group.row.add(values, timestamp, writer)
        return self._changed(name, group, key, old, timestamp)

    def _open(self, key: bytes | None, name: bytes, timestamp: int) -> Group:
        self.opened += 1
        return Group(self._new_row(), kept_key(key, name), timestamp, 0)

    def _result(self, group: Group) -> Value:
        if group.result is None:
            group.result = self._build(group.row.results())
        return group.result

    def _changed(
        self, name: bytes, group: Group, key: bytes | None, old: Value, timestamp: int
    ) -> Sequence[Result]:
        group.timestamp = max(group.timestamp, timestamp)
        group.result = self._build(group.row.results())
        self._groups.hold(name, group)
        return ((key, Change(old, group.result), group.timestamp),)


class Regrouped(Grouped):
    """Takes each old row of a table from the group of its key, and adds each new row to its own."""

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Takes a row back, adds one, or both; returns the change."""
        change: Change[Any] = value
        name = token_of(key)
        group = self._groups.load(name)
        old = None
        if group is None:
            if change.old is not None:
                raise ValueError(
                    f"the row {change.old!r} is to leave a group in which it never was: the "
                    "function of group_by has to give equal keys for equal rows"
                )
            group = self._open(key, name, timestamp)
        else:
            old = self._result(group)
        select = self._select[port]
        if change.old is not None:
            group.row.remove(select(change.old))
            group.members -= 1
        if change.new is not None:
            group.row.add(select(change.new), timestamp, writer)
            group.members += 1
        if group.members > 0:
            return self._changed(name, group, key, old, timestamp)
        self._groups.delete(name)
        self.opened -= 1
        return ((key, Change(old, None), max(group.timestamp, timestamp)),)


def _encode_group(group: Group) -> bytes:
    return _encode((group.kept, group.timestamp, group.members, group.row.encode()))
