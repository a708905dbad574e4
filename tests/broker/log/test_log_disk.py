"""One contract for the real disk and the fake one; then what only the fake one does."""

from __future__ import annotations

import errno
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from fake_disk import DiskCrashError, FakeDisk

from streamlog.broker.log.disk import (
    DiskLockedError,
    OsDisk,
    join,
    read_file,
    write_file_atomically,
)

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.broker.log.disk import Disk


@pytest.fixture(params=["os", "fake"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Disk, str]:
    if request.param == "os":
        return OsDisk(), str(tmp_path)
    disk = FakeDisk()
    disk.make_dir("/tmp")
    disk.now_ms = int(time.time() * 1000)
    return disk, "/tmp"


def test_bytes_are_where_they_were_written(place: tuple[Disk, str]) -> None:
    disk, root = place
    file = disk.open(join(root, "f"), create=True)
    file.pwrite(b"world", 5)
    file.pwrite(memoryview(bytearray(b"hello")), 0)
    assert file.pread(100, 0) == b"helloworld"
    assert file.pread(3, 8) == b"ld"
    assert file.pread(3, 99) == b""
    file.truncate(4)
    assert (file.size(), disk.size(join(root, "f"))) == (4, 4)
    file.truncate(6)
    assert file.pread(10, 0) == b"hell\0\0"
    file.datasync()
    disk.sync_dir(root)
    assert abs(disk.modified_ms(join(root, "f")) - time.time() * 1000) < 60_000


def test_a_file_that_is_not_there(place: tuple[Disk, str]) -> None:
    disk, root = place
    path = join(root, "f")
    with pytest.raises(FileNotFoundError):
        disk.open(path)
    with pytest.raises(FileNotFoundError):
        disk.size(path)
    with pytest.raises(FileNotFoundError):
        disk.list_dir(join(root, "d"))
    with pytest.raises(FileNotFoundError):
        disk.rename(path, join(root, "g"))
    disk.unlink(path)
    disk.remove_tree(join(root, "d"))
    assert not disk.exists(path)


def test_names(place: tuple[Disk, str]) -> None:
    disk, root = place
    disk.make_dir(join(root, "a/b"))
    disk.make_dir(join(root, "a/b"))
    disk.open(join(root, "a/2"), create=True).pwrite(b"two", 0)
    disk.open(join(root, "a/1"), create=True)
    assert list(disk.list_dir(join(root, "a"))) == ["1", "2", "b"]
    disk.rename(join(root, "a/2"), join(root, "a/1"))
    assert read_file(disk, join(root, "a/1")) == b"two"
    disk.rename(join(root, "a"), join(root, "c"))
    assert list(disk.list_dir(join(root, "c"))) == ["1", "b"]
    disk.remove_tree(join(root, "c"))
    assert list(disk.list_dir(root)) == []


def test_an_open_file_outlives_its_name(place: tuple[Disk, str]) -> None:
    disk, root = place
    file = disk.open(join(root, "f"), create=True)
    file.pwrite(b"still here", 0)
    disk.unlink(join(root, "f"))
    assert file.pread(100, 0) == b"still here"


def test_replacing_a_small_file(place: tuple[Disk, str]) -> None:
    disk, root = place
    for data in (b"a longer first version", b"second"):
        write_file_atomically(disk, root, "f", data)
        assert read_file(disk, join(root, "f")) == data
    assert list(disk.list_dir(root)) == ["f"]
    with pytest.raises(OSError, match="at most 3"):
        read_file(disk, join(root, "f"), size_max=3)


def test_a_lock_keeps_others_out_until_it_is_released(place: tuple[Disk, str]) -> None:
    disk, root = place
    lock = disk.lock(join(root, ".lock"))
    with pytest.raises(DiskLockedError) as caught:
        disk.lock(join(root, ".lock"))
    assert caught.value.pid == os.getpid()
    lock.release()
    disk.lock(join(root, ".lock")).release()


def test_a_lock_goes_with_its_process_and_names_it(tmp_path: Path) -> None:
    path = str(tmp_path / ".lock")
    code = (
        "import sys; from streamlog.broker.log.disk import OsDisk;"
        f"lock = OsDisk().lock({path!r}); print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(DiskLockedError) as caught:
            OsDisk().lock(path)
        assert caught.value.pid == other.pid
        other.kill()
        other.wait()
    OsDisk().lock(path).release()


def test_the_last_reference_closes_a_file(tmp_path: Path) -> None:
    file = OsDisk().open(str(tmp_path / "f"), create=True)
    descriptor = file.fileno()
    os.fstat(descriptor)
    del file
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def fake() -> FakeDisk:
    disk = FakeDisk()
    disk.make_dir("/d")
    disk.sync_dir("/")
    return disk


def test_a_power_failure_takes_what_was_not_synced() -> None:
    disk = fake()
    kept, lost = disk.open("/d/kept", create=True), disk.open("/d/lost", create=True)
    kept.pwrite(b"one", 0)
    kept.datasync()
    kept.pwrite(b"two", 3)
    lost.pwrite(b"x", 0)
    lost.datasync()
    disk.lose_power()
    assert disk.list_dir("/d") == [], "no name was synced"
    disk = fake()
    kept = disk.open("/d/kept", create=True)
    disk.sync_dir("/d")
    kept.pwrite(b"one", 0)
    kept.datasync()
    kept.pwrite(b"two", 3)
    disk.rename("/d/kept", "/d/moved")
    disk.lose_power()
    assert read_file(disk, "/d/kept") == b"one"


def test_a_killed_process_loses_nothing_but_its_files_are_dead() -> None:
    disk = fake()
    file = disk.open("/d/f", create=True)
    file.pwrite(b"one", 0)
    disk.restart()
    assert read_file(disk, "/d/f") == b"one"
    with pytest.raises(DiskCrashError):
        file.pwrite(b"two", 0)


def test_chance_keeps_a_part_of_what_was_not_synced() -> None:
    sizes = set()
    for seed in range(40):
        disk = fake()
        file = disk.open("/d/f", create=True)
        disk.sync_dir("/d")
        file.pwrite(b"x" * 10_000, 0)
        disk.lose_power(random.Random(seed))
        sizes.add(disk.size("/d/f"))
    assert len(sizes) > 10
    assert max(sizes) <= 10_000


def test_a_crash_comes_at_its_step_and_may_tear_a_write() -> None:
    disk = fake()
    file = disk.open("/d/f", create=True)
    disk.crash_at, disk.torn_bytes = disk.steps + 2, 2
    file.pwrite(b"one", 0)
    with pytest.raises(DiskCrashError):
        file.pwrite(b"two", 3)
    with pytest.raises(DiskCrashError):
        disk.unlink("/d/f")
    disk.restart()
    assert read_file(disk, "/d/f") == b"onetw"


def test_a_full_disk_takes_a_part() -> None:
    disk = fake()
    file = disk.open("/d/f", create=True)
    disk.space_left = 5
    file.pwrite(b"abc", 0)
    with pytest.raises(OSError, match="No space") as caught:
        file.pwrite(b"defgh", 3)
    assert caught.value.errno == errno.ENOSPC
    assert file.size() == 5
    file.truncate(3)
    file.pwrite(b"de", 3)


def test_a_sync_that_failed_has_lost_what_it_was_to_write() -> None:
    disk = fake()
    file = disk.open("/d/f", create=True)
    disk.sync_dir("/d")
    file.pwrite(b"one", 0)
    failures = [OSError(errno.EIO, "no")]
    disk.fault = lambda operation, path: (
        failures.pop() if operation == "datasync" and failures else None
    )
    with pytest.raises(OSError, match="no"):
        file.datasync()
    disk.lose_power()
    assert read_file(disk, "/d/f") == b""
