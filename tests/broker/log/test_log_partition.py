"""Appending to and reading from one partition: offsets, limits, roll, watermark."""

from __future__ import annotations

import contextlib
import errno

import pytest
from fake_disk import FakeDisk
from log_support import (
    NOW_MS,
    Partition,
    append,
    assert_numbered,
    batch_of,
    fill,
    flush,
    numbered,
    read_all,
)

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.errors import AppendError, OffsetOutOfRangeError
from streamlog.records.batch import read_header, verify_crc
from streamlog.records.codec import decode_batches
from streamlog.wire.error_codes import ErrorCode

SMALL = LogConfig(segment_bytes=1024, index_interval_bytes=100)


def test_offsets_continue_the_log_and_are_stamped_into_the_batch() -> None:
    log = Partition().create()
    first = append(log, b"a", b"b", b"c")
    batch = batch_of(b"d")
    second = log.append(batch, now_ms=NOW_MS)
    assert (first.base_offset, first.last_offset) == (0, 2)
    assert (second.base_offset, second.last_offset, second.log_append_time_ms) == (3, 3, -1)
    header = read_header(batch)
    assert (header.base_offset, header.leader_epoch) == (3, 0)
    verify_crc(batch, 0, header)
    assert log.log_end_offset == 4


def test_nothing_is_visible_before_it_is_flushed() -> None:
    log = Partition().create()
    append(log, b"a")
    assert (log.high_watermark, log.flushed_offset) == (0, 0)
    assert log.read(0, 1000).size == 0
    ticket = log.begin_flush()
    append(log, b"b")
    assert ticket is not None
    ticket.run(log.pool.disk)
    log.flushed(ticket)
    assert (log.high_watermark, log.flushed_offset, log.log_end_offset) == (1, 1, 2)
    assert read_all(log) == {0: b"a"}
    flush(log)
    assert read_all(log) == {0: b"a", 1: b"b"}
    assert log.begin_flush() is None


def test_write_caching_shows_records_at_once_and_still_flushes_behind() -> None:
    log = Partition(config=LogConfig(write_caching=True)).create()
    append(log, b"a")
    assert (log.high_watermark, log.flushed_offset) == (1, 0)
    assert read_all(log) == {0: b"a"}
    flush(log)
    assert log.flushed_offset == 1


def test_turning_write_caching_on_shows_what_was_waiting() -> None:
    log = Partition().create()
    append(log, b"a")
    log.configure(LogConfig(write_caching=True))
    assert log.high_watermark == 1


def test_the_watermark_callback_comes_with_each_move() -> None:
    log = Partition().create()
    seen: list[int] = []
    log.on_high_watermark = lambda moved: seen.append(moved.high_watermark)
    append(log, b"a")
    assert seen == []
    flush(log)
    append(log, b"b")
    flush(log)
    assert seen == [1, 2]


def test_valid_offsets_are_log_start_to_log_end() -> None:
    log = Partition().create()
    fill(log, 5)
    append(log, b"not flushed")
    log.delete_records(2)
    assert log.read(6, 100).size == 0  # the log end: an empty success
    assert log.read(5, 100).size == 0  # between the watermark and the end: as well
    for offset in (1, 7, -1):
        with pytest.raises(OffsetOutOfRangeError) as caught:
            log.read(offset, 100)
        assert caught.value.code is ErrorCode.OFFSET_OUT_OF_RANGE


def test_an_offset_inside_a_batch_gives_the_whole_batch() -> None:
    log = Partition().create()
    fill(log, 10, per_batch=5)
    columns, after = decode_batches(log.read(7, 1 << 20).read())
    assert columns.offsets == [5, 6, 7, 8, 9]
    assert after == 10


def test_a_batch_larger_than_the_limit_is_given_only_on_demand() -> None:
    log = Partition().create()
    fill(log, 2, size=500)
    assert log.read(0, 100).size == 0
    whole = log.read(0, 100, at_least_one=True)
    assert whole.size == read_header(whole.read()).size_bytes


