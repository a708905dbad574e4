"""Aggregates do not depend on the order of records, in their results or in what is stored."""

from __future__ import annotations

import math
import random
import struct
from datetime import UTC, date, datetime
from operator import itemgetter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mixing import mixed

from streamlog.processing.operators.accumulators import Row, RowFactory

KINDS = ["count", "sum", "mean", "min", "max", "first", "last"]

Seen = tuple[float | None, int, int]
"""Value, timestamp, writer."""

values = st.sampled_from([0, 0.0, -0.0, 1, 1.0, True, 2.5, -3, 1e16, math.nan, math.inf, None])
seen = st.lists(
    st.tuples(values | st.floats() | st.integers(), st.integers(0, 5), st.integers(0, 3))
)


class Point(msgspec.Struct, order=True):
    x: int
    y: int


def row_of(factory: RowFactory, records: list[Seen]) -> Row:
    row = factory.new()
    for value, timestamp, writer in records:
        row.add((value,) * len(KINDS), timestamp, writer)
    return row


@given(seen, st.integers(0, 2**32))
def test_any_order_of_the_writers_gives_the_same_row(records: list[Seen], seed: int) -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    again = mixed(records, itemgetter(2), random.Random(seed))
    one, other = row_of(factory, records), row_of(factory, again)
    assert repr(one.results()) == repr(other.results())
    assert one.encode() == other.encode()


@given(seen, st.integers(0, 20))
def test_a_stored_row_goes_on_where_it_was(records: list[Seen], cut: int) -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    row = factory.decode(row_of(factory, records[:cut]).encode())
    for value, timestamp, writer in records[cut:]:
        row.add((value,) * len(KINDS), timestamp, writer)
    whole = row_of(factory, records)
    assert repr(row.results()) == repr(whole.results())
    assert row.encode() == whole.encode()


@given(seen, st.integers(0, 20))
def test_merging_rows_is_adding_all_their_records(records: list[Seen], cut: int) -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    row = row_of(factory, records[:cut])
    row.merge(row_of(factory, records[cut:]))
    whole = row_of(factory, records)
    assert repr(row.results()) == repr(whole.results())
    assert row.encode() == whole.encode()


@given(seen, st.integers(0, 20))
def test_rows_of_different_writers_merge_in_any_order(records: list[Seen], cut: int) -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    mine = [(value, timestamp, 0) for value, timestamp, _ in records[:cut]]
    others = [(value, timestamp, 1) for value, timestamp, _ in records[cut:]]
    row, other = row_of(factory, mine), row_of(factory, others)
    row.merge(other)
    turned = row_of(factory, others)
    turned.merge(row_of(factory, mine))
    assert row.encode() == turned.encode()


def test_any_nan_is_the_same_nan() -> None:
    other: float = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    factory = RowFactory(["min", "max"], [None, None])
    encoded = set[bytes]()
    for values in ((other, math.nan), (math.nan, other)):
        row = factory.new()
        for value in values:
            row.add((value, value), 0, 0)
        encoded.add(row.encode())
    assert len(encoded) == 1


@given(seen, seen)
def test_what_is_taken_back_leaves_no_trace(kept: list[Seen], taken: list[Seen]) -> None:
    factory = RowFactory(KINDS[:3], [None] * 3)
    row = factory.new()
    for value, timestamp, writer in taken + kept:
        row.add((value,) * 3, timestamp, writer)
    for value, _, _ in taken:
        row.remove((value,) * 3)
    whole = factory.new()
    for value, timestamp, writer in kept:
        whole.add((value,) * 3, timestamp, writer)
    assert row.encode() == whole.encode()


def test_of_nothing() -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    row = row_of(factory, [(None, 1, 1), (None, 2, 1)])
    assert row.results() == [0, 0, None, None, None, None, None]


def test_first_and_last_go_by_time_then_writer_then_order() -> None:
    factory = RowFactory(["first", "last"], [None, None])
    row = factory.new()
    for value, timestamp, writer in [
        ("b", 5, 1),
        ("a", 5, 0),
        ("c", 5, 1),
        ("d", 7, 0),
        ("e", 7, 0),
    ]:
        row.add((value, value), timestamp, writer)
    assert row.results() == ["a", "e"]


def test_a_nan_wins_in_any_order() -> None:
    factory = RowFactory(KINDS, [None] * len(KINDS))
    for order in ([(math.nan, 0, 0), (1.0, 0, 1)], [(1.0, 0, 1), (math.nan, 0, 0)]):
        results = row_of(factory, list(order)).results()
        assert [repr(each) for each in results[1:5]] == ["nan"] * 4


@pytest.mark.parametrize(
    ("value_type", "small", "large"),
    [
        (Point, Point(1, 2), Point(1, 3)),
        (tuple[int, str], (1, "a"), (2, "a")),
        (date, date(2013, 1, 1), date(2013, 1, 2)),
        (datetime, datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 2, tzinfo=UTC)),
        (Point | None, Point(0, 0), Point(1, 0)),
        (int, -(2**80), 2**80),
        (str, "a", "b"),
        (bytes, b"\x00", b"\xff"),
    ],
)
def test_values_of_a_known_type_come_back_as_they_were(
    value_type: object, small: object, large: object
) -> None:
    kinds = ["min", "max", "first", "last"]
    factory = RowFactory(kinds, [value_type] * 4)
    row = factory.new()
    row.add((large,) * 4, 2, 0)
    row.add((small,) * 4, 1, 0)
    restored = factory.decode(row.encode())
    assert restored.results() == [small, large, small, large]
    assert restored.encode() == row.encode()


def test_an_int_stays_an_int_though_the_field_is_a_float() -> None:
    factory = RowFactory(["max"], [float])
    row = factory.new()
    row.add((5,), 0, 0)
    assert repr(factory.decode(row.encode()).results()) == "[5]"


def test_a_value_that_could_not_be_read_back_is_refused_when_it_comes() -> None:
    factory = RowFactory(["last"], [None])
    with pytest.raises(TypeError, match="annotate the result's field"):
        factory.new().add((Point(1, 2),), 0, 0)


def test_text_and_numbers_do_not_compare() -> None:
    row = RowFactory(["max"], [None]).new()
    row.add((1,), 0, 0)
    with pytest.raises(TypeError):
        row.add(("a",), 0, 0)
