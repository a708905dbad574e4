"""Opening a partition after a clean and an unclean end: what is kept, cut and refused."""

from __future__ import annotations

import contextlib
import random
import struct
from typing import TYPE_CHECKING

import pytest
from fake_disk import DiskCrashError, FakeDisk
from log_support import (
    DIRECTORY,
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
from streamlog.broker.log.disk import join, read_file
from streamlog.broker.log.errors import CorruptSegmentError
from streamlog.errors import StorageError
from streamlog.records.batch import read_header, stamp

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog

SMALL = LogConfig(segment_bytes=1024, index_interval_bytes=100)
FIRST_LOG = join(DIRECTORY, "00000000000000000000.log")
ONE = len(numbered(0))


def files_of(disk: FakeDisk, suffix: str) -> list[str]:
    return [join(DIRECTORY, name) for name in disk.list_dir(DIRECTORY) if name.endswith(suffix)]


def put(disk: FakeDisk, path: str, data: bytes) -> None:
    file = disk.open(path, create=True)
    file.truncate(0)
    file.pwrite(data, 0)


def reopened(partition: Partition, *, clean: bool = False) -> PartitionLog:
    assert isinstance(partition.disk, FakeDisk)
    partition.disk.restart()
    return partition.open(clean=clean)


@pytest.mark.parametrize("clean", [True, False])
def test_a_log_comes_back_as_it_was(clean: bool) -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 100, per_batch=4)
    bases = [segment.base_offset for segment in log.segments]
    if clean:
        log.close()
        partition.recovery_point = 100
    log = reopened(partition, clean=clean)
    assert [segment.base_offset for segment in log.segments] == bases
    assert (log.log_start_offset, log.high_watermark, log.log_end_offset) == (0, 100, 100)
    assert_numbered(read_all(log), 0, 100)
    fill(log, 50)
    assert_numbered(read_all(log), 0, 150)
    assert partition.report is not None
    assert partition.report.bytes_cut == 0


def test_an_empty_log_comes_back_empty() -> None:
    partition = Partition()
    partition.create().close()
    for clean in (True, False):
        log = reopened(partition, clean=clean)
        assert (log.log_start_offset, log.log_end_offset) == (0, 0)
        log.close()


@pytest.mark.parametrize("cut", [1, 12, 60, 61, ONE - 1])
def test_a_torn_tail_is_cut_and_reported(cut: int) -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    log = partition.create()
    fill(log, 5)
    log.append(numbered(5), now_ms=NOW_MS)  # never flushed, never acknowledged
    disk.open(FIRST_LOG).truncate(5 * ONE + cut)
    partition.recovery_point = 3
    log = reopened(partition)
    assert_numbered(read_all(log), 0, 5)
    assert partition.report is not None
    assert partition.report.bytes_cut == cut
    assert FIRST_LOG in partition.report.reason
    assert str(5 * ONE) in partition.report.reason
    fill(log, 5)
    assert_numbered(read_all(reopened(partition)), 0, 10)


def test_zeros_at_the_end_are_a_torn_tail() -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    fill(partition.create(), 5)
    disk.open(FIRST_LOG).truncate(4096)
    assert reopened(partition).log_end_offset == 5


@pytest.mark.parametrize("clean", [True, False])
def test_damage_below_the_recovery_point_is_refused_named_and_not_touched(clean: bool) -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    log = partition.create()
    fill(log, 50)
    if clean:
        log.close()
    partition.recovery_point = 50
    disk.flip(FIRST_LOG, 45 * ONE + 70)
    before = read_file(disk, FIRST_LOG)
    for _ in range(2):
        with pytest.raises(CorruptSegmentError, match=f"{FIRST_LOG} is damaged at byte {45 * ONE}"):
            reopened(partition)
    assert read_file(disk, FIRST_LOG) == before


def test_a_log_that_ends_below_its_recovery_point_is_refused() -> None:
    disk = FakeDisk()
    partition = Partition(disk, recovery_point=50)
    fill(partition.create(), 50)
    disk.open(FIRST_LOG).truncate(40 * ONE)
    with pytest.raises(CorruptSegmentError, match="ends at offset 40, and 50 had been flushed"):
        reopened(partition)


def test_a_log_without_any_segment_left_is_refused() -> None:
    disk = FakeDisk()
    partition = Partition(disk, recovery_point=50)
    fill(partition.create(), 50)
    disk.unlink(FIRST_LOG)
    with pytest.raises(CorruptSegmentError, match="no segment is left"):
        reopened(partition)


