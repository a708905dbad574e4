"""Which part of the sources is read, to the record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.values import EARLIEST, FetchedChunk
from streamlog.processing.worker.span import WHOLE, Span
from streamlog.records.columns import Columns

KEY = ("events", 1)


def chunk(offsets: list[int], next_offset: int) -> FetchedChunk:
    count = len(offsets)
    columns = Columns(offsets, [0] * count, [None] * count, [b""] * count, None)
    return FetchedChunk("events", 1, columns, next_offset, next_offset + 10)


def test_a_task_without_a_position_begins_where_the_span_does() -> None:
    assert Span({KEY: 7}).first(KEY, None) == 7
    assert Span({KEY: 7}).first(KEY, 12) == 12
    assert Span({("events", 0): 7}).first(KEY, None) == EARLIEST


def test_a_span_without_ends_reads_on() -> None:
    whole = chunk([3, 4, 9], 12)
    assert WHOLE.cut(whole) is whole
    assert not WHOLE.is_over(KEY, 10**12)
    assert WHOLE.narrow(KEY, 3, 12) == (3, 12)


def test_a_partition_that_ends_before_the_span_begins_holds_nothing_of_it() -> None:
    begin, end = Span({KEY: 20}, {KEY: 30}).narrow(KEY, 0, 12)
    assert begin >= end


@given(st.sets(st.integers(0, 60), max_size=20), st.integers(0, 80), st.integers(0, 5))
def test_a_chunk_is_cut_at_the_end_to_the_record(offsets: set[int], end: int, gap: int) -> None:
    there = sorted(offsets)
    next_offset = (there[-1] if there else 40) + 1 + gap
    cut = Span({}, {KEY: end}).cut(chunk(there, next_offset))
    assert cut.columns.offsets == [each for each in there if each < end]
    assert cut.next_offset == min(next_offset, end)
    assert cut.high_watermark >= cut.next_offset
    assert Span({}, {KEY: end}).is_over(KEY, cut.next_offset) == (next_offset >= end)
