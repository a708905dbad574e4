"""A disk in memory that behaves as badly as a real one may: for tests and simulation.

It keeps for every file and directory what was written and what would survive a power failure, and
it can be told to stop, to run full and to fail:

* `crash_at`: the n-th operation that changes something raises `DiskCrashError`, and every one after
  it; a write may first take a part of its bytes (`torn_bytes`).
* `restart()`: the process died and starts again; everything written is there. Old files are dead.
* `lose_power()`: what was not synced is gone, or with a `random.Random`, some of it.
* `space_left`: how many bytes files may still grow before `ENOSPC`; the last write is cut.
* `fault`: asked before each operation; the `OSError` that it returns is raised.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.broker.log.disk import DiskLockedError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from streamlog.broker.log.disk import Buffer

PAGE = 4096
NO_SPACE_LIMIT = 1 << 62


class DiskCrashError(BaseException):
    """The process ends here. No handler for `Exception` may go on as if nothing had happened."""


@dataclass(eq=False, slots=True)
class _Inode:
    """A file: its bytes, those that are safe, and the changes between them."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(position, bytes written) or (size, None) for a truncation."""
    modified_ms: int = 0

    def lose(self, chance: random.Random | None) -> None:
        """Keeps what was synced, and of the rest whatever chance leaves, page by page."""
        kept = bytearray(self.durable)
        for position, data in self.changes:
            if chance is None:
                break
            if data is None:
                _resize(kept, position)
                continue
            for start in range(0, len(data), PAGE):
                page = data[start : start + PAGE]
                if chance.random() < 0.5:
                    page = page[: chance.randrange(len(page) + 1)]
                if page:
                    _overwrite(kept, position + start, page)
        self.content, self.durable, self.changes = kept, bytes(kept), []


@dataclass(eq=False, slots=True)
class _Directory:
    """Names; `changes` are not yet synced: (name to remove, name to set, node)."""

    entries: dict[str, _Directory | _Inode] = field(default_factory=dict)
    durable: dict[str, _Directory | _Inode] = field(default_factory=dict)
    changes: list[tuple[str | None, str | None, _Directory | _Inode | None]] = field(
        default_factory=list
    )

    def change(
        self, removed: str | None, name: str | None, node: _Directory | _Inode | None
    ) -> None:
        """Removes one name and sets another, in one step."""
        self.changes.append((removed, name, node))
        _apply(self.entries, removed, name, node)

    def lose(self, chance: random.Random | None) -> None:
        """Keeps the synced names, and chance decides how many of the later changes."""
        kept = dict(self.durable)
        count = chance.randrange(len(self.changes) + 1) if chance is not None else 0
        for change in self.changes[:count]:
            _apply(kept, *change)
        self.entries, self.durable, self.changes = kept, dict(kept), []
        for node in kept.values():
            node.lose(chance)


def _apply(
    names: dict[str, _Directory | _Inode],
    removed: str | None,
    name: str | None,
    node: _Directory | _Inode | None,
) -> None:
    if removed is not None:
        names.pop(removed, None)
    if name is not None and node is not None:
        names[name] = node


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))


def _overwrite(content: bytearray, position: int, data: bytes) -> None:
    if position > len(content):
        _resize(content, position)
    content[position : position + len(data)] = data


class FakeFile:
    """An open file of a `FakeDisk`."""

    def __init__(self, disk: FakeDisk, path: str, inode: _Inode) -> None:
        self._disk = disk
        self._life = disk.life
        self._inode = inode
        self.path = path

    def fileno(self) -> int:
        """There is no descriptor: the bytes are in memory."""
        raise OSError(errno.EBADF, "a file in memory has no descriptor", self.path)

    def _check(self, operation: str) -> None:
        if self._life != self._disk.life:
            raise DiskCrashError(f"{operation} of {self.path} by a process that has ended")

    def pread(self, size: int, position: int) -> bytes:
        """Reads up to `size` bytes."""
        self._check("pread")
        self._disk.ask("pread", self.path)
        return bytes(self._inode.content[position : position + size])

    def pwrite(self, data: Buffer, position: int) -> None:
        """Writes all, or a part if the disk crashes or runs full."""
        self._check("pwrite")
        data = bytes(data)
        kept = len(data)
        try:
            self._disk.step("pwrite", self.path)
        except DiskCrashError:
            kept = min(kept, self._disk.torn_bytes)
            self._write(data[:kept], position)
            raise
        growth = position + len(data) - len(self._inode.content)
        if growth > self._disk.space_left:
            kept = max(0, len(data) - (growth - self._disk.space_left))
            self._write(data[:kept], position)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.path)
        self._write(data, position)

    def _write(self, data: bytes, position: int) -> None:
        if data:
            before = len(self._inode.content)
            _overwrite(self._inode.content, position, data)
            self._disk.space_left -= len(self._inode.content) - before
            self._inode.changes.append((position, data))
            self._inode.modified_ms = self._disk.now_ms

    def size(self) -> int:
        """Returns the length."""
        self._check("size")
        return len(self._inode.content)

    def truncate(self, size: int) -> None:
        """Cuts or extends."""
        self._check("truncate")
        if size == len(self._inode.content):
            return
        self._disk.step("truncate", self.path)
        self._disk.space_left += len(self._inode.content) - size
        _resize(self._inode.content, size)
        self._inode.changes.append((size, None))

    def datasync(self) -> None:
        """Makes the content safe; a failure loses what was not, as Linux does."""
        self._check("datasync")
        try:
            self._disk.step("datasync", self.path)
        except OSError:
            # The pages are marked clean: later syncs succeed and do not write them.
            self._inode.changes = []
            raise
        self._inode.durable, self._inode.changes = bytes(self._inode.content), []

    def close(self) -> None:
        """Nothing to do."""


