"""Produce requests that nobody should send: Kafka's error code, nothing appended, others served."""

from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import cramjam
import pytest
from durability_server import ServerProcess
from durability_wire import Wire, batch_of

from streamlog.records.batch import CRC_START, HEADER_SIZE, Codec, batch_crc
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
BATCH = bytes(batch_of("one", "two", "three"))
BASE_OFFSET, LENGTH, MAGIC, CRC, ATTRIBUTES, LAST_DELTA = 0, 8, 16, 17, 21, 23
PRODUCER_ID, COUNT = 43, 57
PACKED = (Codec.GZIP, Codec.SNAPPY, Codec.LZ4, Codec.ZSTD)
BOMB_BYTES = 1 << 30
BOMB_MEMORY_MAX = 320 * MIB
"""A batch may expand to 128 MiB before it is refused, and there are buffers beside."""


def patched(position: int, form: str, value: int, *, signed: bool = True) -> bytes:
    """Changes one field of the header, and the checksum so that it matches unless told not to."""
    batch = bytearray(BATCH)
    struct.pack_into(form, batch, position, value)
    if signed:
        struct.pack_into(">I", batch, CRC, batch_crc(batch, 0, len(batch)))
    return bytes(batch)


def flipped(position: int) -> bytes:
    batch = bytearray(BATCH)
    batch[position] ^= 1
    return bytes(batch)


CORRUPT, INVALID = ErrorCode.CORRUPT_MESSAGE, ErrorCode.INVALID_RECORD
BAD_BATCHES = {
    "wrong-crc": (flipped(CRC), {CORRUPT}),
    "bit-flip-in-a-record": (flipped(len(BATCH) - 3), {CORRUPT}),
    "truncated": (BATCH[:-1], {CORRUPT}),
    "truncated-in-the-header": (BATCH[:40], {CORRUPT}),
    "one-byte": (BATCH[:1], {CORRUPT, INVALID}),
    "empty": (b"", {INVALID}),
    "trailing-bytes": (BATCH + b"more", {CORRUPT}),
    "two-batches": (BATCH + BATCH, {INVALID}),
    "length-negative": (patched(LENGTH, ">i", -1, signed=False), {CORRUPT}),
    "length-two-gib": (patched(LENGTH, ">i", 2**31 - 1, signed=False), {CORRUPT}),
    "length-zero": (patched(LENGTH, ">i", 0, signed=False), {CORRUPT}),
    "magic-0": (patched(MAGIC, ">b", 0), {INVALID}),
    "magic-1": (patched(MAGIC, ">b", 1), {INVALID}),
    "magic-9": (patched(MAGIC, ">b", 9), {INVALID, CORRUPT}),
    "count-negative": (patched(COUNT, ">i", -1), {INVALID, CORRUPT}),
    "count-zero": (patched(COUNT, ">i", 0), {INVALID}),
    "count-two-billion": (patched(COUNT, ">i", 2**31 - 1), {INVALID}),
    "last-offset-delta-wrong": (patched(LAST_DELTA, ">i", 7), {INVALID}),
    "last-offset-delta-negative": (patched(LAST_DELTA, ">i", -5), {INVALID, CORRUPT}),
    "base-offset-lies": (patched(BASE_OFFSET, ">q", 1000, signed=False), {INVALID}),
    "control-batch": (patched(ATTRIBUTES, ">h", 0x20), {INVALID}),
    "unknown-codec": (
        patched(ATTRIBUTES, ">h", 6),
        {ErrorCode.UNSUPPORTED_COMPRESSION_TYPE, INVALID, CORRUPT},
    ),
    "producer-without-sequence": (patched(PRODUCER_ID, ">q", 5), {INVALID}),
    "too-large": (bytes(batch_of("x" * (2 * MIB))), {ErrorCode.MESSAGE_TOO_LARGE}),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("data")) as server:
        with Wire(server.port) as wire:
            for name, settings in (
                ("plain", {}),
                ("recoded", {"compression.type": "zstd"}),
                ("compacted", {"cleanup.policy": "compact"}),
            ):
                assert wire.create_topic(name, 1, settings) == ErrorCode.NONE
        yield server


