"""What retention removes, from which end and how far; DeleteRecords."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from streamlog.broker.log.errors import OffsetOutOfRangeError

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog

ONE = len(numbered(0))
DAY_MS = 24 * 60 * 60 * 1000


def config(**changes: object) -> LogConfig:
    base = {"segment_bytes": 10 * ONE, "index_interval_bytes": 100, "retention_ms": -1}
    return LogConfig(**{**base, **changes})  # type: ignore[arg-type]


def log_of_segments(settings: LogConfig, times: list[int]) -> PartitionLog:
    """Returns a log of full segments of ten records; each segment has one of the times."""
    log = Partition(FakeDisk(), settings).create()
    for time in times:
        for _ in range(10):
            value = (b"%d" % log.log_end_offset).ljust(20)
            log.append(batch_of(value, timestamps=[time]), now_ms=NOW_MS)
    flush(log)
    return log


def test_segments_go_when_their_newest_record_is_too_old() -> None:
    times = [NOW_MS - 5000, NOW_MS - 3000, NOW_MS - 1000]
    log = log_of_segments(config(retention_ms=2999), times)
    assert log.enforce_retention(NOW_MS - 2001) == []
    gone = log.enforce_retention(NOW_MS)
    assert [segment.base_offset for segment in gone] == [0, 10]
    assert (log.log_start_offset, log.log_end_offset) == (20, 30)
    assert_numbered(read_all(log), 20, 30)
    with pytest.raises(OffsetOutOfRangeError):
        log.read(19, 100)


def test_a_log_that_is_all_too_old_becomes_empty_and_keeps_its_end() -> None:
    log = log_of_segments(config(retention_ms=1000), [NOW_MS, NOW_MS])
    assert len(log.enforce_retention(NOW_MS + 2000)) == 2
    assert (log.log_start_offset, log.log_end_offset, log.high_watermark) == (20, 20, 20)
    assert log.read(20, 100).size == 0
    assert log.enforce_retention(NOW_MS + 99_000) == [], "an empty segment stays"
    assert append(log, b"next").base_offset == 20


def test_one_record_of_the_future_keeps_its_segment_and_what_follows_only() -> None:
    times = [NOW_MS, NOW_MS + 50 * DAY_MS, NOW_MS]
    settings = config(retention_ms=DAY_MS, message_timestamp_after_max_ms=1 << 60)
    log = log_of_segments(settings, times)
    assert len(log.enforce_retention(NOW_MS + 3 * DAY_MS)) == 1
    assert log.log_start_offset == 10


def test_a_segment_without_timestamps_is_as_old_as_its_file() -> None:
    disk = FakeDisk()
    disk.now_ms = NOW_MS
    log = Partition(disk, config(retention_ms=1000)).create()
    log.append(batch_of(b"v", timestamps=[-1]), now_ms=NOW_MS)
    flush(log)
    assert log.enforce_retention(NOW_MS + 1000) == []
    assert len(log.enforce_retention(NOW_MS + 1001)) == 1


@pytest.mark.parametrize(
    ("limit", "start"), [(50, 0), (41, 0), (40, 10), (31, 10), (30, 20), (1, 40), (0, 50)]
)
def test_by_size_whole_segments_go_while_the_limit_remains(limit: int, start: int) -> None:
    log = log_of_segments(config(retention_bytes=limit * ONE), [NOW_MS] * 5)
    log.enforce_retention(NOW_MS)
    assert log.log_start_offset == start
    assert log.size_bytes >= limit * ONE


def test_nothing_at_or_above_the_watermark_goes() -> None:
    log = Partition(FakeDisk(), config(retention_ms=1000)).create()
    for number in range(35):
        log.append(numbered(number), now_ms=NOW_MS)
        if number == 14:
            flush(log)
    gone = log.enforce_retention(NOW_MS + 9999)
    assert [segment.base_offset for segment in gone] == [0]
    assert log.log_start_offset == 10


@pytest.mark.parametrize("policy", [("compact",), ()])
def test_other_policies_delete_nothing_by_age_or_size(policy: tuple[str, ...]) -> None:
    log = log_of_segments(config(), [NOW_MS] * 3)
    log.configure(config(cleanup_policy=policy, retention_ms=1, retention_bytes=1))
    assert log.enforce_retention(NOW_MS + 9999) == []


def test_both_policies_delete() -> None:
    log = log_of_segments(config(), [NOW_MS] * 3)
    log.configure(config(cleanup_policy=("compact", "delete"), retention_ms=1))
    assert len(log.enforce_retention(NOW_MS + 9999)) == 3


def test_delete_records_moves_the_start_inside_a_segment() -> None:
    log = log_of_segments(config(), [NOW_MS] * 3)
    log.begin_leader_epoch(4)
    assert log.delete_records(15) == 15
    assert_numbered(read_all(log), 15, 30)
    assert log.epochs.entries == [(0, 15), (4, 30)]
    assert [segment.base_offset for segment in log.enforce_retention(NOW_MS)] == [0]
    assert log.delete_records(3) == 15, "the start never goes back"
    assert log.delete_records(-1) == 30
    assert log.log_end_offset == 30


def test_delete_records_stops_at_the_watermark() -> None:
    log = Partition().create()
    fill(log, 5)
    append(log, b"not flushed")
    for offset in (6, 7, -2):
        with pytest.raises(OffsetOutOfRangeError):
            log.delete_records(offset)
    assert log.delete_records(-1) == 5


def test_delete_records_works_under_any_policy() -> None:
    log = log_of_segments(config(cleanup_policy=()), [NOW_MS] * 3)
    log.delete_records(25)
    assert len(log.enforce_retention(NOW_MS)) == 2


def test_a_removed_segment_leaves_renamed_files_to_unlink() -> None:
    disk = FakeDisk()
    log = Partition(disk, config()).create()
    fill(log, 30)
    log.delete_records(20)
    paths = [path for segment in log.enforce_retention(NOW_MS) for path in segment.retire()]
    assert len(paths) >= 6
    assert all(path.endswith(".deleted") and disk.exists(path) for path in paths)