def test_a_read_ends_at_a_batch_boundary_and_within_the_limit() -> None:
    log = Partition(config=LogConfig(index_interval_bytes=100)).create()
    fill(log, 200)
    one = len(numbered(0))
    for limit in range(one, 20 * one, 37):
        part = log.read(100, limit)
        assert 0 < part.size <= limit
        assert part.available_bytes == 100 * one
        columns, _ = decode_batches(part.read())
        assert columns.offsets[0] == 100
        if limit > 4 * one:
            assert part.size % one == 0, "with an entry per 100 bytes, no batch is cut"


def test_the_upper_bound_is_never_passed() -> None:
    log = Partition(config=SMALL).create()
    fill(log, 100, per_batch=2)
    for bound in range(2, 100, 2):
        found = read_all(log, 0, upper_bound=bound)
        assert_numbered(found, 0, bound)


def test_every_offset_is_found_across_segments_with_few_open_files() -> None:
    partition = Partition(config=SMALL, files_max=2)
    log = partition.create()
    fill(log, 300, per_batch=3)
    assert len(log.segments) > 10
    for offset in range(300):
        columns, _ = decode_batches(
            log.read(offset, 1, at_least_one=True).read(), fetch_offset=offset
        )
        assert columns.offsets[0] == offset
    assert len(log.pool) <= 2
    assert_numbered(read_all(log), 0, 300)


def test_a_slice_stays_readable_when_its_segment_goes() -> None:
    partition = Partition(config=SMALL, files_max=1)
    log = partition.create()
    fill(log, 100)
    part = log.read(0, 1 << 20)
    before = part.read()
    log.delete_records(90)
    for segment in log.enforce_retention(NOW_MS):
        for path in segment.retire():
            partition.disk.unlink(path)
    assert part.read() == before


def test_a_read_says_whether_it_is_behind_the_active_segment() -> None:
    log = Partition(config=SMALL).create()
    fill(log, 100)
    assert log.read(0, 100).is_behind
    assert not log.read(99, 100).is_behind


def test_a_segment_rolls_before_it_would_be_too_large() -> None:
    log = Partition(config=SMALL).create()
    fill(log, 50)
    sizes = [segment.size for segment in log.segments]
    assert all(size <= 1024 for size in sizes)
    assert all(size > 900 for size in sizes[:-1])
    bases = [segment.base_offset for segment in log.segments]
    assert bases[0] == 0
    assert bases == sorted(set(bases))


def test_a_segment_rolls_when_its_records_span_too_long_a_time() -> None:
    log = Partition(config=LogConfig(segment_ms=1000)).create()
    for time in (0, 500, 1000, 900, 1001, 1500):
        log.append(batch_of(b"v", timestamps=[time]), now_ms=NOW_MS)
    assert [segment.base_offset for segment in log.segments] == [0, 4]


def test_jitter_spreads_the_rolls_of_partitions() -> None:
    config = LogConfig(segment_ms=1000, segment_jitter_ms=900)
    rolls = set()
    for number in range(8):
        log = Partition(config=config, number=number).create()
        for time in range(0, 1002, 50):
            log.append(batch_of(b"v", timestamps=[time]), now_ms=NOW_MS)
        rolls.add(log.segments[-1].base_offset)
        assert len(log.segments) > 1
    assert len(rolls) > 3


def test_a_segment_rolls_when_its_index_is_full() -> None:
    log = Partition(config=LogConfig(index_interval_bytes=0, segment_index_bytes=80)).create()
    fill(log, 25)
    assert [segment.base_offset for segment in log.segments] == [0, 11, 22]


def test_a_segment_rolls_before_its_relative_offsets_overflow() -> None:
    log = Partition().create()
    append(log, b"v")
    log.log_end_offset = (1 << 31) - 1
    append(log, b"last that fits")
    append(log, b"first of the next")
    assert [segment.base_offset for segment in log.segments] == [0, 1 << 31]


def test_many_batches_at_once_only_where_the_caller_allows_it() -> None:
    log = Partition().create()
    two = numbered(0, 3) + numbered(3, 2)
    with pytest.raises(AppendError) as caught:
        log.append(bytearray(two), now_ms=NOW_MS)
    assert caught.value.code is ErrorCode.INVALID_RECORD
    info = log.append(bytearray(two), now_ms=NOW_MS, max_batches=2)
    assert (info.base_offset, info.last_offset) == (0, 4)
    flush(log)
    assert_numbered(read_all(log), 0, 5)


