"""Bytes that lie: whatever they are, reading them raises `CorruptRecordError` and nothing else."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_flavours import flavours
from records_samples import CODECS, batch, columns, record, varint

from streamlog.records.batch import Codec, batch_crc, read_header
from streamlog.records.compression import compress
from streamlog.records.errors import CorruptRecordError

if TYPE_CHECKING:
    from types import ModuleType

    from streamlog.records.columns import Columns

both = pytest.mark.parametrize("codec", flavours("streamlog.records.codec"))


def decode_or_refuse(codec: ModuleType, buffer: bytes | bytearray) -> None:
    """Decodes with the only error that is allowed; what is decoded must hold together."""
    try:
        decoded, next_offset = codec.decode_batches(buffer, check_crc=False, bytes_max=1 << 20)
    except CorruptRecordError:
        return
    assert next_offset >= 0
    count = len(decoded.offsets)
    assert count == len(decoded.timestamps) == len(decoded.keys) == len(decoded.values)
    assert decoded.headers is None or len(decoded.headers) == count
    assert all(earlier < later for earlier, later in pairwise(decoded.offsets))
    assert all(-(1 << 63) <= timestamp < 1 << 63 for timestamp in decoded.timestamps)


@both
@given(buffer=st.binary(max_size=300))
def test_arbitrary_bytes(codec: ModuleType, buffer: bytes) -> None:
    decode_or_refuse(codec, buffer)


@both
@given(
    body=st.binary(max_size=200),
    count=st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(0, 20),
    delta=st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(0, 20),
    attributes=st.integers(0, 0x7F),
    base_offset=st.integers(-(1 << 63), (1 << 63) - 1),
    base_timestamp=st.integers(-(1 << 63), (1 << 63) - 1),
)
def test_a_batch_of_arbitrary_records(
    codec: ModuleType,
    body: bytes,
    count: int,
    delta: int,
    attributes: int,
    base_offset: int,
    base_timestamp: int,
) -> None:
    made = batch(
        body,
        count,
        base_offset=base_offset,
        attributes=attributes,
        last_offset_delta=delta,
        base_timestamp=base_timestamp,
    )
    decode_or_refuse(codec, made)


@both
@given(data=columns(count_max=5), compression=st.sampled_from(CODECS), harm=st.data())
def test_a_good_batch_with_some_bytes_changed(
    codec: ModuleType, data: Columns, compression: Codec, harm: st.DataObject
) -> None:
    made = codec.encode_batch(
        data.keys, data.values, data.timestamps, data.headers, codec=compression
    )
    for _ in range(harm.draw(st.integers(1, 4))):
        made[harm.draw(st.integers(0, len(made) - 1))] = harm.draw(st.integers(0, 255))
    decode_or_refuse(codec, made)


@both
@given(data=columns(count_max=5), compression=st.sampled_from(CODECS), flip=st.data())
def test_any_changed_bit_that_the_crc_covers_is_found(
    codec: ModuleType, data: Columns, compression: Codec, flip: st.DataObject
) -> None:
    made = codec.encode_batch(
        data.keys, data.values, data.timestamps, data.headers, codec=compression
    )
    at = flip.draw(st.integers(17 * 8, len(made) * 8 - 1))
    made[at // 8] ^= 1 << at % 8
    with pytest.raises(CorruptRecordError, match="CRC"):
        codec.decode_batches(made)


ONE = record()
LIES = {
    "fewer records than bytes": batch(ONE + record(1), 1),
    "more records than bytes": batch(ONE, 2),
    "two thousand million records": batch(ONE, 0x7FFFFFFF),
    "a negative count": batch(ONE, -1, last_offset_delta=0),
    "more records than offsets": batch(ONE + record(1), 2, last_offset_delta=0),
    "a negative last offset": batch(ONE, 1, last_offset_delta=-1),
    "a negative base offset": batch(ONE, 1, base_offset=-1),
    "offsets beyond 64 bits": batch(ONE, 1, base_offset=(1 << 63) - 1),
    "an unknown codec": batch(ONE, 1, attributes=5),
    "bytes after the last record": batch(ONE + b"\x00", 1),
    "records in a batch without any": batch(ONE, 0, last_offset_delta=0),
    "the same offset twice": batch(ONE + ONE, 2),
    "offsets that go backwards": batch(record(1) + record(0), 2),
    "a negative offset delta": batch(record(-1), 1),
    "an offset beyond the last": batch(record(1), 1),
    "a timestamp beyond 64 bits": batch(record(timestamp_delta=1), 1, base_timestamp=(1 << 63) - 1),
    "a timestamp below 64 bits": batch(record(timestamp_delta=-1), 1, base_timestamp=-(1 << 63)),
    "a record that is too short": batch(varint(5) + ONE[1:], 1),
    "a record that is too long": batch(varint(8) + ONE[1:], 1),
    "a record of negative length": batch(varint(-3) + ONE[1:], 1),
    "a record of two gigabytes": batch(varint(0x7FFFFFFF) + ONE[1:], 1),
    "a record of no bytes": batch(varint(0) + bytes(9), 1),
    "a key beyond the record": batch(varint(7) + b"\x00\x00\x00" + varint(1000) + b"k\x01\x00", 1),
    "a key beyond the batch": batch(
        varint(9) + b"\x00\x00\x00" + varint(0x7FFFFFFF) + b"\x01\x00", 1
    ),
    "a length of six bytes": batch(b"\x8e\x80\x80\x80\x80\x00" + ONE[1:], 1),
    "a length of 35 bits": batch(b"\x8e\x80\x80\x80\x70" + ONE[1:], 1),
    "a timestamp of eleven bytes": batch(
        varint(17) + b"\x00" + b"\x80" * 10 + b"\x00" + b"\x00\x01\x02v\x00", 1
    ),
    "a timestamp of 70 bits": batch(
        varint(16) + b"\x00" + b"\x80" * 9 + b"\x7e" + b"\x00\x01\x02v\x00", 1
    ),
    "a varint without an end": batch(b"\x80" * 9, 1),
    "a million headers": batch(record(tail=varint(1_000_000)), 1),
    "a negative header count": batch(record(tail=varint(-1)), 1),
    "a header without a key": batch(record(tail=varint(1) + varint(-1) + varint(-1)), 1),
    "a header key beyond the record": batch(
        record(tail=varint(1) + varint(100) + b"k") + record(1), 2
    ),
    "a header value beyond the record": batch(
        record(tail=varint(1) + varint(0) + varint(100)) + record(1), 2
    ),
    "headers that end early": batch(record(tail=varint(1)), 1),
}


@both
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_with_a_right_crc_is_refused(codec: ModuleType, lie: str) -> None:
    with pytest.raises(CorruptRecordError) as caught:
        codec.decode_batches(LIES[lie])
    assert caught.value.exit_code == 6


@both
def test_the_batch_that_the_lies_are_made_of_is_fine(codec: ModuleType) -> None:
    assert len(codec.decode_batches(batch(ONE, 1))[0]) == 1


@both
def test_offsets_that_go_backwards_between_batches_are_refused(codec: ModuleType) -> None:
    buffer = batch(ONE, 1, base_offset=5) + batch(ONE, 1, base_offset=5)
    with pytest.raises(CorruptRecordError, match="follows"):
        codec.decode_batches(buffer)


@both
@pytest.mark.parametrize("compression", [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD])
def test_a_bomb_is_refused_before_it_fills_the_memory(
    codec: ModuleType, compression: Codec
) -> None:
    packed = compress(compression, bytes(64 << 20))
    made = batch(packed, 1, attributes=compression)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptRecordError, match="more than the 1048576 bytes"):
            codec.decode_batches(made, bytes_max=1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


@both
def test_claims_allocate_nothing(codec: ModuleType) -> None:
    buffers = [LIES["two thousand million records"], LIES["a million headers"]]
    tracemalloc.start()
    try:
        for buffer in buffers:
            decode_or_refuse(codec, buffer)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@both
def test_a_batch_that_is_cut_off_is_not_decoded(codec: ModuleType) -> None:
    made = batch(ONE, 1)
    header = read_header(made)
    with pytest.raises(CorruptRecordError, match="cut off"):
        codec.decode_batch(made[:-1], 0, header)


@both
def test_a_batch_before_the_fetch_offset_is_not_decoded(codec: ModuleType) -> None:
    broken = batch(b"\xff" * 20, 1, base_offset=0)
    decoded, next_offset = codec.decode_batches(
        broken + batch(ONE, 1, base_offset=1), fetch_offset=1
    )
    assert decoded.offsets == [1]
    assert next_offset == 2


@both
def test_an_altered_batch_is_not_skipped_as_an_old_one(codec: ModuleType) -> None:
    made = batch(ONE + record(1), 2)
    made[26] = 0  # The last offset delta: the batch seems to end before offset 1.
    with pytest.raises(CorruptRecordError, match="CRC"):
        codec.decode_batches(made + batch(ONE, 1, base_offset=2), fetch_offset=1)


def test_the_crc_of_the_samples_is_right() -> None:
    made = batch(ONE, 1)
    assert read_header(made).crc == batch_crc(made, 0, len(made))
