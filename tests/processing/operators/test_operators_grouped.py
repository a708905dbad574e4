"""Groups without windows, against adding up everything again for each record."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from operator_harness import Event, Harness
from operator_runs import Stop, mixed, run, stops

from streamlog.processing.dsl.aggregates import (
    Aggregate,
    count,
    fold,
    last,
    max_,
    min_,
    sum_,
    top_k,
)
from streamlog.processing.dsl.change import Change
from streamlog.processing.operators.grouped import GroupStep

if TYPE_CHECKING:
    from streamlog.processing.operators.specs import AggregateSpec

Row = tuple[Any, ...]

keys = st.sampled_from([b"a", b"b", None, b"long" * 200])
events = st.lists(
    st.builds(
        Event, keys, st.integers(-5, 5), st.integers(0, 9), st.integers(0, 1), st.integers(0, 2)
    ),
    max_size=25,
)


def step(*aggregates: Aggregate[Any], ports: int = 1, regrouped: bool = False) -> GroupStep:
    specs = tuple(each.spec("", int, takes_back=regrouped) for each in aggregates)
    return GroupStep(aggregates=specs, ports=(specs,) * ports, build=tuple, regrouped=regrouped)


COUNTED = step(count(), sum_(lambda v: v or None), min_(lambda v: v), last(lambda v: v), ports=2)


def summed_up(events: list[Event]) -> Row:
    values = [event.value for event in events]
    newest = max(enumerate(events), key=lambda each: (each[1].timestamp, each[1].writer, each[0]))
    return len(values), sum(values), min(values), newest[1].value


def newest(events: list[Event]) -> int:
    return max(event.timestamp for event in events)


@given(events, stops)
def test_each_record_brings_the_change_that_adding_all_up_again_gives(
    events: list[Event], stops: list[Stop]
) -> None:
    results, _ = run(COUNTED.make, events, stops, tick_ms=None)
    seen: dict[bytes | None, list[Event]] = defaultdict(list)
    expected = []
    for event in events:
        mine = seen[event.key]
        old = summed_up(mine) if mine else None
        mine.append(event)
        expected.append((event.key, Change(old, summed_up(mine)), newest(mine)))
    assert results == expected


@given(events, stops, st.integers(0, 2**32))
def test_where_it_leads_to_does_not_depend_on_the_mix_of_the_writers(
    events: list[Event], stops: list[Stop], seed: int
) -> None:
    one, here = run(COUNTED.make, events, tick_ms=None)
    other, there = run(COUNTED.make, mixed(events, seed), stops, tick_ms=None)
    assert {key: (change.new, at) for key, change, at in one} == {
        key: (change.new, at) for key, change, at in other
    }
    assert here.rows.rows == there.rows.rows


def test_inputs_fill_their_own_fields_and_those_that_they_share() -> None:
    orders = count().spec("orders", int)
    paid = sum_(lambda v: v).spec("paid", int)
    seen = max_(lambda v: v).spec("seen", int)
    ports: tuple[tuple[AggregateSpec | None, ...], ...] = ((orders, None, seen), (None, paid, seen))
    both = GroupStep(aggregates=(orders, paid, seen), ports=ports, build=tuple)
    events = [Event(b"a", 3, 0, port=0), Event(b"a", 2, 0, port=1), Event(b"a", 1, 0, port=1)]
    results, _ = run(both.make, events)
    assert [change.new for _, change, _ in results] == [(1, 0, 3), (1, 2, 3), (1, 3, 3)]


class Box(msgspec.Struct):
    total: int = 0


def test_a_result_that_is_the_state_of_a_fold_does_not_change_afterwards() -> None:
    def add(box: Box, value: int) -> Box:
        box.total += value
        return box

    results, _ = run(step(fold(Box, add)).make, [Event(b"a", n, 0) for n in (1, 2)])
    assert [change for _, change, _ in results] == [
        Change(None, (Box(1),)),
        Change((Box(1),), (Box(3),)),
    ]


# Tables.

REGROUPED = step(
    count(),
    sum_(lambda v: v),
    min_(lambda v: v),
    max_(lambda v: v),
    top_k(2),
    fold(0, lambda s, v: s + v * v, remove=lambda s, v: s - v * v),
    regrouped=True,
)


def ranked(rows: list[int]) -> Row:
    squares = sum(row * row for row in rows)
    best = sorted(rows, reverse=True)[:2]
    return len(rows), sum(rows), min(rows), max(rows), best, squares


moves = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from([b"a", b"b", None]), st.integers(-3, 3)),
    max_size=20,
)


@given(moves, stops)
def test_a_row_that_moves_leaves_its_old_group(
    moves: list[tuple[str, bytes | None, int]], stops: list[Stop]
) -> None:
    """A row of the table `xyz` moves to group `a` or `b` or ends."""
    table: dict[str, tuple[bytes, int]] = {}
    events, expected = [], []

    def changed(group: bytes, old: int | None, new: int | None, at: int) -> None:
        events.append(Event(group, Change(old, new), at))
        expected.append((group, [row for owner, row in table.values() if owner == group]))

    for at, (name, group, row) in enumerate(moves):
        before = table.pop(name, None)
        if before is not None and before[0] == group:
            table[name] = (group, row)
            changed(group, before[1], row, at)
            continue
        if before is not None:
            changed(before[0], before[1], None, at)
        if group is not None:
            table[name] = (group, row)
            changed(group, None, row, at)
    results, harness = run(REGROUPED.make, events, stops, tick_ms=None)
    assert [(key, change.new) for key, change, _ in results] == [
        (group, ranked(rows) if rows else None) for group, rows in expected
    ]
    left = {group for group, _ in table.values()}
    assert len(harness.rows.rows) == len(left), "groups without rows leave nothing behind"
    held: dict[bytes | None, Row | None] = {}
    for key, change, _ in results:
        assert change.old == held.get(key)
        held[key] = change.new


def test_a_row_that_was_never_there_is_not_taken_back_in_silence() -> None:
    harness = Harness(REGROUPED.make)
    with pytest.raises(ValueError, match="equal keys for equal rows"):
        harness.send(Event(b"a", Change(1, None), 0))
