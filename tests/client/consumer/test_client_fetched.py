"""Fetched bytes as columns: chunks, gaps, half batches, aborted transactions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.client.consumer.fetched import FetchedRecords
from streamlog.records.codec import encode_batch
from streamlog.records.control import ControlType, control_key, control_value
from streamlog.records.errors import CorruptRecordError


def batch(base: int, count: int, *, producer_id: int = -1, epoch: int = 3) -> bytearray:
    values: list[bytes | None] = [b"%d" % (base + index) for index in range(count)]
    return encode_batch(
        [None] * count,
        values,
        [0] * count,
        base_offset=base,
        leader_epoch=epoch,
        producer_id=producer_id,
        producer_epoch=-1 if producer_id < 0 else 0,
        base_sequence=-1 if producer_id < 0 else 0,
        is_transactional=producer_id >= 0,
    )


def marker(base: int, producer_id: int, kind: ControlType) -> bytearray:
    return encode_batch(
        [control_key(kind)],
        [control_value(0)],
        [0],
        base_offset=base,
        producer_id=producer_id,
        producer_epoch=0,
        is_transactional=True,
        is_control=True,
    )


def values_of(fetched: FetchedRecords, records_max: int = 1_000) -> list[bytes | None]:
    found: list[bytes | None] = []
    while not fetched.is_exhausted:
        columns, _ = fetched.take(records_max)
        found += columns.values
    return found


def test_a_chunk_ends_with_the_batch_that_reaches_the_limit() -> None:
    fetched = FetchedRecords(batch(0, 3) + batch(3, 3) + batch(6, 3), 0)
    sizes = []
    while not fetched.is_exhausted:
        columns, epoch = fetched.take(4)
        sizes.append((len(columns), fetched.offset, epoch))
    assert sizes == [(6, 6, 3), (3, 9, 3)]


def test_records_before_the_offset_are_left_out() -> None:
    fetched = FetchedRecords(batch(0, 5) + batch(5, 5), 7)
    assert values_of(fetched) == [b"7", b"8", b"9"]
    assert fetched.offset == fetched.end_offset == 10


def test_half_a_batch_at_the_end_is_left_for_the_next_fetch() -> None:
    fetched = FetchedRecords(batch(0, 2) + batch(2, 5)[:-3], 0)
    assert fetched.end_offset == 2
    assert values_of(fetched) == [b"0", b"1"]


def test_gaps_are_stepped_over() -> None:
    fetched = FetchedRecords(batch(0, 2) + batch(10, 2), 0)
    assert values_of(fetched) == [b"0", b"1", b"10", b"11"]
    assert fetched.offset == 12


def test_aborted_transactions_are_left_out_and_the_position_goes_past_them() -> None:
    log = (
        batch(0, 2, producer_id=1)
        + batch(2, 2, producer_id=2)
        + batch(4, 1)
        + marker(5, 1, ControlType.ABORT)
        + batch(6, 2, producer_id=1)
        + marker(8, 2, ControlType.COMMIT)
        + marker(9, 1, ControlType.COMMIT)
    )
    fetched = FetchedRecords(log, 0, [(0, 1)])
    assert values_of(fetched) == [b"2", b"3", b"4", b"6", b"7"]
    assert fetched.offset == 10


def test_nothing_but_aborted_records_still_moves_the_position() -> None:
    fetched = FetchedRecords(batch(0, 2, producer_id=1), 0, [(0, 1)])
    assert fetched.end_offset == 2
    columns, _ = fetched.take(10)
    assert (len(columns), fetched.offset) == (0, 2)


def test_a_damaged_batch_is_an_error() -> None:
    damaged = batch(0, 2)
    damaged[-1] ^= 1
    with pytest.raises(CorruptRecordError):
        values_of(FetchedRecords(damaged, 0))


def test_a_damaged_batch_that_claims_to_be_old_is_an_error_too() -> None:
    damaged = batch(10, 5)
    damaged[23:27] = (0).to_bytes(4, "big")  # its last offset delta: now it ends before 12
    with pytest.raises(CorruptRecordError):
        FetchedRecords(damaged + batch(15, 5), 12)


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2)), max_size=12),
    st.integers(0, 20),
    st.integers(1, 7),
)
def test_in_whatever_pieces_all_records_come_once(
    layout: list[tuple[int, int, int]], start: int, records_max: int
) -> None:
    log, base = bytearray(), 0
    expected: list[bytes | None] = []
    for count, gap, kind in layout:
        base += gap
        log += batch(base, count, producer_id=9 if kind == 2 else -1)
        if kind != 2:
            expected += [b"%d" % each for each in range(base, base + count) if each >= start]
        base += count
    fetched = FetchedRecords(log, start, [(0, 9)])
    assert values_of(fetched, records_max) == expected
