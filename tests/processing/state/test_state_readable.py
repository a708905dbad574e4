"""Rows are shown as what they are, as far as they tell themselves."""

from __future__ import annotations

import msgspec

from streamlog.processing.operators.specs import AggregateSpec, row_factory
from streamlog.processing.state.keys import row_name, row_value, store_id, window_prefix
from streamlog.processing.state.readable import Store, readable, stores_of
from streamlog.processing.state.row_table import time_name, token_of

encode = msgspec.msgpack.encode
PLAIN = Store("totals", store_id("totals"), "tumbling(60000 ms) flights=count delay=mean")
OTHER = Store("joined", store_id("joined"), "by time")


def test_a_plain_window_is_understood_whole() -> None:
    name = row_name(window_prefix(PLAIN.identity, 120_000), b"UA")
    row = readable(PLAIN, name, row_value(b"UA", encode([3, [1, 2]])))
    assert (row.key, row.start_ms, row.end_ms) == ("UA", 60_000, 120_000)
    assert row.value == {"flights": 3, "delay": [1, 2]}
    long = b"k" * 500
    name = row_name(window_prefix(PLAIN.identity, -60_000), long)
    row = readable(PLAIN, name, row_value(long, encode([1])))
    assert (row.key, row.start_ms, row.value) == (long.decode(), -120_000, [1])
    row = readable(PLAIN, row_name(window_prefix(PLAIN.identity, 0), None), encode([1, 2]))
    assert row.key is None


def test_other_rows_tell_their_key_and_times() -> None:
    head = OTHER.identity + b"\x02"
    row = readable(OTHER, head + token_of(b"UA") + time_name(5_000), encode({"a": b"\xff"}))
    assert (row.key, row.times_ms, row.rest, row.value) == ("UA", [5_000], "", {"a": "0xff"})
    row = readable(OTHER, head + time_name(-1) + token_of(b"x" * 500), b"")
    assert (row.key, row.times_ms, row.value) == (None, [-1], None)
    row = readable(OTHER, head + b"\xfe\xfe", b"\xc1 no msgpack")
    assert (row.key, row.rest, row.value) == (None, "fefe", "0xc1206e6f206d73677061636b")


def test_stores_are_those_of_the_layout_and_the_decisions() -> None:
    layout = {"totals": PLAIN.layout, "by-key (input)": "written from events"}
    assert [each.name for each in stores_of(layout)] == ["totals", "(decisions)"]
    assert PLAIN.window_ms == 60_000
    assert Store("w", b"", "tumbling(60000 ms) emit=changes count").window_ms is None


def test_a_windows_aggregates_are_shown_as_what_they_have_come_to() -> None:
    kinds = {"n": "count", "total": "sum", "middle": "mean", "least": "min", "newest": "last"}
    specs = [AggregateSpec(field, kind, None) for field, kind in kinds.items()]
    row = row_factory(specs).new()
    for time, number in enumerate((3, 5, 2**70)):
        row.add((1, number, number, number, f"number {number}"), time, 0)
    layout = "tumbling(1000 ms) " + " ".join(f"{field}={kind}" for field, kind in kinds.items())
    store = Store("totals", store_id("totals"), layout)
    name = row_name(window_prefix(store.identity, 2_000), b"UA")
    shown = readable(store, name, row_value(b"UA", row.encode()))
    assert (shown.key, shown.start_ms, shown.end_ms) == ("UA", 1_000, 2_000)
    assert shown.value == {
        "n": 3,
        "total": 8 + 2**70,
        "middle": (8 + 2**70) / 3,
        "least": 3,
        "newest": f"number {2**70}",
    }