def test_damage_above_the_recovery_point_cuts_later_segments_too() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 60)
    bases = [segment.base_offset for segment in log.segments]
    partition.recovery_point = bases[2]
    disk.flip(log.segments[3].log_path, 2 * ONE + 80)
    log = reopened(partition)
    assert [segment.base_offset for segment in log.segments] == bases[:4]
    assert log.log_end_offset == bases[3] + 2
    assert_numbered(read_all(log), 0, bases[3] + 2)
    assert len(files_of(disk, ".log")) == 4
    fill(log, 60)
    assert_numbered(read_all(reopened(partition)), 0, bases[3] + 62)


def test_a_sealed_segment_that_lost_its_end_at_a_boundary_takes_the_later_ones_with_it() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 60)
    second = log.segments[1]
    disk.open(second.log_path).truncate(second.size - 2 * ONE)
    end = log.segments[2].base_offset - 2
    log = reopened(partition)
    assert (log.log_end_offset, len(log.segments)) == (end, 2)
    fill(log, 10)
    assert_numbered(read_all(reopened(partition)), 0, end + 10)
    partition.recovery_point = second.base_offset + 7
    disk.open(second.log_path).truncate(5 * ONE)
    with pytest.raises(CorruptSegmentError, match=f"{second.base_offset + 5} to .* are missing"):
        reopened(partition)


def test_cutting_may_be_interrupted_anywhere_and_leaves_no_gap() -> None:
    for power in (False, True):
        for step in range(1, 60):
            disk = FakeDisk()
            partition = Partition(disk, SMALL)
            log = partition.create()
            fill(log, 80)
            damaged = log.segments[1]
            partition.recovery_point = damaged.base_offset
            disk.flip(damaged.log_path, 3 * ONE + 70)
            disk.restart()
            disk.crash_at = disk.steps + step
            with contextlib.suppress(DiskCrashError):
                partition.open()
            disk.lose_power(random.Random(step)) if power else disk.restart()
            log = partition.open()
            assert log.log_end_offset == damaged.base_offset + 3
            assert_numbered(read_all(log), 0, log.log_end_offset)


def test_sealed_segments_below_the_recovery_point_are_checked_when_they_are_read() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 60)
    log.close()
    partition.recovery_point = 60
    damaged = log.segments[1]
    disk.flip(damaged.log_path, 3 * ONE + 75)
    log = reopened(partition, clean=True)
    bad = damaged.base_offset + 3
    at = 0
    while at < bad:
        at += log.read(at, 1 << 20, at_least_one=True).size // ONE
    assert at == bad, "everything before the damage is served, and nothing of it"
    with pytest.raises(CorruptSegmentError) as caught:
        log.read(bad, 1 << 20, at_least_one=True)
    assert caught.value.path == damaged.log_path
    assert caught.value.position == 3 * ONE
    with pytest.raises(CorruptSegmentError):
        log.read(bad, 1 << 20)
    assert_numbered(read_all(log, bad + 1), bad + 1, 60)
    fill(log, 5)
    assert log.log_end_offset == 65


def test_a_flipped_length_allocates_nothing_and_is_named() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 60)
    log.close()
    disk.flip(log.segments[1].log_path, 4 * ONE + 8, 0x7F)
    partition.recovery_point = 60
    log = reopened(partition, clean=True)
    with pytest.raises(CorruptSegmentError, match=r"\.log is damaged at byte"):
        read_all(log)


def test_a_flipped_offset_is_found_though_no_checksum_covers_it() -> None:
    for position in (6, 7):
        disk = FakeDisk()
        partition = Partition(disk)
        fill(partition.create(), 50)
        disk.flip(FIRST_LOG, 20 * ONE + position, 0x10)
        partition.recovery_point = 50
        with pytest.raises(CorruptSegmentError, match=f"damaged at byte {20 * ONE}: offset"):
            reopened(partition)


def test_a_flipped_offset_of_a_sealed_segment_is_not_served() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL, recovery_point=60)
    log = partition.create()
    fill(log, 60)
    log.close()
    disk.flip(log.segments[1].log_path, 5 * ONE + 6, 0x10)
    log = reopened(partition, clean=True)
    with pytest.raises(CorruptSegmentError):
        read_all(log)


def test_a_batch_in_the_wrong_place_is_found() -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    fill(partition.create(), 50)
    data = read_file(disk, FIRST_LOG)
    disk.open(FIRST_LOG).pwrite(data[10 * ONE : 11 * ONE], 30 * ONE)
    partition.recovery_point = 50
    with pytest.raises(CorruptSegmentError, match="offset 10 where 30 is next"):
        reopened(partition)