class FakeLock:
    """A lock on a name of a `FakeDisk`."""

    def __init__(self, disk: FakeDisk, path: str) -> None:
        self._disk, self._path = disk, path

    def release(self) -> None:
        """Unlocks."""
        self._disk.locks.pop(self._path, None)


class FakeDisk:
    """A file system in memory; see the module."""

    def __init__(self) -> None:
        self.life = 0
        self.steps = 0
        self.trace: list[str] = []
        """What changed something, in order: one line per step, for messages of tests."""
        self.crash_at: int | None = None
        self.torn_bytes = 0
        self.space_left = NO_SPACE_LIMIT
        self.now_ms = 0
        self.fault: Callable[[str, str], OSError | None] = lambda operation, path: None
        self.locks: dict[str, int] = {}
        self._root = _Directory()

    # Misfortune.

    def step(self, operation: str, path: str) -> None:
        """Counts a change and lets misfortune happen before it."""
        self.ask(operation, path)
        self.steps += 1
        self.trace.append(f"{operation} {path}")
        if self.crash_at is not None and self.steps >= self.crash_at:
            raise DiskCrashError(f"step {self.steps}: {operation} {path}")

    def ask(self, operation: str, path: str) -> None:
        """Raises what `fault` has for an operation."""
        error = self.fault(operation, path)
        if error is not None:
            raise error

    def restart(self) -> None:
        """The process is gone, and a new one begins on what was written."""
        self.life += 1
        self.crash_at = None
        self.locks.clear()

    def lose_power(self, chance: random.Random | None = None) -> None:
        """The machine is gone, and a new process begins on what was safe."""
        self.restart()
        self._root.lose(chance)

    def flip(self, path: str, position: int, mask: int = 1) -> None:
        """Changes bits of a byte of a file, on the platter and in the cache."""
        inode = self._inode(path)
        inode.content[position] ^= mask
        inode.durable, inode.changes = bytes(inode.content), []

    # Names.

    def _walk(self, path: str) -> _Directory | _Inode | None:
        node: _Directory | _Inode | None = self._root
        for name in path.strip("/").split("/"):
            if not isinstance(node, _Directory):
                return None
            node = node.entries.get(name) if name else node
        return node

    def _inode(self, path: str) -> _Inode:
        node = self._walk(path)
        if not isinstance(node, _Inode):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def _directory(self, path: str) -> _Directory:
        node = self._walk(path)
        if not isinstance(node, _Directory):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return node

    def open(self, path: str, *, create: bool = False) -> FakeFile:
        """Opens a file."""
        self.ask("open", path)
        node = self._walk(path)
        if isinstance(node, _Inode):
            return FakeFile(self, path, node)
        if not create:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.step("create", path)
        if self.space_left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
        parent, name = path.rsplit("/", 1)
        inode = _Inode(modified_ms=self.now_ms)
        self._directory(parent).change(None, name, inode)
        return FakeFile(self, path, inode)

    def list_dir(self, path: str) -> Sequence[str]:
        """Returns the names, sorted."""
        return sorted(self._directory(path).entries)

    def make_dir(self, path: str) -> None:
        """Makes a directory and its parents."""
        node = self._root
        for name in path.strip("/").split("/"):
            child = node.entries.get(name)
            if child is None:
                self.step("make_dir", path)
                child = _Directory()
                node.change(None, name, child)
            assert isinstance(child, _Directory)
            node = child

    def exists(self, path: str) -> bool:
        """Tells whether the name is there."""
        return self._walk(path) is not None

    def size(self, path: str) -> int:
        """Returns a file's length."""
        return len(self._inode(path).content)

    def modified_ms(self, path: str) -> int:
        """Returns when the file was written, by `now_ms`."""
        return self._inode(path).modified_ms

    def rename(self, old: str, new: str) -> None:
        """Renames within one directory."""
        self.step("rename", f"{old} {new}")
        (parent, name), (new_parent, new_name) = old.rsplit("/", 1), new.rsplit("/", 1)
        assert parent == new_parent, "the log renames within a directory only"
        directory = self._directory(parent)
        if name not in directory.entries:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        directory.change(name, new_name, directory.entries[name])

    def unlink(self, path: str) -> None:
        """Removes a file."""
        parent, name = path.rsplit("/", 1)
        if self.exists(path):
            self.step("unlink", path)
            self.space_left += len(self._inode(path).content)
            self._directory(parent).change(name, None, None)

    def remove_tree(self, path: str) -> None:
        """Removes a directory, name by name."""
        if self.exists(path):
            for name in self.list_dir(path):
                child = f"{path}/{name}"
                is_file = isinstance(self._walk(child), _Inode)
                self.unlink(child) if is_file else self.remove_tree(child)
            self.step("remove_tree", path)
            parent, name = path.rsplit("/", 1)
            self._directory(parent).change(name, None, None)

    def sync_dir(self, path: str) -> None:
        """Makes the names of a directory safe."""
        directory = self._directory(path)
        self.step("sync_dir", path)
        directory.durable, directory.changes = dict(directory.entries), []

    def lock(self, path: str) -> FakeLock:
        """Locks a name."""
        if path in self.locks:
            raise DiskLockedError(path, self.locks[path])
        self.locks[path] = os.getpid()
        return FakeLock(self, path)
