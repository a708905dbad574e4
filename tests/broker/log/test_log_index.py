"""The indexes as values: look up, bytes, damage; and the bound on what is open."""

from __future__ import annotations

import contextlib
import errno
import struct

import pytest
from fake_disk import FakeDisk
from hypothesis import given
from hypothesis import strategies as st

from streamlog.broker.log.index import IndexDamageError, OffsetIndex, TimeIndex
from streamlog.broker.log.pool import FilePool
from streamlog.broker.log.scan import VerifiedRanges

GROWING = st.lists(st.integers(1, 1000), min_size=0, max_size=30)


def offset_index(steps: list[int], base: int = 100) -> OffsetIndex:
    index, offset, position = OffsetIndex(base), base, 0
    for step in steps:
        offset, position = offset + step, position + 61 * step
        index.append(offset, position)
    return index


@given(GROWING)
def test_an_offset_index_reads_back(steps: list[int]) -> None:
    index = offset_index(steps)
    data = index.encode()
    again = OffsetIndex.decode(data, 100, 1 << 31)
    assert again.encode() == data
    assert len(data) == 8 * len(steps)
    assert again.relative_offsets == index.relative_offsets


def test_an_offset_index_has_kafkas_bytes() -> None:
    index = offset_index([5, 2])
    assert index.encode() == struct.pack(">IIII", 5, 305, 7, 427)
    assert index.encode(1) == struct.pack(">II", 7, 427)


@given(GROWING, st.integers(0, 40_000))
def test_an_entry_below_an_offset_is_the_last_one(steps: list[int], offset: int) -> None:
    index = offset_index(steps)
    below = [
        (position, 100 + relative)
        for position, relative in zip(index.positions, index.relative_offsets, strict=True)
        if 100 + relative <= offset
    ]
    assert index.entry_below(offset) == (below[-1] if below else (0, -1))


def test_positions_are_boundaries() -> None:
    index = offset_index([1, 1, 1])
    assert [index.position_at_or_before(at) for at in (0, 60, 61, 121, 122, 999)] == [
        0, 0, 61, 61, 122, 183,
    ]  # fmt: skip


def test_zeros_behind_the_entries_are_no_entries() -> None:
    index = offset_index([5, 2])
    again = OffsetIndex.decode(index.encode() + bytes(800), 100, 1 << 20)
    assert again.encode() == index.encode()
    times = TimeIndex(100)
    times.append(7, 105)
    assert TimeIndex.decode(times.encode() + bytes(120), 100).encode() == times.encode()
    assert len(TimeIndex.decode(bytes(120), 100)) == 0


@pytest.mark.parametrize(
    "data",
    [
        b"123",
        struct.pack(">IIII", 5, 305, 5, 427),
        struct.pack(">IIII", 5, 305, 7, 305),
        struct.pack(">IIII", 7, 305, 5, 427),
        struct.pack(">II", 5, 5000),
        struct.pack(">II", 5, 0),
    ],
)
def test_a_damaged_offset_index_is_noticed(data: bytes) -> None:
    with pytest.raises(IndexDamageError):
        OffsetIndex.decode(data, 100, 5000)


@pytest.mark.parametrize(
    "data",
    [
        b"123",
        struct.pack(">qiqi", 10, 5, 10, 7),
        struct.pack(">qiqi", 10, 5, 9, 7),
        struct.pack(">qiqi", 10, 5, 11, 4),
        struct.pack(">qi", 10, -1),
    ],
)
def test_a_damaged_time_index_is_noticed(data: bytes) -> None:
    with pytest.raises(IndexDamageError):
        TimeIndex.decode(data, 100)


@given(st.binary(max_size=200))
def test_no_bytes_make_reading_an_index_fail_in_another_way(data: bytes) -> None:
    with contextlib.suppress(IndexDamageError):
        OffsetIndex.decode(data, 0, 1000)
    with contextlib.suppress(IndexDamageError):
        TimeIndex.decode(data, 0)


def test_a_time_index_keeps_growing_times_only() -> None:
    index = TimeIndex(100)
    assert index.largest == (-1, 100)
    for time, offset in ((50, 103), (50, 104), (40, 105), (60, 109)):
        index.append(time, offset)
    assert index.encode() == struct.pack(">qiqi", 50, 3, 60, 9)
    assert index.largest == (60, 109)
    assert [index.offset_below(time) for time in (0, 50, 51, 60, 61)] == [100, 100, 103, 103, 109]


class User:
    """Something that opens a file through the pool."""

    def __init__(self, bytes_loaded: int = 0) -> None:
        self.released = 0
        self.bytes_loaded = bytes_loaded

    def release(self) -> None:
        self.released += 1
        self.bytes_loaded = 0

    def index_bytes(self) -> int:
        return self.bytes_loaded


def test_the_least_recently_used_file_is_closed_for_a_new_one() -> None:
    disk = FakeDisk()
    disk.make_dir("/d")
    pool = FilePool(disk, files_max=2)
    first, second, third = User(), User(), User()
    pool.open(first, "/d/1", create=True)
    pool.open(second, "/d/2", create=True)
    pool.touch(first)
    pool.open(third, "/d/3", create=True)
    assert (first.released, second.released, third.released) == (0, 1, 0)
    pool.forget(first)
    assert len(pool) == 1


def test_the_memory_of_indexes_is_bounded() -> None:
    disk = FakeDisk()
    disk.make_dir("/d")
    pool = FilePool(disk, index_bytes_max=100)
    users = [User(60) for _ in range(3)]
    for number, user in enumerate(users):
        pool.open(user, f"/d/{number}", create=True)
        pool.grew(user)
    assert [user.released for user in users] == [1, 1, 0]


def test_running_out_of_descriptors_closes_all_and_tries_once_more() -> None:
    disk = FakeDisk()
    disk.make_dir("/d")
    pool = FilePool(disk)
    first, second = User(), User()
    pool.open(first, "/d/1", create=True)
    failures = [OSError(errno.EMFILE, "too many open files")]
    disk.fault = lambda operation, path: failures.pop() if failures else None
    pool.open(second, "/d/2", create=True)
    assert first.released == 1
    failures += [OSError(errno.EMFILE, "too many open files")] * 2
    with pytest.raises(OSError, match="too many"):
        pool.open(User(), "/d/3", create=True)


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=20))
def test_verified_ranges_never_claim_too_much(spans: list[tuple[int, int]]) -> None:
    ranges, seen = VerifiedRanges(), set[int]()
    for start, size in spans:
        ranges.add(start, start + size)
        seen |= set(range(start, start + size))
        assert ranges.covers(start, start + size)
    for start in range(60):
        if ranges.covers(start, start + 5):
            assert seen >= set(range(start, start + 5))


def test_verified_ranges_are_bounded() -> None:
    ranges = VerifiedRanges()
    for number in range(1000):
        ranges.add(number * 10, number * 10 + 5)
    assert ranges.covers(9990, 9995)
    assert not ranges.covers(0, 5)