def test_compaction_may_have_left_gaps() -> None:
    disk = FakeDisk()
    partition = Partition(disk, LogConfig(cleanup_policy=("compact",)))
    partition.create()
    kept = bytearray()
    for offset in (3, 10, 20):
        batch = batch_of(b"v", keys=[b"k"])
        stamp(batch, 0, offset, 0)
        kept += batch
    put(disk, FIRST_LOG, bytes(kept))
    log = reopened(partition)
    assert log.log_end_offset == 21
    assert list(read_all(log)) == [3, 10, 20]


def test_missing_records_between_segments_are_named_where_nothing_compacts() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL, recovery_point=60)
    log = partition.create()
    fill(log, 60)
    log.close()
    gone = log.segments[2]
    disk.unlink(gone.log_path)
    log = reopened(partition, clean=True)
    with pytest.raises(CorruptSegmentError, match=f"offsets {gone.base_offset} to"):
        read_all(log)
    after = log.segments[2].base_offset
    assert_numbered(read_all(log, after), after, 60)


GARBAGE = {
    "missing": None,
    "empty": b"",
    "zeros": bytes(64),
    "torn": b"\0\0\0\5\0\0\1",
    "random": random.Random(1).randbytes(48),
    "beyond the log": b"\0\0\0\5\0\1\0\0",
    "plausible and wrong": b"\0\0\0\3\0\0\0\x55\0\0\0\5\0\0\1\x2b",
}


@pytest.mark.parametrize("suffix", [".index", ".timeindex"])
@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
@pytest.mark.parametrize("clean", [True, False])
def test_an_index_that_cannot_be_right_is_made_again(
    suffix: str, garbage: bytes | None, clean: bool
) -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    for number in range(60):
        log.append(batch_of(b"%d" % number, timestamps=[NOW_MS + number]), now_ms=NOW_MS)
    log.close()
    partition.recovery_point = 60
    for path in files_of(disk, suffix):
        put(disk, path, garbage) if garbage is not None else disk.unlink(path)
    log = reopened(partition, clean=clean)
    assert_numbered(read_all(log), 0, 60)
    for offset in (59, 30, 1):
        assert_numbered(read_all(log, offset), offset, 60)
        assert log.offset_for_timestamp(NOW_MS + offset) == (offset, NOW_MS + offset)


def test_the_index_of_another_segment_is_not_believed() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL, recovery_point=60)
    log = partition.create()
    for number in range(60):
        size = 30 if number < 30 else 5
        log.append(batch_of((b"%d" % number).ljust(size)), now_ms=NOW_MS)
    log.close()
    first, second = files_of(disk, ".index")[:2]
    one, two = read_file(disk, first), read_file(disk, second)
    put(disk, first, two)
    put(disk, second, one)
    log = reopened(partition, clean=True)
    for offset in range(60):
        assert_numbered(read_all(log, offset), offset, 60)


def test_an_entry_that_points_past_the_batch_it_names_is_not_believed() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL, recovery_point=60)
    log = partition.create()
    fill(log, 60)
    log.close()
    # A real batch begins there, but it is number 5: believed, the entry would hide 3 and 4.
    put(disk, files_of(disk, ".index")[0], struct.pack(">II", 2, 5 * ONE))
    log = reopened(partition, clean=True)
    assert_numbered(read_all(log, 3), 3, 60)


def test_an_index_ahead_of_its_log_loses_what_is_too_much() -> None:
    disk = FakeDisk()
    partition = Partition(disk, LogConfig(index_interval_bytes=100))
    log = partition.create()
    fill(log, 60)
    log.close()
    disk.open(FIRST_LOG).truncate(40 * ONE)
    log = reopened(partition)
    assert log.log_end_offset == 40
    assert log.segments[0].index.positions[-1] < 40 * ONE
    fill(log, 20)
    assert_numbered(read_all(log, 35), 35, 60)


def test_a_log_changed_behind_a_clean_shutdown_is_recovered() -> None:
    disk = FakeDisk()
    partition = Partition(disk, LogConfig(index_interval_bytes=100))
    log = partition.create()
    fill(log, 20)
    log.close()
    file = disk.open(FIRST_LOG)
    file.pwrite(b"editor's leavings", file.size())
    log = reopened(partition, clean=True)
    assert_numbered(read_all(log), 0, 20)
    assert partition.report is not None
    assert partition.report.bytes_cut == 17


