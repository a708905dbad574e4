"""Which batches a partition takes: Kafka's checks with Kafka's error codes, nothing left behind."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from log_support import NOW_MS, Partition, append, batch_of, flush, read_all

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.errors import AppendError
from streamlog.records.batch import Codec, batch_crc, read_header, verify_crc
from streamlog.records.codec import decode_batch, decode_batches
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.log.partition_log import PartitionLog


def patched(fmt: str, position: int, value: int, *, crc: bool = True) -> bytearray:
    """Returns a batch of two records with one header field changed."""
    batch = batch_of(b"first", b"second", producer=(5, 0, 0))
    struct.pack_into(fmt, batch, position, value)
    if crc:
        struct.pack_into(">I", batch, 17, batch_crc(batch, 0, len(batch)))
    return batch


REFUSED: dict[str, tuple[Callable[[], bytearray], ErrorCode]] = {
    "nothing": (bytearray, ErrorCode.INVALID_RECORD),
    "half a header": (lambda: batch_of(b"v")[:40], ErrorCode.CORRUPT_MESSAGE),
    "a cut batch": (lambda: batch_of(b"v")[:-1], ErrorCode.CORRUPT_MESSAGE),
    "bytes behind the batch": (lambda: batch_of(b"v") + b"x", ErrorCode.CORRUPT_MESSAGE),
    "two batches": (lambda: batch_of(b"v") + batch_of(b"w"), ErrorCode.INVALID_RECORD),
    "a flipped bit": (lambda: patched(">b", 70, 9, crc=False), ErrorCode.CORRUPT_MESSAGE),
    "a flipped checksum": (lambda: patched(">I", 17, 1, crc=False), ErrorCode.CORRUPT_MESSAGE),
    "a negative length": (lambda: patched(">i", 8, -5), ErrorCode.CORRUPT_MESSAGE),
    "a huge length": (lambda: patched(">i", 8, 0x7FFFFFFF), ErrorCode.CORRUPT_MESSAGE),
    "magic 1": (lambda: patched(">b", 16, 1), ErrorCode.INVALID_RECORD),
    "magic 3": (lambda: patched(">b", 16, 3), ErrorCode.CORRUPT_MESSAGE),
    "a base offset": (lambda: patched(">q", 0, 7), ErrorCode.INVALID_RECORD),
    "no records": (lambda: patched(">i", 57, 0), ErrorCode.INVALID_RECORD),
    "a negative count": (lambda: patched(">i", 57, -1), ErrorCode.INVALID_RECORD),
    "a count that lies": (lambda: patched(">i", 57, 3), ErrorCode.INVALID_RECORD),
    "an offset delta that lies": (lambda: patched(">i", 23, 5), ErrorCode.INVALID_RECORD),
    "a control batch": (lambda: patched(">h", 21, 0x20), ErrorCode.INVALID_RECORD),
    "an unknown codec": (lambda: patched(">h", 21, 7), ErrorCode.UNSUPPORTED_COMPRESSION_TYPE),
    "append time claimed": (lambda: patched(">h", 21, 0x08), ErrorCode.INVALID_TIMESTAMP),
    "a producer without sequence": (lambda: patched(">i", 53, -1), ErrorCode.INVALID_RECORD),
    "a producer without epoch": (lambda: patched(">h", 51, -1), ErrorCode.INVALID_RECORD),
    "a transaction": (lambda: patched(">h", 21, 0x10), ErrorCode.INVALID_TXN_STATE),
}


@pytest.mark.parametrize(("make", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_batch_is_refused_and_leaves_nothing(
    make: Callable[[], bytearray], code: ErrorCode
) -> None:
    log = Partition().create()
    append(log, b"before")
    with pytest.raises(AppendError) as caught:
        log.append(make(), now_ms=NOW_MS)
    assert caught.value.code is code
    assert caught.value.message
    assert (log.log_end_offset, len(log.producers)) == (1, 0)
    append(log, b"after")
    flush(log)
    assert read_all(log) == {0: b"before", 1: b"after"}


def refusal(log: PartitionLog, batch: bytearray) -> AppendError:
    with pytest.raises(AppendError) as caught:
        log.append(batch, now_ms=NOW_MS)
    assert log.log_end_offset == 0
    return caught.value


def test_a_batch_larger_than_the_topic_allows_is_refused() -> None:
    batch = batch_of(b"x" * 500)
    log = Partition(config=LogConfig(max_message_bytes=len(batch) - 1)).create()
    assert refusal(log, batch).code is ErrorCode.MESSAGE_TOO_LARGE
    log = Partition(config=LogConfig(segment_bytes=len(batch) - 1)).create()
    assert refusal(log, batch).code is ErrorCode.RECORD_LIST_TOO_LARGE
    exact = LogConfig(max_message_bytes=len(batch), segment_bytes=len(batch))
    assert Partition(config=exact).create().append(batch, now_ms=NOW_MS).base_offset == 0


def test_append_time_replaces_the_producers_time_under_a_new_checksum() -> None:
    log = Partition(config=LogConfig(message_timestamp_type="LogAppendTime")).create()
    far_off = NOW_MS + 10**12
    info = log.append(batch_of(b"a", b"b", timestamps=[5, far_off]), now_ms=NOW_MS)
    assert info.log_append_time_ms == NOW_MS
    flush(log)
    data = log.read(0, 1000).read()
    header = read_header(data)
    verify_crc(data, 0, header)
    assert (header.is_log_append_time, header.max_timestamp) == (True, NOW_MS)
    assert decode_batches(data)[0].timestamps == [NOW_MS, NOW_MS]


def test_a_repeated_batch_is_answered_with_its_first_append_time() -> None:
    log = Partition(config=LogConfig(message_timestamp_type="LogAppendTime")).create()
    log.append(batch_of(b"a", producer=(5, 0, 0)), now_ms=NOW_MS)
    again = log.append(batch_of(b"a", producer=(5, 0, 0)), now_ms=NOW_MS + 500)
    assert (again.duplicate, again.log_append_time_ms) == (True, NOW_MS)


def test_a_timestamp_too_far_ahead_is_refused() -> None:
    config = LogConfig(message_timestamp_after_max_ms=1000)
    assert (
        Partition(config=config)
        .create()
        .append(batch_of(b"a", timestamps=[NOW_MS + 1000]), now_ms=NOW_MS)
    )
    error = refusal(Partition(config=config).create(), batch_of(b"a", timestamps=[NOW_MS + 1001]))
    assert error.code is ErrorCode.INVALID_TIMESTAMP


def test_timestamps_too_far_behind_are_named_record_by_record() -> None:
    config = LogConfig(message_timestamp_before_max_ms=1000)
    times = [NOW_MS, NOW_MS - 1001, NOW_MS - 1000, NOW_MS - 5000]
    error = refusal(
        Partition(config=config).create(), batch_of(b"a", b"b", b"c", b"d", timestamps=times)
    )
    assert error.code is ErrorCode.INVALID_TIMESTAMP
    assert [index for index, _ in error.record_errors] == [1, 3]


@pytest.mark.parametrize("codec", list(Codec))
def test_a_compacted_topic_takes_no_record_without_a_key(codec: Codec) -> None:
    log = Partition(config=LogConfig(cleanup_policy=("compact",))).create()
    keys = [b"k", None, b"k", None]
    error = refusal(log, batch_of(b"a", b"b", b"c", b"d", keys=keys, codec=codec))
    assert error.code is ErrorCode.INVALID_RECORD
    assert [index for index, _ in error.record_errors] == [1, 3]
    log.append(batch_of(b"a", keys=[b"k"], codec=codec), now_ms=NOW_MS)


def test_a_batch_that_cannot_be_read_is_refused_where_it_must_be_read() -> None:
    log = Partition(config=LogConfig(cleanup_policy=("compact",))).create()
    batch = batch_of(b"v" * 100, keys=[b"k"])
    batch[61:] = b"\xff" * len(batch[61:])
    struct.pack_into(">I", batch, 17, batch_crc(batch, 0, len(batch)))
    assert refusal(log, batch).code is ErrorCode.CORRUPT_MESSAGE


def test_a_header_that_lies_about_its_largest_timestamp_is_found_where_records_are_read() -> None:
    log = Partition(config=LogConfig(cleanup_policy=("compact",))).create()
    batch = batch_of(b"v", keys=[b"k"])
    struct.pack_into(">q", batch, 35, NOW_MS + 1)
    struct.pack_into(">I", batch, 17, batch_crc(batch, 0, len(batch)))
    assert refusal(log, batch).code is ErrorCode.INVALID_RECORD


@pytest.mark.parametrize("stored", ["uncompressed", "gzip", "snappy", "lz4", "zstd"])
@pytest.mark.parametrize("sent", list(Codec))
def test_a_topic_stores_the_codec_that_it_names(stored: str, sent: Codec) -> None:
    log = Partition(config=LogConfig(compression_type=stored)).create()
    batch = batch_of(
        b"a" * 99, b"b" * 99, timestamps=[NOW_MS, NOW_MS - 7], codec=sent, producer=(5, 1, 0)
    )
    log.append(batch, now_ms=NOW_MS)
    flush(log)
    data = log.read(0, 1000).read()
    header = read_header(data)
    verify_crc(data, 0, header)
    wanted = Codec.NONE if stored == "uncompressed" else Codec[stored.upper()]
    assert header.codec is wanted
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (5, 1, 0)
    columns = decode_batch(data, 0, header)
    assert columns.values == [b"a" * 99, b"b" * 99]
    assert columns.timestamps == [NOW_MS, NOW_MS - 7]
    again = batch_of(
        b"a" * 99, b"b" * 99, timestamps=[NOW_MS, NOW_MS - 7], codec=sent, producer=(5, 1, 0)
    )
    assert log.append(again, now_ms=NOW_MS).duplicate


def test_the_producers_codec_is_kept_by_default() -> None:
    for codec in Codec:
        log = Partition().create()
        batch = batch_of(b"a" * 200, codec=codec)
        before = bytes(batch[61:])
        log.append(batch, now_ms=NOW_MS)
        flush(log)
        assert log.read(0, 1000).read()[61:] == before


def test_recompression_that_makes_a_batch_too_large_is_refused() -> None:
    batch = batch_of(b"a" * 5000, codec=Codec.ZSTD)
    config = LogConfig(compression_type="uncompressed", max_message_bytes=1000)
    error = refusal(Partition(config=config).create(), batch)
    assert error.code is ErrorCode.MESSAGE_TOO_LARGE
