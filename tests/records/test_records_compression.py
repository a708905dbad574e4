from __future__ import annotations

import contextlib
import random
import struct
import zlib

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlog.records.batch import Codec
from streamlog.records.compression import (
    XERIAL_HEADER,
    compress,
    decompress,
    lz4_size_bound,
    zstd_size_bound,
)
from streamlog.records.errors import CorruptRecordError

COMPRESSED = [Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD]
ROOM = 1 << 22
TEXT = b"the quick brown fox jumps over the lazy dog " * 5000
NOISE = random.Random(7).randbytes(200_000)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("data", [b"", b"x", TEXT, NOISE, bytes(1 << 20)], ids=len)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_data_comes_back(codec: Codec, data: bytes, kind: type[bytes]) -> None:
    packed = compress(codec, kind(data))
    assert type(packed) is bytes
    assert decompress(codec, kind(packed), max(len(data), 1)) == data
    if codec is not Codec.NONE and data is TEXT:
        assert len(packed) < len(data) // 5


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("data", [TEXT, NOISE], ids=["text", "noise"])
def test_the_ceiling_is_exact(codec: Codec, data: bytes) -> None:
    packed = compress(codec, data)
    assert len(decompress(codec, packed, len(data))) == len(data)
    with pytest.raises(CorruptRecordError, match="more than"):
        decompress(codec, packed, len(data) - 1)


@pytest.mark.parametrize("codec", COMPRESSED)
@given(data=st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read(codec: Codec, data: bytes) -> None:
    with contextlib.suppress(CorruptRecordError):
        assert len(decompress(codec, data, 1000)) <= 1000


@pytest.mark.parametrize("codec", COMPRESSED)
@given(harm=st.data())
def test_changed_bytes_are_refused_or_read(codec: Codec, harm: st.DataObject) -> None:
    packed = bytearray(compress(codec, TEXT[:3000] + NOISE[:3000]))
    for _ in range(harm.draw(st.integers(1, 3))):
        packed[harm.draw(st.integers(0, len(packed) - 1))] = harm.draw(st.integers(0, 255))
    with contextlib.suppress(CorruptRecordError):
        assert len(decompress(codec, packed, 10_000)) <= 10_000


@pytest.mark.parametrize("codec", COMPRESSED)
@pytest.mark.parametrize("data", [TEXT, NOISE], ids=["text", "noise"])
def test_a_frame_that_is_cut_off_is_refused(codec: Codec, data: bytes) -> None:
    packed = compress(codec, data)
    cuts = [0, 1, 4, 6, 10, 16, 18, len(packed) // 2, len(packed) - 4, len(packed) - 1]
    for cut in cuts:
        # The xerial header alone is a whole stream of no chunks.
        if codec is Codec.SNAPPY and cut == len(XERIAL_HEADER):
            continue
        with pytest.raises(CorruptRecordError):
            decompress(codec, packed[:cut], ROOM)


@pytest.mark.parametrize("codec", COMPRESSED)
@pytest.mark.parametrize("tail", [b"\x00", b"junk junk", bytes(100)])
def test_bytes_after_the_frame_are_refused(codec: Codec, tail: bytes) -> None:
    with pytest.raises(CorruptRecordError):
        decompress(codec, compress(codec, TEXT) + tail, ROOM)


@pytest.mark.parametrize("codec", [Codec.GZIP, Codec.LZ4, Codec.ZSTD])
def test_a_second_frame_is_refused(codec: Codec) -> None:
    with pytest.raises(CorruptRecordError, match="follow"):
        decompress(codec, compress(codec, TEXT) * 2, ROOM)


def test_snappy_is_written_in_the_stream_of_java_clients() -> None:
    packed = compress(Codec.SNAPPY, TEXT)
    assert packed[:16] == b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"
    position, found = 16, b""
    while position < len(packed):
        (size,) = struct.unpack_from(">i", packed, position)
        block = bytes(cramjam.snappy.decompress_raw(packed[position + 4 : position + 4 + size]))
        assert len(block) <= 32 * 1024
        found += block
        position += 4 + size
    assert found == TEXT


def test_a_bare_snappy_block_is_read() -> None:
    assert decompress(Codec.SNAPPY, bytes(cramjam.snappy.compress_raw(TEXT)), ROOM) == TEXT


def test_a_snappy_block_may_not_claim_what_it_cannot_hold() -> None:
    claim = b"\xff\xff\xff\x07" + b"\x00a"
    for packed in (claim, XERIAL_HEADER + struct.pack(">i", len(claim)) + claim):
        with pytest.raises(CorruptRecordError, match="claims to be"):
            decompress(Codec.SNAPPY, packed, 1 << 30)


@pytest.mark.parametrize("size", [-1, 5, 0x7FFFFFFF])
def test_a_snappy_chunk_beyond_the_data_is_refused(size: int) -> None:
    with pytest.raises(CorruptRecordError, match="cut off"):
        decompress(Codec.SNAPPY, XERIAL_HEADER + struct.pack(">i", size) + b"abc", ROOM)


def test_lz4_blocks_are_independent_because_java_refuses_linked_ones() -> None:
    packed = compress(Codec.LZ4, TEXT + NOISE)
    assert packed[4] & 0x20
    assert bytes(cramjam.lz4.decompress(packed)) == TEXT + NOISE
    assert lz4_size_bound(memoryview(packed)) >= len(TEXT + NOISE)


def test_linked_lz4_blocks_with_sizes_and_checksums_are_read() -> None:
    packed = bytes(cramjam.lz4.compress(TEXT * 3, level=0))
    assert not packed[4] & 0x20
    assert decompress(Codec.LZ4, packed, ROOM) == TEXT * 3


@pytest.mark.parametrize(
    ("at", "value"), [(4, 0x21), (4, 0xA0), (4, 0x61), (5, 0x00), (5, 0x30), (0, 5)]
)
def test_a_strange_lz4_frame_is_refused(at: int, value: int) -> None:
    packed = bytearray(compress(Codec.LZ4, TEXT))
    packed[at] = value
    with pytest.raises(CorruptRecordError):
        decompress(Codec.LZ4, packed, ROOM)


@pytest.mark.parametrize(("at", "bit"), [(0, 0x01), (4, 0x01), (4, 0x02), (4, 0x08)])
def test_a_strange_zstd_frame_is_refused(at: int, bit: int) -> None:
    packed = bytearray(compress(Codec.ZSTD, TEXT))
    packed[at] ^= bit
    with pytest.raises(CorruptRecordError):
        decompress(Codec.ZSTD, packed, ROOM)


def test_a_zstd_block_of_the_reserved_type_is_refused() -> None:
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 0x58) + (1 | 3 << 1).to_bytes(3, "little")
    with pytest.raises(CorruptRecordError, match="impossible block"):
        decompress(Codec.ZSTD, frame, ROOM)


def test_a_zstd_run_counts_with_its_length() -> None:
    run = (1 | 1 << 1 | 100_000 << 3).to_bytes(3, "little") + b"x"
    frame = struct.pack("<IBB", 0xFD2FB528, 0, 0x58) + run
    assert zstd_size_bound(memoryview(frame)) == 100_000
    assert decompress(Codec.ZSTD, frame, 100_000) == b"x" * 100_000


def test_gzip_of_other_levels_and_names_is_read() -> None:
    packed = zlib.compressobj(1, zlib.DEFLATED, 31)
    data = packed.compress(TEXT) + packed.flush()
    named = data[:3] + b"\x08" + data[4:10] + b"name\x00" + data[10:]
    assert decompress(Codec.GZIP, named, ROOM) == TEXT
