"""The file system door: what the log needs from a disk, and the real one.

Everything in `streamlog.broker.log` reaches files through `Disk` and `DiskFile` and nothing
else, so that tests and simulations put a `FakeDisk` here that forgets what was not synced, tears
writes, runs full and fails. The rules a caller may rely on are those of POSIX and no more:

* written data survives the process at once, and a power failure only after `datasync` returned;
* a new, renamed or removed name survives a power failure only after `sync_dir` of its directory;
* `rename` replaces its target in one step;
* an open file stays readable after its name is gone;
* a `datasync` that fails may have lost what it was to write: it must not be tried again and
  believed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

Buffer = bytes | bytearray | memoryview


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""What heals by itself when somebody makes room."""


class DiskFile(Protocol):
    """An open file; it is closed when nobody refers to it any more."""

    def fileno(self) -> int:
        """Returns the descriptor, for `sendfile`."""

    def pread(self, size: int, position: int) -> bytes:
        """Reads up to `size` bytes; fewer only at the end of the file."""

    def pwrite(self, data: Buffer, position: int) -> None:
        """Writes all of `data`; when it raises, a part may have been written."""

    def size(self) -> int:
        """Returns the file's length in bytes."""

    def truncate(self, size: int) -> None:
        """Cuts or extends the file to `size` bytes."""

    def datasync(self) -> None:
        """Returns once everything written so far would survive a power failure."""

    def close(self) -> None:
        """Closes now; without it, the last reference closes."""


class DiskLock(Protocol):
    """A lock on a directory, held until it is released or the process ends."""

    def release(self) -> None:
        """Lets the next one in."""


