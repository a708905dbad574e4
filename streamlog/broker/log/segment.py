"""One segment: a file of batches, its offset index and its time index.

Its base offset, which names its files, is at or below every offset in it and above every offset
of earlier segments. Only the last segment of a partition is written; the rest are sealed. The
log file is the truth. The indexes follow it in memory and are written out behind it: when a
segment is sealed or closed, and at each flush as far as they have come. One that is missing or
cannot be right is built again from the log, here or at recovery.

Not thread-safe: a segment belongs to its partition.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from streamlog.broker.log.disk import join, read_file
from streamlog.broker.log.errors import CorruptSegmentError
from streamlog.broker.log.index import (
    NO_TIMESTAMP,
    TIME_ENTRY_SIZE,
    IndexDamageError,
    OffsetIndex,
    TimeIndex,
)
from streamlog.broker.log.names import (
    DELETED,
    INDEX,
    LOG,
    SEGMENT_SUFFIXES,
    SNAPSHOT,
    TIME_INDEX,
    offset_name,
)
from streamlog.broker.log.scan import (
    DamagedBatchError,
    OffsetRule,
    ScannedBatch,
    VerifiedRanges,
    scan_checked,
    scan_headers,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.broker.log.disk import Buffer, Disk, DiskFile
    from streamlog.broker.log.pool import FilePool
    from streamlog.records.batch import BatchHeader


UNKNOWN = -1
"""How much of an index is in its file: nothing that counts."""


class StaleIndexError(Exception):
    """An index entry led to something that is not the batch it names."""


class Segment:
    """A segment of a partition, opened when it is first used.

    Args:
        pool: The open files of the log directory; it holds the disk, too.
        directory: The partition's directory.
        base_offset: What the segment's files are named after.
        index_interval_bytes: How much log lies between two index entries.
        contiguous: Whether every offset must be there, which it need not after compaction.
    """

    def __init__(
        self,
        pool: FilePool,
        directory: str,
        base_offset: int,
        index_interval_bytes: int,
        *,
        contiguous: bool = False,
    ) -> None:
        self.base_offset = base_offset
        self.index_interval_bytes = index_interval_bytes
        self.contiguous = contiguous
        self.verified = VerifiedRanges()
        self.first_timestamp_ms = NO_TIMESTAMP
        """The largest timestamp of the first batch; what the age of the segment counts from."""
        self._pool = pool
        self._directory = directory
        self.log_path = self.path(LOG)
        self._file: DiskFile | None = None
        self._size: int | None = None
        self._index: OffsetIndex | None = None
        self._index_written = 0
        self._time_index: TimeIndex | None = None
        self._time_index_written = 0
        self._bytes_since_entry = 0
        self._largest: tuple[int, int] | None = None
        self._damage: CorruptSegmentError | None = None

    def create(self) -> None:
        """Makes the files of an empty segment; whatever stands under its names is overwritten.

        Raises:
            OSError: The disk did not take them; nothing is left of them.
        """
        try:
            for suffix in (LOG, INDEX, TIME_INDEX):
                self._disk.open(self.path(suffix), create=True).truncate(0)
        except OSError:
            for suffix in (LOG, INDEX, TIME_INDEX):
                self._disk.unlink(self.path(suffix))
            raise
        self._size = 0
        self._index, self._time_index = OffsetIndex(self.base_offset), TimeIndex(self.base_offset)
        self._largest = (NO_TIMESTAMP, self.base_offset)

    def __repr__(self) -> str:
        return f"<Segment {self.log_path}>"

    def path(self, suffix: str) -> str:
        """Returns the path of one of the segment's files."""
        return join(self._directory, offset_name(self.base_offset, suffix))

    @property
    def file(self) -> DiskFile:
        """The log file, opened."""
        if self._file is None:
            self._file = self._pool.open(self, self.log_path)
        else:
            self._pool.touch(self)
        return self._file

    @property
    def size(self) -> int:
        """How many bytes of log there are."""
        if self._size is None:
            self._size = self._pool.disk.size(self.log_path)
        return self._size

    @property
    def index(self) -> OffsetIndex:
        """The offset index, loaded or rebuilt."""
        if self._index is None:
            _ = self.file  # what is open is in the pool, and its indexes count there
            try:
                data = read_file(self._disk, self.path(INDEX))
                self._index = OffsetIndex.decode(data, self.base_offset, self.size)
                if not len(self._index) and self.size > self.index_interval_bytes:
                    raise IndexDamageError("it is empty")
                self._index_written = len(self._index)
            except (FileNotFoundError, IndexDamageError):
                self.rebuild_indexes()
            self._pool.grew(self)
        assert self._index is not None
        return self._index

    @property
    def time_index(self) -> TimeIndex:
        """The time index, loaded or rebuilt."""
        if self._time_index is None:
            _ = self.file
            try:
                data = read_file(self._disk, self.path(TIME_INDEX))
                self._time_index = TimeIndex.decode(data, self.base_offset)
                if not len(self._time_index) and self.size:
                    raise IndexDamageError("it is empty")
                self._time_index_written = len(self._time_index)
            except (FileNotFoundError, IndexDamageError):
                self.rebuild_indexes()
            self._pool.grew(self)
        assert self._time_index is not None
        return self._time_index

    @property
    def largest_timestamp(self) -> tuple[int, int]:
        """The largest timestamp and an offset that bears it; `NO_TIMESTAMP` if none has one."""
        if self._largest is None:
            self._largest = self._last_time_entry() or self.time_index.largest
        return self._largest

    def _last_time_entry(self) -> tuple[int, int] | None:
        """Reads the last entry alone: retention asks for nothing more of old segments."""
        if self._time_index is not None:
            return None
        try:
            file = self._disk.open(self.path(TIME_INDEX))
        except FileNotFoundError:
            return None
        size = file.size()
        if size == 0 or size % TIME_ENTRY_SIZE:
            return None
        last = TimeIndex.decode(
            file.pread(TIME_ENTRY_SIZE, size - TIME_ENTRY_SIZE), self.base_offset
        )
        return last.largest if len(last) and last.largest != (0, self.base_offset) else None

    @property
    def index_size(self) -> int:
        """The bytes of the larger index, as `segment.index.bytes` bounds them."""
        entries = len(self.time_index) if self._time_index is not None else 0
        return max(8 * len(self.index), TIME_ENTRY_SIZE * entries)

    @property
    def _disk(self) -> Disk:
        return self._pool.disk

    # Writing.

    def append(self, data: Buffer, headers: list[tuple[int, BatchHeader]]) -> None:
        """Writes batches at the end; on an error the file is as long as before.

        Args:
            data: The bytes, stamped with their offsets.
            headers: (position within the data, header) of each batch.

        Raises:
            OSError: The disk did not take the bytes; with `errno` `EIO` if the part that it took
                could not be cut off again, and then the file must not be written any more.
        """
        file, position = self.file, self.size
        assert self.index is not None  # loaded now: a rebuild must not see the new batches
        assert self.time_index is not None
        try:
            file.pwrite(data, position)
        except OSError as error:
            self._cut_back(file, position, error)
            raise
        self._size = position + len(data)
        for inside, header in headers:
            self._note(position + inside, header)
        self.verified.add(position, self._size)

    def _cut_back(self, file: DiskFile, size: int, cause: OSError) -> None:
        try:
            file.truncate(size)
        except OSError:
            path = self.log_path
            raise OSError(errno.EIO, "a failed write could not be cut off", path) from cause

    def _note(self, position: int, header: BatchHeader) -> None:
        largest = self.largest_timestamp
        if header.max_timestamp > largest[0]:
            largest = self._largest = (header.max_timestamp, header.last_offset)
        if self.first_timestamp_ms == NO_TIMESTAMP:
            self.first_timestamp_ms = header.max_timestamp
        if self._bytes_since_entry > self.index_interval_bytes:
            self.index.append(header.last_offset, position)
            self.time_index.append(*largest)
            self._bytes_since_entry = 0
        self._bytes_since_entry += header.size_bytes

    def write_indexes(self) -> list[DiskFile]:
        """Writes the entries that are in memory only; returns the files, not yet synced.

        Raises:
            OSError: The disk did not take them; they stay in memory, and the log is unharmed.
        """
        files = []
        if self._index is not None and len(self._index) > self._index_written:
            written = max(0, self._index_written)
            file = self._open_index(INDEX, 8 * written)
            file.pwrite(self._index.encode(written), 8 * written)
            self._index_written = len(self._index)
            files.append(file)
        if self._time_index is not None and len(self._time_index) > self._time_index_written:
            written = max(0, self._time_index_written)
            file = self._open_index(TIME_INDEX, TIME_ENTRY_SIZE * written)
            file.pwrite(self._time_index.encode(written), TIME_ENTRY_SIZE * written)
            self._time_index_written = len(self._time_index)
            files.append(file)
        return files

    def _open_index(self, suffix: str, size: int) -> DiskFile:
        file = self._disk.open(self.path(suffix), create=True)
        if file.size() != size:
            file.truncate(size)
        return file

    def seal(self) -> list[DiskFile]:
        """Ends the time index with the segment's largest timestamp, and writes the indexes out."""
        if self.size:
            self.time_index.append(*self.largest_timestamp)
        return self.write_indexes()

    def cut(self, size: int) -> None:
        """Cuts the log at a batch boundary; the indexes are to be rebuilt."""
        self.file.truncate(size)
        self._size = size

    def rebuild_indexes(self) -> None:
        """Builds both indexes from the batches' headers.

        Raises:
            CorruptSegmentError: The log itself is damaged.
        """
        if self._damage is not None:
            raise self._damage
        rule = OffsetRule(self.base_offset, self.contiguous)
        before = self._index, self._time_index, self._largest
        try:
            with self.naming_damage():
                for _ in self.rebuilding(scan_headers(self.file, 0, self.size, rule)):
                    pass
        except CorruptSegmentError as error:
            # What the old indexes know of the batches behind the damage is still of use, and
            # a second look would find the same.
            self._damage = error
            self._index = before[0] or self._index
            self._time_index = before[1] or self._time_index
            self._largest = before[2] or self._largest
            raise
        with contextlib.suppress(OSError):  # a full disk: they serve from memory
            self.write_indexes()

    def rebuilding(self, batches: Iterator[ScannedBatch]) -> Iterator[ScannedBatch]:
        """Passes the segment's batches on, from its first, and builds the indexes from them."""
        self._index = OffsetIndex(self.base_offset)
        self._time_index = TimeIndex(self.base_offset)
        self._index_written = self._time_index_written = UNKNOWN
        self._largest = (NO_TIMESTAMP, self.base_offset)
        self.first_timestamp_ms = NO_TIMESTAMP
        self._bytes_since_entry = 0
        for batch in batches:
            self._note(batch.position, batch.header)
            yield batch
        self._time_index.append(*self._largest)

    def resume(self, position: int, headers: list[BatchHeader]) -> None:
        """Takes up writing where a clean shutdown left it: the batches from the last index entry.

        Args:
            position: Where the first of them begins.
            headers: The batches from there to the end.
        """
        self._bytes_since_entry = self.size - position
        largest = self.largest_timestamp
        for header in headers:
            if header.max_timestamp > largest[0]:
                largest = self._largest = (header.max_timestamp, header.last_offset)
        self.verified.add(position, self.size)
        if self.size:
            with self.naming_damage():
                first = next(iter(scan_headers(self.file, 0, self.size)))
            self.first_timestamp_ms = first.header.max_timestamp

    # Reading.

    def locate(self, offset: int) -> ScannedBatch | None:
        """Finds the batch that holds an offset, or the first behind it; None if there is none.

        O(log n) in the index, then at most an index interval of headers.

        Raises:
            CorruptSegmentError: The way there leads through damage.
        """
        try:
            return self._locate(offset)
        except (StaleIndexError, DamagedBatchError):
            # The index may be that of another segment, or garbage; the log decides.
            self.rebuild_indexes()
        with self.naming_damage():
            return self._locate(offset)

    def _locate(self, offset: int) -> ScannedBatch | None:
        start, entry_offset = self.index.entry_below(offset)
        rule = OffsetRule(None if start else self.base_offset, self.contiguous)
        for batch in scan_headers(self.file, start, self.size, rule):
            header = batch.header
            if batch.position == start > 0 and header.last_offset > entry_offset:
                raise StaleIndexError
            if header.last_offset >= offset:
                return batch
        return None

    def verified_size(self, position: int, size: int) -> int:
        """Checks batches that this process has not seen yet; returns how many bytes are good.

        A batch that the range cuts short is not checked and does not count unless it is the rest
        of a good range.

        Raises:
            CorruptSegmentError: The very first batch is damaged.
        """
        end = position + size
        if self.verified.covers(position, end):
            return size
        good = position
        with self.naming_damage():
            try:
                for batch in scan_checked(self.file, position, self.size, self._later_rule):
                    if batch.end > end:
                        break
                    good = batch.end
                    if good == end:
                        break
            except DamagedBatchError:
                if good == position:
                    raise
                self.verified.add(position, good)
                return good - position
        if good > position:
            self.verified.add(position, good)
        return size

    @property
    def _later_rule(self) -> OffsetRule:
        return OffsetRule(None, self.contiguous)

    def naming_damage(self) -> _NamedDamage:
        """Turns a damaged batch into an error that names this segment's file."""
        return _NamedDamage(self.log_path)

    # Coming and going.

    def release(self) -> None:
        """Lets go of the file and of indexes that can be loaded again."""
        self._file = None
        if self._index is not None and self._index_written == len(self._index):
            self._index = None
        if self._time_index is not None and self._time_index_written == len(self._time_index) > 0:
            self._largest = self.largest_timestamp
            self._time_index = None

    def index_bytes(self) -> int:
        """Returns the memory of the loaded indexes."""
        offsets = 8 * len(self._index) if self._index is not None else 0
        times = 16 * len(self._time_index) if self._time_index is not None else 0
        return offsets + times

    def retire(self) -> list[str]:
        """Renames the files to `.deleted`; returns their paths, to unlink later."""
        paths = []
        for suffix in (*SEGMENT_SUFFIXES, SNAPSHOT):
            path = self.path(suffix)
            if self._disk.exists(path):
                self._disk.rename(path, path + DELETED)
                paths.append(path + DELETED)
        self._pool.forget(self)
        self.release()
        return paths


class _NamedDamage:
    """A context in which a `DamagedBatchError` becomes a `CorruptSegmentError`."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, DamagedBatchError):
            raise CorruptSegmentError(self._path, error.position, error.reason) from None
