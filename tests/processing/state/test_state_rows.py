"""A window's rows: whatever is in memory, cached or on disk, they are the same."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_state_store import SUB

from streamlog.processing.operators.accumulators import RowFactory
from streamlog.processing.state import rows as rows_module
from streamlog.processing.state.count_rows import CountRows
from streamlog.processing.state.keys import store_id
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.rows import WindowRows
from streamlog.processing.state.store import TaskStore, open_task_store

if TYPE_CHECKING:
    from pathlib import Path

actions = st.lists(
    st.tuples(
        st.sampled_from(["add"] * 6 + ["close", "checkpoint", "reopen"]),
        st.integers(1, 6),
        st.sampled_from([None, b"", b"a", b"b", b"long" * 200]),
    ),
    max_size=40,
)


KINDS = (WindowRows, CountRows)


def open_rows(store: TaskStore, kind: type[WindowRows]) -> WindowRows:
    return kind(store_id("counts"), RowFactory(["count"], [None]), store)


def count_one(rows: WindowRows, end: int, key: bytes | None) -> None:
    row = rows.window(end).get(key)
    if row is None:
        row = rows.touch(end, key)
    if isinstance(rows, CountRows):
        rows.window(end)[key] = row + 1
    else:
        row.add((1,), 0, 0)


def checkpoint(rows: WindowRows, store: TaskStore) -> None:
    store.commit(rows.changes(), TaskMeta(sequence=store.sequence + 1), None)
    rows.committed()


@settings(max_examples=80, deadline=None)
@given(actions, st.sampled_from([0, 2, 1_000]), st.lists(st.sampled_from(KINDS), min_size=1))
def test_rows_are_as_a_dictionary_would_be(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int, bytes | None]],
    clean_max: int,
    kinds: list[type[WindowRows]],
) -> None:
    """Whichever kind of rows has written a state, the other one can read it."""
    take_turns = cycle(kinds)
    folder = tmp_path_factory.mktemp("state")
    store = open_task_store(folder, SUB.name, 0)
    rows = open_rows(store, next(take_turns))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "CLEAN_ROWS_MAX", clean_max)
        model: dict[tuple[int, bool, bytes], int] = {}
        closed_through = opened = 0
        for action, end, key in steps:
            if action == "add" and end > closed_through:
                count_one(rows, end, key)
                name = (end, key is not None, key or b"")
                model[name] = model.get(name, 0) + 1
            elif action == "close" and end > closed_through:
                closed_through = end
                expected = sorted((n, c) for n, c in model.items() if n[0] <= end)
                found = [((e, k is not None, k or b""), r[0]) for e, k, r in rows.close(end)]
                assert found == expected
                model = {n: c for n, c in model.items() if n[0] > end}
            elif action == "checkpoint":
                checkpoint(rows, store)
            elif action == "reopen":
                checkpoint(rows, store)
                opened += rows.opened
                store.close()
                store = open_task_store(folder, SUB.name, 0)
                rows = open_rows(store, next(take_turns))
        assert opened + rows.opened == len(model)
        highest = rows.highest_end()
        assert highest == max((n[0] for n in model), default=None)
        checkpoint(rows, store)
        assert len(store.rows()) == len(model)
    store.close()


def test_two_steps_of_a_task_do_not_meet(tmp_path: Path) -> None:
    store = open_task_store(tmp_path, SUB.name, 0)
    factory = RowFactory(["count"], [None])
    one = WindowRows(store_id("one"), factory, store)
    two = WindowRows(store_id("two"), factory, store)
    one.touch(10, b"k").add((1,), 0, 0)
    two.touch(10, b"k")
    store.commit([*one.changes(), *two.changes()], TaskMeta(sequence=1), None)
    one.committed()
    two.committed()
    assert [results for _, _, results in one.close(10)] == [[1]]
    assert two.highest_end() == 10
    store.close()