@pytest.mark.parametrize("topic", ["plain", "recoded"])
@pytest.mark.parametrize("name", BAD_BATCHES)
def test_a_bad_batch_is_refused_and_nothing_is_appended(
    server: ServerProcess, topic: str, name: str
) -> None:
    batch, codes = BAD_BATCHES[name]
    with Wire(server.port) as wire:
        first = wire.must_produce(topic, 0, batch_of("before"))
        answer = wire.produce(topic, 0, batch)
        assert ErrorCode(answer.error_code) in codes
        assert answer.base_offset == -1
        # The same connection goes on, and the log has not moved.
        assert wire.must_produce(topic, 0, batch_of("after")) == first + 1
        assert wire.read(topic, 0, first) == {first: "before", first + 1: "after"}


def test_without_acknowledgement_a_bad_batch_closes_the_connection(server: ServerProcess) -> None:
    said = len(server.transcript.lines)
    with Wire(server.port) as wire, pytest.raises(ConnectionError):
        wire.produce("plain", 0, flipped(CRC), acks=0)
    server.transcript.wait_for(r"acks=0 failed: plain-0 CORRUPT_MESSAGE", start=said)


def test_good_batches_of_a_request_are_kept_beside_a_bad_one(server: ServerProcess) -> None:
    with Wire(server.port) as wire:
        assert wire.produce("plain", 99, BATCH).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert wire.produce("nowhere", 0, BATCH).error_code == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        assert wire.produce("plain", 0, BATCH).error_code == ErrorCode.NONE


def compressed_batch(codec: Codec, body: bytes, record_count: int = 1) -> bytes:
    """A batch whose header and checksum are right, whatever its body is."""
    batch = bytearray(BATCH[:HEADER_SIZE]) + body
    struct.pack_into(">i", batch, LENGTH, len(batch) - 12)
    struct.pack_into(">h", batch, ATTRIBUTES, codec)
    struct.pack_into(">i", batch, LAST_DELTA, record_count - 1)
    struct.pack_into(">i", batch, COUNT, record_count)
    struct.pack_into(">I", batch, CRC, batch_crc(batch, 0, len(batch)))
    assert CRC_START == CRC + 4
    return bytes(batch)


def bomb(codec: Codec) -> bytes:
    """A gigabyte in less than a megabyte."""
    zeros = bytes(MIB)
    if codec is Codec.GZIP:
        one = gzip.compress(bytes(64 * MIB), 9)
        return one * (BOMB_BYTES // (64 * MIB))
    if codec is Codec.ZSTD:
        return bytes(cramjam.zstd.compress(zeros * 64)) * (BOMB_BYTES // (64 * MIB))
    if codec is Codec.SNAPPY:
        # The raw format opens with the size that it claims, as a varint.
        return b"\xff\xff\xff\xff\x07" + b"\0" * 1000
    return bytes(cramjam.lz4.compress(zeros * 64)) * 3


@pytest.mark.parametrize(
    ("topic", "codec"),
    [
        ("recoded", Codec.GZIP),
        ("recoded", Codec.SNAPPY),
        ("recoded", Codec.LZ4),
        *(("compacted", codec) for codec in PACKED),
    ],
)
def test_a_bomb_does_not_go_off(server: ServerProcess, topic: str, codec: Codec) -> None:
    body = bomb(codec)
    assert len(body) < MIB
    before = server.resident_bytes()
    with Wire(server.port) as wire:
        answer = wire.produce(topic, 0, compressed_batch(codec, body))
        assert ErrorCode(answer.error_code) in (CORRUPT, INVALID, ErrorCode.MESSAGE_TOO_LARGE)
        assert server.peak_bytes() - before < BOMB_MEMORY_MAX
        assert wire.produce("plain", 0, BATCH).error_code == ErrorCode.NONE


@pytest.mark.parametrize("codec", PACKED)
def test_a_body_that_is_not_compressed_at_all_is_refused_where_it_is_read(
    server: ServerProcess, codec: Codec
) -> None:
    with Wire(server.port) as wire:
        answer = wire.produce("compacted", 0, compressed_batch(codec, b"no such thing" * 10))
        assert ErrorCode(answer.error_code) in (CORRUPT, INVALID)