class Disk(Protocol):
    """Names of files and what can be done to them; paths are absolute strings."""

    def open(self, path: str, *, create: bool = False) -> DiskFile:
        """Opens for reading and writing; raises `FileNotFoundError` unless `create`."""

    def list_dir(self, path: str) -> Sequence[str]:
        """Returns the names in a directory, sorted."""

    def make_dir(self, path: str) -> None:
        """Makes a directory and its parents; no error if it is there."""

    def exists(self, path: str) -> bool:
        """Tells whether a file or directory of that name is there."""

    def size(self, path: str) -> int:
        """Returns a file's length in bytes, without opening it."""

    def modified_ms(self, path: str) -> int:
        """Returns when the file was last written, in milliseconds since 1970."""

    def rename(self, old: str, new: str) -> None:
        """Renames a file or directory, replacing a file of the new name."""

    def unlink(self, path: str) -> None:
        """Removes a file; no error if it is gone already."""

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all it holds; no error if it is gone already."""

    def sync_dir(self, path: str) -> None:
        """Returns once the names in the directory would survive a power failure."""

    def lock(self, path: str) -> DiskLock:
        """Takes the lock file or raises `DiskLockedError`."""


class DiskLockedError(OSError):
    """Somebody else holds the lock; `pid` is who, or 0 if that is not known."""

    def __init__(self, path: str, pid: int) -> None:
        super().__init__(errno.EWOULDBLOCK, "locked by another process", path)
        self.pid = pid


def join(directory: str, name: str) -> str:
    """Puts a name into a directory.

    >>> join("/data", "orders-0")
    '/data/orders-0'
    """
    return f"{directory}/{name}"


def read_file(disk: Disk, path: str, *, size_max: int = 64 << 20) -> bytes:
    """Reads a small file whole; raises `FileNotFoundError` if there is none."""
    file = disk.open(path)
    size = file.size()
    if size > size_max:
        raise OSError(errno.EFBIG, f"{size} bytes where at most {size_max} are expected", path)
    return file.pread(size, 0)


def write_file_atomically(disk: Disk, directory: str, name: str, data: bytes) -> None:
    """Replaces a small file: after a crash it holds all of the old or all of the new bytes.

    Returns once the new bytes would survive a power failure.
    """
    temporary, path = join(directory, f"{name}.tmp"), join(directory, name)
    file = disk.open(temporary, create=True)
    file.truncate(0)
    file.pwrite(data, 0)
    file.datasync()
    file.close()
    disk.rename(temporary, path)
    disk.sync_dir(directory)


class OsFile:
    """A file of the operating system."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, *, create: bool) -> None:
        self._descriptor = -1
        self.path = path
        flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        self._descriptor = os.open(path, flags, 0o644)

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    def pread(self, size: int, position: int) -> bytes:
        """Reads until it has `size` bytes or the file ends."""
        try:
            data = os.pread(self._descriptor, size, position)
            if len(data) == size or not data:
                return data
            parts, have = [data], len(data)
            while have < size:
                data = os.pread(self._descriptor, size - have, position + have)
                if not data:
                    break
                parts.append(data)
                have += len(data)
        except OSError as error:
            raise self._named(error) from None
        return b"".join(parts)

    def pwrite(self, data: Buffer, position: int) -> None:
        """Writes until all is written; a signal or a full disk may stop one call midway."""
        try:
            written = os.pwrite(self._descriptor, data, position)
            if written == len(data):
                return
            rest = memoryview(data)
            while written < len(rest):
                written += os.pwrite(self._descriptor, rest[written:], position + written)
        except OSError as error:
            raise self._named(error) from None

    def size(self) -> int:
        """Returns the file's length in bytes."""
        return os.fstat(self._descriptor).st_size

    def truncate(self, size: int) -> None:
        """Cuts or extends the file."""
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            raise self._named(error) from None

    def datasync(self) -> None:
        """Syncs data and length, not the times."""
        try:
            (os.fdatasync if hasattr(os, "fdatasync") else os.fsync)(self._descriptor)
        except OSError as error:
            raise self._named(error) from None

    def _named(self, error: OSError) -> OSError:
        """Says which file it was: a call on a descriptor does not know."""
        error.filename = self.path
        return error

    def close(self) -> None:
        """Closes the descriptor."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def __del__(self) -> None:
        # The last reference may be a fetch that is being sent; that is why nobody closes by hand.
        with contextlib.suppress(OSError):
            self.close()


class OsLock:
    """An advisory lock on a whole file, with our process id written into it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Unlocks; the file stays, without our process id."""
        if self._descriptor >= 0:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1


class OsDisk:
    """The operating system's file system."""

    def open(self, path: str, *, create: bool = False) -> OsFile:
        """Opens for reading and writing."""
        return OsFile(path, create=create)

    def list_dir(self, path: str) -> Sequence[str]:
        """Returns the names, sorted."""
        return sorted(os.listdir(path))

    def make_dir(self, path: str) -> None:
        """Makes a directory and its parents."""
        os.makedirs(path, exist_ok=True)

    def exists(self, path: str) -> bool:
        """Tells whether the name is there."""
        return os.path.exists(path)

    def size(self, path: str) -> int:
        """Returns the file's length in bytes."""
        return os.stat(path).st_size

    def modified_ms(self, path: str) -> int:
        """Returns the time of the last write."""
        return os.stat(path).st_mtime_ns // 1_000_000

    def rename(self, old: str, new: str) -> None:
        """Renames in one step."""
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """Removes a file."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def remove_tree(self, path: str) -> None:
        """Removes a directory with all it holds."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(path)

    def sync_dir(self, path: str) -> None:
        """Syncs a directory's names."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: str) -> OsLock:
        """Locks the file and writes our process id into it."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock_descriptor(descriptor)
        except OSError as error:
            text = os.pread(descriptor, 20, 0).strip()
            os.close(descriptor)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise DiskLockedError(path, int(text) if text.isdigit() else 0) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return OsLock(descriptor)


def _lock_descriptor(descriptor: int) -> None:
    """Locks out other processes, a Java broker among them, and other brokers of this process.

    Java takes a POSIX record lock, which does not exclude within one process and goes with any
    close of the file; Linux's locks on open file descriptions meet POSIX locks and have neither
    weakness. Where there are none, `flock` keeps at least our own kind out.
    """
    set_lock = getattr(fcntl, "F_OFD_SETLK", None)
    if set_lock is None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    whole_file = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(descriptor, set_lock, whole_file)
