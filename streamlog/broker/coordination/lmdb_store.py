"""The coordination store of an embedded broker: one LMDB file, one lane of batches to it.

All calls, reads too, queue in one bounded lane. A task takes what has gathered, up to
`BATCH_CALLS_MAX`, and runs the whole batch in one thread call: begin, do, commit, all on one
thread, as LMDB demands of write transactions. Each caller's operations run in a nested
transaction, so one caller's conflict undoes nothing of the others'. The commit syncs the file
once for all of them, and only then do the callers go on: acknowledged means on disk, and a
hundred concurrent commits cost one sync.

Because only the lane touches LMDB, no transaction is open when the map has to grow: a batch that
meets `MapFullError` is rolled back whole, the map is doubled, the batch runs again. `writemap` is
never used, since with it a full disk kills the process.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import lmdb
import trio

from streamlog.broker.coordination.errors import StoreDamaged, StoreFailed
from streamlog.broker.coordination.lmdb_tree import LmdbTree
from streamlog.broker.coordination.store import Create, Delete, Operation, Set, Versioned

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path

    from streamlog.doors import Threads

T = TypeVar("T")

MIB = 1 << 20
MAP_BYTES_FIRST = 64 * MIB
"""The map is address space, not disk: the file grows as nodes come."""
MAP_BYTES_MAX = 64 * 1024 * MIB
"""Where growing ends: metadata of that size is a mistake that should be seen."""
QUEUE_CALLS_MAX = 1024
"""Calls that wait for the lane; more wait for a place in it."""
BATCH_CALLS_MAX = 512
"""Calls that share one transaction: enough to share a sync, short enough to keep latency."""


class _Call:
    """One caller's work on the tree, and what came of it."""

    __slots__ = ("done", "error", "result", "work", "writes")

    def __init__(self, work: Callable[[LmdbTree], object], *, writes: bool) -> None:
        self.work = work
        self.writes = writes
        self.result: object = None
        self.error: Exception | None = None
        self.done = trio.Event()


@asynccontextmanager
async def open_lmdb_store(
    path: Path,
    threads: Threads,
    *,
    map_bytes: int = MAP_BYTES_FIRST,
    map_bytes_max: int = MAP_BYTES_MAX,
) -> AsyncIterator[LmdbStore]:
    """Opens, or makes, the store in the directory `path`.

    Leaving the block waits for what was begun; calls after it raise `StoreFailed`.

    Raises:
        StoreDamaged: The directory holds something that is not such a store.
        StoreFailed: The disk is full or failed.
    """
    files = _LmdbFiles(path, map_bytes, map_bytes_max)
    await threads.run(files.open)
    store = LmdbStore(files, threads)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.run)
            try:
                yield store
            finally:
                store.close()
    finally:
        with trio.CancelScope(shield=True):  # one call that does not wait for anybody
            await threads.run(files.close)


class LmdbStore:
    """A `MetadataStore` on LMDB; made by `open_lmdb_store`."""

    def __init__(self, files: _LmdbFiles, threads: Threads) -> None:
        self._files = files
        self._threads = threads
        self._send, self._receive = trio.open_memory_channel[_Call](QUEUE_CALLS_MAX)

    async def get(self, path: str) -> Versioned | None:
        """Returns a node, or None if it is not there."""
        return await self._do(lambda tree: tree.get(path), writes=False)

    async def children(self, path: str) -> list[str]:
        """Returns the names of a node's children, sorted; none if the node is not there."""
        return await self._do(lambda tree: tree.children(path), writes=False)

    async def tree(self, path: str) -> Mapping[str, Versioned]:
        """Returns a node and all below it by path, sorted, as they are at one moment."""
        return await self._do(lambda tree: tree.walk(path), writes=False)

    async def create(self, path: str, value: bytes = b"") -> None:
        """Makes a node and its missing parents; raises `NodeExists`."""
        await self.transact([Create(path, value)])

    async def set(self, path: str, value: bytes, version: int | None = None) -> int:
        """Replaces a node's value and returns its new version; raises `VersionConflict`."""

        def write(tree: LmdbTree) -> int:
            tree.apply(Set(path, value, version))
            node = tree.get(path)
            assert node is not None
            return node.version

        return await self._do(write, writes=True)

    async def delete(self, path: str, version: int | None = None) -> None:
        """Removes a node without children; raises `VersionConflict`."""
        await self.transact([Delete(path, version)])

    async def transact(self, operations: Sequence[Operation]) -> None:
        """Does all operations in their order, or none and raises `VersionConflict`."""
        steps = tuple(operations)

        def write(tree: LmdbTree) -> None:
            for operation in steps:
                tree.apply(operation)

        await self._do(write, writes=True)

    def close(self) -> None:
        """Takes no more calls; those in the lane are still done."""
        self._send.close()

    async def run(self) -> None:
        """Works through the lane until the store is closed."""
        batch: list[_Call] = []
        try:
            with trio.CancelScope(shield=True):  # ends by itself once `close` was called
                async for call in self._receive:
                    batch = self._gather(call)
                    await self._threads.run(partial(self._files.run, batch))
                    for finished in batch:
                        finished.done.set()
        finally:
            for forsaken in batch + self._waiting():  # empty, unless this task was killed
                if not forsaken.done.is_set():
                    forsaken.error = StoreFailed("the coordination store stopped")
                    forsaken.done.set()
            self._receive.close()

    def _gather(self, first: _Call) -> list[_Call]:
        return [first, *self._waiting(BATCH_CALLS_MAX - 1)]

    def _waiting(self, limit: int = QUEUE_CALLS_MAX) -> list[_Call]:
        calls: list[_Call] = []
        try:
            while len(calls) < limit:
                calls.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            pass
        return calls

    async def _do(self, work: Callable[[LmdbTree], T], *, writes: bool) -> T:
        call = _Call(work, writes=writes)
        try:
            await self._send.send(call)
        except (trio.ClosedResourceError, trio.BrokenResourceError):
            raise StoreFailed("the coordination store is closed") from None
        await call.done.wait()
        if call.error is not None:
            raise call.error
        return cast("T", call.result)


