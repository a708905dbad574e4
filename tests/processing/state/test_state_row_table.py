"""A table of rows is a sorted dictionary, whatever of it is on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from sortedcontainers import SortedDict

from streamlog.processing.operators.operator import OperatorContext
from streamlog.processing.state.object_table import ObjectTable
from streamlog.processing.state.row_table import RowTable

if TYPE_CHECKING:
    from collections.abc import Iterator

STORE_ID = b"step"


class Rows:
    """What a table sees of a task's state."""

    def __init__(self) -> None:
        self.rows: SortedDict[bytes, bytes] = SortedDict()

    def get(self, name: bytes) -> bytes | None:
        return self.rows.get(name)  # type: ignore[no-any-return]

    def scan_range(self, begin: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        for name in list(self.rows.irange(begin, end, inclusive=(True, False))):
            yield name, self.rows[name]

    def write(self, table: RowTable) -> list[tuple[bytes, bytes | None]]:
        changes = table.changes()
        for name, row in changes:
            if row is None:
                self.rows.pop(name, None)
            else:
                self.rows[name] = row
        table.committed()
        return changes


names = st.binary(max_size=2)
actions = st.lists(
    st.tuples(st.sampled_from(["get", "put", "delete", "scan", "write", "reopen"]), names, names)
)


@given(actions)
def test_a_table_is_a_sorted_dictionary(actions: list[tuple[str, bytes, bytes]]) -> None:
    disk = Rows()
    table = RowTable(disk, STORE_ID, 0)  # type: ignore[arg-type]
    model: dict[bytes, bytes] = {}
    for action, name, other in actions:
        if action == "put":
            table.put(name, other)
            model[name] = other
        elif action == "delete":
            table.delete(name)
            model.pop(name, None)
        elif action in ("write", "reopen"):
            disk.write(table)
            assert [(name[5:], row) for name, row in disk.rows.items()] == sorted(model.items())
            if action == "reopen":
                table = RowTable(disk, STORE_ID, 0)  # type: ignore[arg-type]
        assert table.get(name) == model.get(name)
        if action == "scan":
            between = [(key, model[key]) for key in sorted(model) if name <= key < other]
            assert list(table.scan(name, other)) == between
    assert table.first() == min(model.items(), default=None)


@given(actions)
def test_a_table_of_objects_is_a_sorted_dictionary(
    actions: list[tuple[str, bytes, bytes]],
) -> None:
    disk = Rows()
    context = OperatorContext("step", disk, STORE_ID, 0)  # type: ignore[arg-type]
    table: ObjectTable[list[bytes]] = ObjectTable(context, 0, b"".join, lambda row: [row])
    model: dict[bytes, bytes] = {}
    for action, name, other in actions:
        if action == "put":
            held = table.load(name) or []
            held.append(other)
            table.hold(name, held)
            model[name] = model.get(name, b"") + other
        elif action == "delete":
            table.delete(name)
            model.pop(name, None)
        elif action in ("write", "reopen"):
            disk.write(table)
            if action == "reopen":
                table = ObjectTable(context, 0, b"".join, lambda row: [row])
        elif action == "scan":
            between = [(key, model[key]) for key in sorted(model) if name <= key < other]
            assert list(table.scan(name, other)) == between
        found = table.load(name)
        assert (None if found is None else b"".join(found)) == model.get(name)
        if action == "get":
            assert table.get(name) == model.get(name)


def test_a_row_that_came_and_went_is_not_written() -> None:
    disk = Rows()
    table = RowTable(disk, STORE_ID, 0)  # type: ignore[arg-type]
    assert table.get(b"a") is None
    table.put(b"a", b"1")
    table.delete(b"a")
    assert disk.write(table) == []
    table.put(b"a", b"2")
    disk.write(table)
    table.delete(b"a")
    assert [row for _, row in disk.write(table)] == [None]
