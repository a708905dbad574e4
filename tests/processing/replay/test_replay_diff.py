"""Differences and corrections, against sets and loops over all records."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import closing
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.replay.corrections import Correction, Corrections
from streamlog.processing.replay.diff import (
    ALWAYS,
    NEVER,
    Change,
    Comparison,
    Pair,
    Part,
    compare,
    difference_of,
    pairs,
)
from streamlog.processing.replay.result import (
    Kind,
    Result,
    equal_values,
    identity,
    results_of,
    window_header,
)
from streamlog.processing.replay.result_table import ResultTable, Side
from streamlog.records.columns import Columns, Headers

HOUR_MS = 3_600_000

Record = tuple[bytes | None, int, int | None]
"""Key, hour of the window, value; no value takes the result back."""

RECORDS = st.lists(
    st.tuples(
        st.sampled_from([None, b"", b"a", b"b", b"ab", b"x" * 900]),
        st.integers(0, 5),
        st.none() | st.integers(0, 2),
    ),
    max_size=40,
)


def instant(hour: int) -> str:
    return f"2013-01-01T{hour:02}:00:00Z"


BASE_MS = 1_356_998_400_000


def columns_of(records: list[Record]) -> Columns:
    """The records of a topic of windows of an hour."""
    columns = Columns.empty()
    columns.headers = []
    for offset, (key, hour, value) in enumerate(records):
        start_ms = BASE_MS + hour * HOUR_MS
        gone = Result(key, start_ms, start_ms + HOUR_MS, 0, None)
        result = {"start": instant(hour), "end": instant(hour + 1), "value": {"n": value}}
        columns.offsets.append(offset)
        columns.keys.append(key)
        columns.values.append(None if value is None else json.dumps(result).encode())
        columns.timestamps.append(start_ms + HOUR_MS - 1)
        columns.headers.append(window_header(gone) if value is None else ())
    return columns


def newest(records: list[Record]) -> dict[tuple[bytes | None, int], int]:
    """What holds at the end, by key and hour."""
    found: dict[tuple[bytes | None, int], int] = {}
    for key, hour, value in records:
        if value is None:
            found.pop((key, hour), None)
        else:
            found[key, hour] = value
    return found


def compared(live: list[Record], version: list[Record]) -> list[Pair]:
    with TemporaryDirectory() as folder, closing(ResultTable(folder)) as table:
        for side, records in ((Side.LIVE, live), (Side.VERSION, version)):
            for begin in range(0, len(records), 7):
                columns = columns_of(records[begin : begin + 7])
                table.put(side, results_of(columns, Kind.WINDOWS, HOUR_MS))
        return list(pairs(table.results(Side.LIVE), table.results(Side.VERSION)))


@given(RECORDS, RECORDS, st.integers(-1, 6), st.integers(0, 7))
def test_every_key_and_window_is_counted_once_as_what_it_is(
    live: list[Record], version: list[Record], after: int, through: int
) -> None:
    part = Part(BASE_MS + after * HOUR_MS, BASE_MS + through * HOUR_MS)
    comparison = Comparison("out", "out.v2", part)
    compare(compared(live, version), comparison, sample_max=3)
    ours, theirs = newest(live), newest(version)
    expected: Counter[str] = Counter()
    for key, hour in ours.keys() | theirs.keys():
        one, other = ours.get((key, hour)), theirs.get((key, hour))
        if not (hour > after and hour + 1 <= through):
            expected["outside"] += 1
        elif one is None:
            expected["extra"] += 1
        elif other is None:
            expected["missing"] += 1
        else:
            expected["same" if one == other else "changed"] += 1
    found = {
        name: getattr(comparison, name)
        for name in ("same", "changed", "missing", "extra", "outside")
    }
    assert found == {name: expected[name] for name in found}
    differences = expected["changed"] + expected["missing"] + expected["extra"]
    assert len(comparison.sample) == min(differences, 3)
    assert comparison.differs == bool(differences)


def written(live: list[Record], corrections: list[Correction]) -> Columns:
    """The live topic after corrections."""
    columns = columns_of(live)
    assert columns.headers is not None
    for each in corrections:
        columns.offsets.append(len(columns.offsets))
        columns.keys.append(each.key)
        columns.values.append(each.value)
        columns.timestamps.append(each.timestamp_ms)
        columns.headers.append(each.headers)
    return columns


def state_of(columns: Columns) -> dict[bytes, bytes]:
    """What a topic's results are, by identity."""
    found = dict(results_of(columns, Kind.WINDOWS, HOUR_MS))
    return {name: each.value for name, each in found.items() if each.value is not None}


@given(RECORDS, RECORDS, st.booleans())
def test_after_the_corrections_the_live_topic_says_what_the_version_says(
    live: list[Record], version: list[Record], compacted: bool
) -> None:
    corrections = Corrections(Part(), compacted=compacted, tombstones=True)
    records = list(corrections.of(compared(live, version)))
    assert state_of(written(live, records)) == state_of(columns_of(version))
    assert corrections.left == 0
    if not compacted:
        assert len(records) == corrections.written + corrections.removed


