from __future__ import annotations

import pytest
from records_samples import batch, record

from streamlog.records.batch import (
    HEADER_SIZE,
    Codec,
    iter_headers,
    read_header,
    restamp_append_time,
    stamp,
    verify_crc,
)
from streamlog.records.codec import encode_batch
from streamlog.records.errors import CorruptRecordError


def made(count: int = 3, **options: object) -> bytearray:
    return encode_batch(
        [None] * count,
        [b"v"] * count,
        list(range(count)),
        **options,  # type: ignore[arg-type]
    )


def test_a_header_says_what_was_written() -> None:
    buffer = made(
        codec=Codec.LZ4,
        base_offset=40,
        leader_epoch=6,
        producer_id=9,
        producer_epoch=2,
        base_sequence=5,
        is_transactional=True,
    )
    header = read_header(b"xx" + buffer, 2)
    assert header.size_bytes == len(buffer)
    assert (header.base_offset, header.last_offset, header.next_offset) == (40, 42, 43)
    assert (header.leader_epoch, header.magic, header.codec) == (6, 2, Codec.LZ4)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (9, 2, 5)
    assert (header.base_timestamp, header.max_timestamp, header.record_count) == (0, 2, 3)
    assert header.is_transactional
    assert not header.is_control
    assert not header.is_log_append_time
    assert not header.has_delete_horizon


@pytest.mark.parametrize(
    ("base", "count", "last"),
    [(-1, 3, -1), (0, 1, 0), (5, 3, 7), (2147483647, 1, 2147483647), (2147483646, 4, 1)],
)
def test_sequences_wrap_to_zero(base: int, count: int, last: int) -> None:
    assert read_header(made(count, base_sequence=base)).last_sequence == last


def test_stamping_keeps_the_crc() -> None:
    buffer = made(codec=Codec.GZIP)
    changed = bytearray(b"head") + buffer
    stamp(changed, 4, 1 << 40, 17)
    header = read_header(changed, 4)
    assert (header.base_offset, header.leader_epoch) == (1 << 40, 17)
    verify_crc(changed, 4, header)
    assert changed[:4] == b"head"
    assert changed[12:16] == buffer[8:12]
    assert changed[20:] == buffer[16:]


def test_append_time_changes_the_crc() -> None:
    buffer = bytearray(b"head") + made()
    before = read_header(buffer, 4)
    restamp_append_time(memoryview(buffer)[4:], 0, 123456)
    header = read_header(buffer, 4)
    assert header.is_log_append_time
    assert header.max_timestamp == 123456
    assert header.base_timestamp == before.base_timestamp
    assert header.crc != before.crc
    verify_crc(buffer, 4, header)


def test_headers_are_found_one_after_the_other() -> None:
    parts = [made(1), made(2), made(3)]
    found = list(iter_headers(b"".join(parts)))
    assert [position for position, _ in found] == [0, len(parts[0]), len(parts[0] + parts[1])]
    assert [header.record_count for _, header in found] == [1, 2, 3]


def test_a_partial_tail_is_not_a_header() -> None:
    whole, tail = made(1), made(2)
    for cut in range(len(tail)):
        assert len(list(iter_headers(whole + tail[:cut]))) == 1


@pytest.mark.parametrize(
    ("at", "change", "why"),
    [
        (16, b"\x01", "format v1"),
        (16, b"\xff", "format v-1"),
        (8, (48).to_bytes(4, "big"), "less than its header"),
        (8, b"\xff\xff\xff\xff", "less than its header"),
    ],
)
def test_what_cannot_be_a_batch_is_refused(at: int, change: bytes, why: str) -> None:
    buffer = made()
    buffer[at : at + len(change)] = change
    with pytest.raises(CorruptRecordError, match=why):
        read_header(buffer)
    with pytest.raises(CorruptRecordError, match=why):
        list(iter_headers(buffer))


@pytest.mark.parametrize("position", [-1, 1, 1000])
def test_a_header_needs_its_bytes(position: int) -> None:
    with pytest.raises(CorruptRecordError, match="too few"):
        read_header(bytes(HEADER_SIZE), position)


def test_a_crc_needs_the_whole_batch() -> None:
    buffer = made()
    header = read_header(buffer)
    with pytest.raises(CorruptRecordError, match="are there"):
        verify_crc(buffer[:-1], 0, header)
    buffer[-1] ^= 1
    with pytest.raises(CorruptRecordError, match="CRC"):
        verify_crc(buffer, 0, header)


def test_an_unknown_codec_is_named_when_asked_for() -> None:
    header = read_header(batch(record(), 1, attributes=6))
    with pytest.raises(CorruptRecordError, match="unknown codec 6"):
        _ = header.codec


def test_control_and_delete_horizon_bits() -> None:
    header = read_header(batch(record(), 1, attributes=0x60))
    assert header.is_control
    assert header.has_delete_horizon