def test_producers_are_known_after_any_end() -> None:
    for clean in (True, False):
        partition = Partition(FakeDisk(), SMALL)
        log = partition.create()
        infos = [
            log.append(batch_of(b"v", b"w", producer=(7, 2, 2 * n)), now_ms=NOW_MS)
            for n in range(20)
        ]
        flush(log)
        if clean:
            log.close()
        log = reopened(partition, clean=clean)
        for number in range(15, 20):
            again = log.append(batch_of(b"v", b"w", producer=(7, 2, 2 * number)), now_ms=NOW_MS)
            assert (again.duplicate, again.base_offset) == (True, infos[number].base_offset)
        following = log.append(batch_of(b"v", b"w", producer=(7, 2, 40)), now_ms=NOW_MS)
        assert following.base_offset == 40


@pytest.mark.parametrize("damage", ["missing", "flipped", "torn"])
def test_a_damaged_snapshot_is_replaced_by_the_log(damage: str) -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    for number in range(40):
        log.append(batch_of(b"v", producer=(7, 0, number)), now_ms=NOW_MS)
    log.close()
    for path in files_of(disk, ".snapshot"):
        if damage == "missing":
            disk.unlink(path)
        elif damage == "flipped":
            disk.flip(path, 12)
        else:
            disk.open(path).truncate(11)
    log = reopened(partition, clean=True)
    assert log.append(batch_of(b"v", producer=(7, 0, 39)), now_ms=NOW_MS).duplicate
    assert log.append(batch_of(b"v", producer=(7, 0, 40)), now_ms=NOW_MS).base_offset == 40


def test_a_snapshot_beyond_the_end_of_the_log_goes() -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    log = partition.create()
    for number in range(10):
        log.append(batch_of(b"v", producer=(7, 0, number)), now_ms=NOW_MS)
    log.close()
    one = len(batch_of(b"v"))
    disk.open(FIRST_LOG).truncate(6 * one)
    log = reopened(partition)
    assert files_of(disk, ".snapshot") == []
    assert log.append(batch_of(b"v", producer=(7, 0, 6)), now_ms=NOW_MS).base_offset == 6


@pytest.mark.parametrize("content", [None, b"", b"0\n7\n1 2\n", b"nonsense"])
def test_leader_epochs_are_made_again_from_the_batches(content: bytes | None) -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL)
    log = partition.create()
    fill(log, 20)
    log.begin_leader_epoch(3)
    fill(log, 20)
    log.close()
    partition.recovery_point = 40
    path = join(DIRECTORY, "leader-epoch-checkpoint")
    put(disk, path, content) if content is not None else disk.unlink(path)
    log = reopened(partition, clean=True)
    assert log.epochs.entries == [(0, 0), (3, 20)]
    assert read_file(disk, path) == b"0\n2\n0 0\n3 20\n"


def test_leftovers_of_a_removal_are_finished_and_orphans_go() -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    fill(partition.create(), 5)
    for name in ("00000000000000000009.log.deleted", "x.cleaned", "7.snapshot.tmp"):
        put(disk, join(DIRECTORY, name), b"x")
    put(disk, join(DIRECTORY, "00000000000000000077.index"), b"12345678")
    reopened(partition)
    names = set(disk.list_dir(DIRECTORY))
    assert names == {
        "00000000000000000000.log",
        "00000000000000000000.index",
        "00000000000000000000.timeindex",
        "leader-epoch-checkpoint",
        "partition.metadata",
    }


def test_an_unfinished_compaction_of_another_server_is_refused() -> None:
    disk = FakeDisk()
    partition = Partition(disk)
    fill(partition.create(), 5)
    put(disk, join(DIRECTORY, "00000000000000000000.log.swap"), b"x")
    with pytest.raises(StorageError, match="compaction that did not finish"):
        reopened(partition)


def test_the_log_start_is_the_later_of_checkpoint_and_first_segment() -> None:
    disk = FakeDisk()
    partition = Partition(disk, SMALL, log_start_offset=30)
    log = partition.create()
    fill(log, 60)
    assert reopened(partition).log_start_offset == 30
    partition.log_start_offset = 0
    disk.unlink(log.segments[0].log_path)
    log = reopened(partition)
    assert log.log_start_offset == log.segments[0].base_offset > 0


def test_a_log_start_beyond_the_end_begins_an_empty_log_there() -> None:
    disk = FakeDisk()
    partition = Partition(disk, LogConfig(write_caching=True))
    log = partition.create()
    for _ in range(10):
        append(log, b"v")
    partition.log_start_offset = log.delete_records(-1)
    disk.lose_power()
    log = partition.open()
    assert (log.log_start_offset, log.log_end_offset) == (10, 10)
    append(log, b"v")
    assert read_header(log.read(10, 1000).read()).base_offset == 10
