"""Idempotent producers: repetitions, order, epochs, wrapping, expiry; and their snapshots."""

from __future__ import annotations

import pytest
from fake_disk import FakeDisk
from hypothesis import given
from hypothesis import strategies as st
from log_support import DIRECTORY, NOW_MS, Partition, batch_of

from streamlog.broker.log.errors import AppendError
from streamlog.broker.log.producers import ProducedBatch, ProducerEntry, ProducerStates
from streamlog.broker.log.snapshots import (
    SnapshotDamageError,
    decode_snapshot,
    encode_snapshot,
    load_newest_snapshot,
    remove_snapshots,
    snapshot_offsets,
    write_snapshot,
)
from streamlog.records.batch import read_header
from streamlog.wire.error_codes import ErrorCode


def send(log_count: int = 0, *, epoch: int = 0, sequence: int = 0, count: int = 1) -> bytearray:
    return batch_of(*[b"v"] * count, producer=(7, epoch, sequence))


def test_the_last_five_batches_are_recognised_and_answered_with_their_offsets() -> None:
    log = Partition().create()
    infos = [log.append(send(sequence=3 * number, count=3), now_ms=NOW_MS) for number in range(8)]
    for number in range(3, 8):
        again = log.append(send(sequence=3 * number, count=3), now_ms=NOW_MS)
        assert again.duplicate
        assert (again.base_offset, again.last_offset) == (
            infos[number].base_offset,
            infos[number].last_offset,
        )
    assert log.log_end_offset == 24
    with pytest.raises(AppendError) as caught:
        log.append(send(sequence=6, count=3), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER


def test_a_repetition_must_have_the_same_first_and_last_sequence() -> None:
    log = Partition().create()
    log.append(send(sequence=0, count=3), now_ms=NOW_MS)
    with pytest.raises(AppendError):
        log.append(send(sequence=0, count=2), now_ms=NOW_MS)


@pytest.mark.parametrize("sequence", [0, 2, 4, 100])
def test_only_the_next_sequence_follows(sequence: int) -> None:
    log = Partition().create()
    log.append(send(sequence=0), now_ms=NOW_MS)
    log.append(send(sequence=1, count=2), now_ms=NOW_MS)
    if sequence == 0:
        assert log.append(send(sequence=0), now_ms=NOW_MS).duplicate
        return
    with pytest.raises(AppendError) as caught:
        log.append(send(sequence=sequence), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.log_end_offset == 3
    assert log.append(send(sequence=3), now_ms=NOW_MS).base_offset == 3


def test_sequences_wrap_to_zero() -> None:
    log = Partition().create()
    last = (1 << 31) - 1
    log.append(send(sequence=last - 1), now_ms=NOW_MS)
    log.append(send(sequence=last), now_ms=NOW_MS)
    assert log.append(send(sequence=0), now_ms=NOW_MS).base_offset == 2
    assert log.append(send(sequence=last), now_ms=NOW_MS).duplicate
    log = Partition().create()
    log.append(send(sequence=last - 1, count=4), now_ms=NOW_MS)
    assert log.append(send(sequence=last - 1, count=4), now_ms=NOW_MS).duplicate
    assert log.append(send(sequence=2), now_ms=NOW_MS).base_offset == 4


def test_an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() -> None:
    log = Partition().create()
    log.append(send(epoch=3, sequence=0), now_ms=NOW_MS)
    with pytest.raises(AppendError) as caught:
        log.append(send(epoch=2, sequence=1), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.INVALID_PRODUCER_EPOCH
    with pytest.raises(AppendError) as caught:
        log.append(send(epoch=4, sequence=1), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER
    assert log.append(send(epoch=4, sequence=0), now_ms=NOW_MS).base_offset == 1
    with pytest.raises(AppendError) as caught:
        log.append(send(epoch=3, sequence=1), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.INVALID_PRODUCER_EPOCH


def test_an_unknown_producer_may_begin_anywhere() -> None:
    log = Partition().create()
    assert log.append(send(epoch=9, sequence=12345), now_ms=NOW_MS).base_offset == 0
    log.expire_producers(NOW_MS + 1000, 1000)
    assert log.append(send(epoch=0, sequence=77), now_ms=NOW_MS).base_offset == 1


def test_a_producer_expires_by_the_time_of_its_last_append_but_not_in_a_transaction() -> None:
    states = ProducerStates()
    for producer_id in (1, 2):
        header = read_header(
            batch_of(
                b"v",
                timestamps=[5],
                producer=(producer_id, 0, 0),
                is_transactional=producer_id == 2,
            )
        )
        states.update(header, NOW_MS)
    assert states.expire(NOW_MS + 999, 1000) == 0
    assert states.expire(NOW_MS + 1000, 1000) == 1
    assert list(states.entries) == [2]
    assert states.first_unstable_offset == 0


def test_delete_records_and_retention_forget_no_producer() -> None:
    log = Partition().create()
    log.append(send(sequence=0), now_ms=NOW_MS)
    ticket = log.begin_flush()
    assert ticket is not None
    log.flushed(ticket)
    log.delete_records(1)
    log.enforce_retention(NOW_MS)
    assert log.append(send(sequence=0), now_ms=NOW_MS).duplicate


ENTRIES = st.dictionaries(
    st.integers(0, 1 << 62),
    st.tuples(
        st.integers(0, 32767),
        st.integers(0, (1 << 31) - 1),
        st.integers(0, 1 << 40),
        st.integers(0, 1000),
        st.integers(0, 1 << 42),
        st.integers(-1, 1 << 40),
    ),
    max_size=5,
)


@given(ENTRIES)
def test_a_snapshot_reads_back(
    rows: dict[int, tuple[int, int, int, int, int, int]],
) -> None:
    states = ProducerStates()
    for producer_id, (epoch, sequence, offset, delta, time, txn) in rows.items():
        entry = ProducerEntry(epoch, time, -1, txn)
        first = (sequence - delta) % (1 << 31)
        entry.batches.append(ProducedBatch(first, sequence, offset, delta, time))
        states.restore(producer_id, entry)
    assert decode_snapshot(encode_snapshot(states)).entries == states.entries


def test_a_snapshot_has_kafkas_bytes() -> None:
    log = Partition().create()
    log.append(send(epoch=1, sequence=40, count=2), now_ms=NOW_MS)
    body = (
        "00000001"  # one producer
        "0000000000000007" "0001" "00000029" "0000000000000001" "00000001"
        "00000199c82cc000" "ffffffff" "ffffffffffffffff"
    )  # fmt: skip
    data = encode_snapshot(log.producers)
    assert data[6:].hex() == body
    assert data[:2] == b"\0\1"


@pytest.mark.parametrize("size", [0, 5, 9, 10, 30])
def test_a_torn_snapshot_is_noticed(size: int) -> None:
    log = Partition().create()
    log.append(send(), now_ms=NOW_MS)
    with pytest.raises(SnapshotDamageError):
        decode_snapshot(encode_snapshot(log.producers)[:size])


@given(st.binary(max_size=100))
def test_no_bytes_make_reading_a_snapshot_fail_in_another_way(data: bytes) -> None:
    try:
        decode_snapshot(data)
    except SnapshotDamageError:
        return
    assert len(data) >= 10


def test_the_newest_whole_snapshot_is_taken_and_damaged_ones_go() -> None:
    disk = FakeDisk()
    disk.make_dir(DIRECTORY)
    for offset in (5, 10, 20):
        write_snapshot(disk, DIRECTORY, offset, ProducerStates())
    disk.flip(f"{DIRECTORY}/00000000000000000010.snapshot", 3)
    assert load_newest_snapshot(disk, DIRECTORY, 15)[0] == 5
    assert snapshot_offsets(disk, DIRECTORY) == [5, 20]
    remove_snapshots(disk, DIRECTORY, below=6, above=19)
    assert load_newest_snapshot(disk, DIRECTORY, 99)[0] == -1
