"""The newest results of both sides on disk, in a temporary LMDB, so that no topic is too large.

Written in the order of the log, read in the order of identities. It is thrown away after the
comparison, so nothing in it is ever made durable. Blocking; its caller runs it in a thread.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from enum import Enum
from functools import partial
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

import lmdb
import msgspec
import trio

from streamlog.errors import StorageError
from streamlog.processing.replay.result import Result

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from streamlog.doors import Threads

_MAP_SIZE_FIRST: Final = 64 << 20
_MAP_SIZE_MAX: Final = 1 << 40

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[bytes | None, int | None, int | None, int, bytes | None])


class Side(Enum):
    """Whose results."""

    LIVE = b"live"
    VERSION = b"version"


class ResultTable:
    """Results of both sides by identity; opened by `open_result_table`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._size = _MAP_SIZE_FIRST
        self._env = lmdb.open(
            folder, map_size=self._size, max_dbs=2, sync=False, metasync=False, lock=False
        )
        # lmdb's annotations speak of memoryviews even where it returns only bytes.
        self._maps: dict[Side, Any] = {side: self._env.open_db(side.value) for side in Side}

    def put(self, side: Side, results: Iterable[tuple[bytes, Result]]) -> None:
        """Takes results in the order of the log: the newest of an identity holds."""
        newest = sorted(dict(results).items())
        rows = [(name, _encode(result)) for name, result in newest]
        while True:
            try:
                with self._translated(), self._env.begin(self._maps[side], write=True) as txn:
                    cursor = txn.cursor()
                    for name, row in rows:
                        cursor.put(name, row)
                return
            except lmdb.MapFullError:
                if self._size >= _MAP_SIZE_MAX:
                    raise
                self._size *= 2
                self._env.set_mapsize(self._size)

    def results(self, side: Side) -> Iterator[tuple[bytes, Result]]:
        """Yields a side's results in the order of their identities."""
        with self._translated(), self._env.begin(self._maps[side]) as txn:
            for name, row in txn.cursor():
                yield name, Result(*_decode.decode(row))

    def close(self) -> None:
        """Ends; nothing is kept."""
        self._env.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            raise StorageError(
                f"the comparison's temporary files in {self._folder} failed: {error}",
                hint="Is the disk full? TMPDIR says which disk they are on",
            ) from error


@asynccontextmanager
async def open_result_table(threads: Threads) -> AsyncIterator[ResultTable]:
    """Opens a table in a temporary folder, which goes with it; the disk is for threads."""
    folder, table = await threads.run(_open)
    try:
        yield table
    finally:
        with trio.CancelScope(shield=True):
            await threads.run(partial(_remove, folder, table))


def _open() -> tuple[TemporaryDirectory[str], ResultTable]:
    folder = TemporaryDirectory(prefix="streamlog-diff-")
    try:
        return folder, ResultTable(folder.name)
    except BaseException:
        folder.cleanup()
        raise


def _remove(folder: TemporaryDirectory[str], table: ResultTable) -> None:
    table.close()
    folder.cleanup()