class _LmdbFiles:
    """LMDB itself; every method blocks and runs on a thread, one at a time."""

    def __init__(self, path: Path, map_bytes: int, map_bytes_max: int) -> None:
        self._path = path
        self._map_bytes = map_bytes
        self._map_bytes_max = map_bytes_max
        self._environment: Any = None
        self._nodes: Any = None
        self._meta: Any = None

    def open(self) -> None:
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            self._environment = lmdb.open(
                str(self._path), map_size=self._map_bytes, max_dbs=2, subdir=True, lock=True
            )
            self._map_bytes = max(self._map_bytes, self._environment.info()["map_size"])
            self._cover_all_pages()
            self._nodes = self._environment.open_db(b"nodes")
            self._meta = self._environment.open_db(b"meta")
            with self._environment.begin(write=True) as transaction:
                self._tree(transaction).check_format(str(self._path))
            for folder in (self._path, self._path.parent):
                _sync_folder(folder)  # LMDB syncs its file, not the names that lead to it
        except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
            raise StoreDamaged(
                f"{self._path} holds no coordination store that can be read: {error}",
                hint="Restore the directory from a copy, or move it away: topics are then taken "
                "over from the data folder, settings and groups are lost",
            ) from error
        except (lmdb.Error, OSError) as error:
            raise self._failure(error) from error

    def _cover_all_pages(self) -> None:
        """Makes sure that every page of the map is backed by the file.

        A file that was cut short would end the process with SIGBUS where its lost pages are read;
        as zeros they are found to be damaged. Pages at the end that were never written, which
        LMDB may leave out, are never read.
        """
        size = (self._environment.info()["last_pgno"] + 1) * self._environment.stat()["psize"]
        path = self._path / "data.mdb"
        if path.stat().st_size < min(size, self._map_bytes):
            os.truncate(path, size)

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()

    def run(self, batch: list[_Call]) -> None:
        """Does a batch and stores in each call what came of it; never raises."""
        try:
            while True:
                try:
                    self._attempt(batch)
                    return
                except lmdb.MapFullError:
                    self._grow()
        except (StoreFailed, lmdb.Error, OSError) as error:
            failure = error if isinstance(error, StoreFailed) else self._failure(error)
            for call in batch:
                call.error = failure

    def _attempt(self, batch: list[_Call]) -> None:
        writes = any(call.writes for call in batch)
        with self._environment.begin(write=writes) as transaction:
            for call in batch:
                call.result = call.error = None
                try:
                    if call.writes and len(batch) > 1:
                        with self._environment.begin(write=True, parent=transaction) as nested:
                            call.result = call.work(self._tree(nested))
                    else:
                        call.result = call.work(self._tree(transaction))
                except lmdb.Error:
                    raise
                except Exception as error:  # noqa: BLE001 - the caller's own, raised where it waits
                    call.error = error
                    if len(batch) == 1:
                        transaction.abort()
                        return

    def _tree(self, transaction: Any) -> LmdbTree:  # noqa: ANN401 - lmdb has no types
        return LmdbTree(transaction, self._nodes, self._meta)

    def _grow(self) -> None:
        if self._map_bytes >= self._map_bytes_max:
            raise StoreFailed(
                f"the coordination store in {self._path} has reached {self._map_bytes_max} bytes",
                hint="Delete topics or groups that are no longer used",
            )
        self._map_bytes = min(self._map_bytes * 2, self._map_bytes_max)
        self._environment.set_mapsize(self._map_bytes)

    def _failure(self, error: Exception) -> StoreFailed:
        return StoreFailed(
            f"the coordination store in {self._path} cannot be written or read: {error}",
            hint="Check the disk's space and health, then start the server again",
        )


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