def test_a_memoryview_into_a_larger_buffer_is_appended_in_place() -> None:
    log = Partition().create()
    frame = bytearray(b"head") + numbered(0, 4) + b"tail"
    log.append(memoryview(frame)[4:-4], now_ms=NOW_MS)
    flush(log)
    assert_numbered(read_all(log), 0, 4)


def test_a_full_disk_refuses_the_append_cuts_its_part_and_heals() -> None:
    disk = FakeDisk()
    log = Partition(disk).create()
    fill(log, 3)
    size = log.size_bytes
    disk.space_left = 30
    for _ in range(2):
        with pytest.raises(AppendError) as caught:
            log.append(numbered(3), now_ms=NOW_MS)
        assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
        assert (log.log_end_offset, disk.size(log.segments[0].log_path)) == (3, size)
    assert_numbered(read_all(log), 0, 3)
    disk.space_left = 1 << 20
    fill(log, 2)
    assert_numbered(read_all(log), 0, 5)
    assert log.offline is None


def test_a_refused_append_is_not_remembered_of_its_producer() -> None:
    disk = FakeDisk()
    log = Partition(disk).create()
    disk.space_left = 10
    with pytest.raises(AppendError):
        log.append(batch_of(b"v", producer=(9, 0, 0)), now_ms=NOW_MS)
    disk.space_left = 1 << 20
    info = log.append(batch_of(b"v", producer=(9, 0, 0)), now_ms=NOW_MS)
    assert (info.base_offset, info.duplicate) == (0, False)


@pytest.mark.parametrize("space", range(0, 400, 7))
def test_a_full_disk_while_rolling_harms_nothing(space: int) -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 11)
    disk.space_left = space
    kept = 11
    for _ in range(5):
        with contextlib.suppress(AppendError):
            log.append(numbered(log.log_end_offset), now_ms=NOW_MS)
            kept += 1
    assert log.offline is None
    assert log.log_end_offset == kept
    disk.space_left = 1 << 20
    fill(log, 30)
    assert_numbered(read_all(log), 0, kept + 30)
    disk.restart()
    assert_numbered(read_all(partition.open()), 0, kept + 30)


def test_a_disk_that_fails_a_write_ends_appending_and_not_reading() -> None:
    disk = FakeDisk()
    log = Partition(disk).create()
    fill(log, 2)
    disk.fault = lambda operation, path: (
        OSError(errno.EIO, "broken") if operation == "pwrite" else None
    )
    with pytest.raises(AppendError) as caught:
        append(log, b"v")
    assert caught.value.code is ErrorCode.KAFKA_STORAGE_ERROR
    disk.fault = lambda operation, path: None
    with pytest.raises(AppendError):
        append(log, b"v")
    assert log.offline is not None
    assert_numbered(read_all(log), 0, 2)


def test_a_part_of_a_write_that_cannot_be_cut_off_ends_appending() -> None:
    disk = FakeDisk()
    log = Partition(disk).create()
    fill(log, 2)
    disk.space_left = 10
    disk.fault = lambda operation, path: (
        OSError(errno.EIO, "broken") if operation == "truncate" else None
    )
    with pytest.raises(AppendError):
        append(log, b"v")
    assert log.offline is not None


def test_an_epoch_is_stamped_noted_and_answered_for() -> None:
    log = Partition().create()
    fill(log, 3)
    log.begin_leader_epoch(5)
    fill(log, 4)
    assert log.leader_epoch == 5
    assert read_header(log.read(3, 1000).read()).leader_epoch == 5
    assert log.end_offset_for_epoch(0) == (0, 3)
    assert log.end_offset_for_epoch(3) == (0, 3)
    assert log.end_offset_for_epoch(5) == (5, 7)
    assert log.end_offset_for_epoch(6) == (-1, -1)


def test_an_open_transaction_holds_the_last_stable_offset_back() -> None:
    log = Partition().create()
    fill(log, 2)
    assert log.last_stable_offset == 2
    header = read_header(batch_of(b"v", producer=(1, 0, 0), base_offset=1, is_transactional=True))
    log.producers.update(header, NOW_MS)
    assert (log.last_stable_offset, log.high_watermark) == (1, 2)
    log.producers.end_transaction(header, 0, NOW_MS)
    assert log.last_stable_offset == 2
