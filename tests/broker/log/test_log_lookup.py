"""Offsets by time: the first record at or after a time, and the record with the largest time."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from log_support import NOW_MS, Partition, batch_of, flush

from streamlog.broker.log.config import LogConfig

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog

SMALL = LogConfig(
    segment_bytes=700, index_interval_bytes=100, message_timestamp_after_max_ms=1 << 60
)


def log_of(*batches: list[int], config: LogConfig = SMALL) -> PartitionLog:
    log = Partition(config=config).create()
    for times in batches:
        log.append(batch_of(*[b"v"] * len(times), timestamps=times), now_ms=NOW_MS)
    flush(log)
    return log


def expected(times: list[int], wanted: int, start: int = 0) -> tuple[int, int] | None:
    for offset in range(start, len(times)):
        if times[offset] >= wanted:
            return offset, times[offset]
    return None


def test_the_first_record_at_or_after_a_time_with_its_own_time() -> None:
    log = log_of([10, 20], [30, 30], [50])
    assert log.offset_for_timestamp(0) == (0, 10)
    assert log.offset_for_timestamp(11) == (1, 20)
    assert log.offset_for_timestamp(30) == (2, 30)
    assert log.offset_for_timestamp(31) == (4, 50)
    assert log.offset_for_timestamp(51) is None


@pytest.mark.parametrize("seed", range(10))
def test_times_in_any_order_over_many_segments(seed: int) -> None:
    chance = random.Random(seed)
    batches = [[chance.randrange(200) for _ in range(chance.randrange(1, 4))] for _ in range(80)]
    log = log_of(*batches)
    assert len(log.segments) > 5
    times = [time for batch in batches for time in batch]
    for wanted in range(0, 201, 3):
        assert log.offset_for_timestamp(wanted) == expected(times, wanted)
    log.delete_records(40)
    for wanted in range(0, 201, 3):
        assert log.offset_for_timestamp(wanted) == expected(times, wanted, 40)
    largest = max(times[40:])
    assert log.offset_of_max_timestamp() == (times.index(largest, 40), largest)


@pytest.mark.parametrize("seed", range(5))
def test_nothing_at_or_above_the_watermark_is_found(seed: int) -> None:
    chance = random.Random(seed)
    log = Partition(config=SMALL).create()
    times: list[int] = []
    for _ in range(60):
        times.append(chance.randrange(100))
        log.append(batch_of(b"v", timestamps=times[-1:]), now_ms=NOW_MS)
        if chance.random() < 0.2:
            flush(log)
        seen = times[: log.high_watermark]
        wanted = chance.randrange(100)
        assert log.offset_for_timestamp(wanted) == expected(seen, wanted)
        best = (seen.index(max(seen)), max(seen)) if seen else None
        assert log.offset_of_max_timestamp() == best


def test_the_largest_time_is_that_of_the_earliest_record_which_has_it() -> None:
    log = log_of([10, 99, 20], [99, 99], [5])
    assert log.offset_of_max_timestamp() == (1, 99)
    assert log_of().offset_of_max_timestamp() is None


def test_one_record_in_the_far_future_answers_right() -> None:
    future = NOW_MS + 10**13
    log = log_of(*[[NOW_MS + n] for n in range(10)], [future], *[[NOW_MS + n] for n in range(50)])
    assert log.offset_for_timestamp(NOW_MS + 9) == (9, NOW_MS + 9)
    assert log.offset_for_timestamp(NOW_MS + 11) == (10, future)
    assert log.offset_of_max_timestamp() == (10, future)


def test_negative_and_missing_times_harm_nothing() -> None:
    log = log_of([-1], [-1, -1], [0])
    assert log.offset_for_timestamp(0) == (3, 0)
    assert log.offset_of_max_timestamp() == (3, 0)
    assert log_of([-1]).offset_of_max_timestamp() is None


def test_append_time_answers_with_the_first_offset_of_the_batch() -> None:
    config = LogConfig(message_timestamp_type="LogAppendTime", segment_bytes=700)
    log = Partition(config=config).create()
    for number in range(30):
        log.append(batch_of(b"a", b"b", b"c", timestamps=[1, 2, 3]), now_ms=NOW_MS + number)
    flush(log)
    assert log.offset_for_timestamp(NOW_MS + 7) == (21, NOW_MS + 7)
    assert log.offset_of_max_timestamp() == (87, NOW_MS + 29)
    log.delete_records(22)
    assert log.offset_for_timestamp(0) == (22, NOW_MS + 7)