@given(RECORDS, RECORDS)
def test_compaction_keeps_the_version_s_newest_window_of_each_key_that_was_corrected(
    live: list[Record], version: list[Record]
) -> None:
    corrections = Corrections(Part(), compacted=True, tombstones=False)
    kept: dict[bytes | None, bytes | None] = {}
    for each in corrections.of(compared(live, version)):
        kept[each.key] = each.value
    theirs = newest(version)
    for key, value in kept.items():
        hours = [hour for other, hour in theirs if other == key]
        if hours:
            assert json.loads(value or b"")["start"] == instant(max(hours))
        else:
            assert value is None


@given(RECORDS, RECORDS, st.integers(-1, 6), st.integers(0, 7))
def test_corrections_touch_only_what_the_version_answers_for(
    live: list[Record], version: list[Record], after: int, through: int
) -> None:
    part = Part(BASE_MS + after * HOUR_MS, BASE_MS + through * HOUR_MS)
    corrections = Corrections(part, compacted=False, tombstones=False)
    records = list(corrections.of(compared(live, version)))
    ours, theirs = newest(live), newest(version)
    expected = {
        (key, hour)
        for (key, hour), value in theirs.items()
        if hour > after and ours.get((key, hour)) != value
    }
    assert {(each.key, json.loads(each.value or b"")["start"]) for each in records} == {
        (key, instant(hour)) for key, hour in expected
    }
    gone = [each for each in ours.keys() - theirs.keys() if after < each[1] < through]
    assert corrections.left == len(gone)


# What a record says.


def one_record(
    value: bytes | None, kind: Kind, *, headers: Headers = (), window_ms: int | None = None
) -> list[tuple[bytes, Result]]:
    columns = Columns([0], [HOUR_MS - 1], [b"k"], [value], [headers])
    return list(results_of(columns, kind, window_ms))


def test_a_mapped_result_is_of_the_window_that_its_timestamp_ends() -> None:
    ((name, result),) = one_record(b'{"hour": 0}', Kind.WINDOWS, window_ms=HOUR_MS)
    assert name == identity(b"k", 0, HOUR_MS)
    assert (result.first_ms, result.last_ms) == (0, HOUR_MS)


def test_a_session_that_has_grown_takes_back_what_it_replaces() -> None:
    value = (
        b'{"start":"1970-01-01T00:00:00Z","end":"1970-01-01T00:00:09Z","value":2,'
        b'"replaces":[["1970-01-01T00:00:00Z","1970-01-01T00:00:04Z"]]}'
    )
    (gone, there) = one_record(value, Kind.WINDOWS)
    assert gone[0] == identity(b"k", 0, 4_000)
    assert gone[1].value is None
    assert there[0] == identity(b"k", 0, 9_000)
    assert there[1].value == value


def test_of_rows_a_null_ends_the_row_and_of_events_it_is_nothing() -> None:
    ((name, row),) = one_record(None, Kind.ROWS)
    assert (name, row.value) == (identity(b"k"), None)
    assert one_record(None, Kind.EVENTS) == []


def test_an_event_that_came_twice_is_one_and_another_value_is_another() -> None:
    once, again = one_record(b'{"a":1}', Kind.EVENTS), one_record(b'{"a":1}', Kind.EVENTS)
    assert once == again
    assert one_record(b'{"a":2}', Kind.EVENTS)[0][0] != once[0][0]


@pytest.mark.parametrize("value", [b"\xff\xfe", b"{", b'{"start": "now"}', b"", b"7"])
def test_a_value_that_says_no_window_is_an_event(value: bytes) -> None:
    ((_, result),) = one_record(value, Kind.EVENTS)
    assert result.start_ms is None


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (b'{"a": 1, "b": [2]}', b'{"b":[2],"a":1}', True),
        (b"[1, 2]", b"[1,2]", True),
        (b"[1, 2]", b"[2,1]", False),
        (b"{", b"{ ", False),
        (b"text", b"text ", False),
        (b"1", b"1.0", False),
        (None, None, True),
        (None, b"{}", False),
    ],
)
def test_values_are_equal_if_they_read_the_same(
    one: bytes | None, other: bytes | None, equal: bool
) -> None:
    assert equal_values(one, other) is equal


def test_sides_that_cut_time_otherwise_are_compared_where_both_answer() -> None:
    part = Part(NEVER, 10)
    one, other = Result(b"k", 0, 10, 9, b"1"), Result(b"k", 0, 20, 19, b"1")
    comparison = Comparison("out", "out.v2", part)
    compare([(one, other)], comparison, 1)
    assert comparison.outside == 1
    assert difference_of((one, other)) is None
    assert Part(NEVER, ALWAYS).covers(other)
    assert difference_of((one, None)) is not None
    found = difference_of((None, other))
    assert found is not None
    assert found.change is Change.EXTRA
