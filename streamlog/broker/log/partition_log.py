"""One partition's log: append, read, look up, cut old records off.

`PartitionLog` decides and does, synchronously, over the `Disk` door; time is an argument. It
knows nothing of threads: syncing is asked for with `begin_flush` and reported with `flushed`, by
whoever runs the flush rounds (`LogManager`).

Three offsets matter, and log start <= high watermark <= log end:

* log start: nothing below it is served any more;
* log end: the offset of the next record;
* high watermark: nothing at or above it is shown to consumers. It is what has been flushed to
  disk, or with `write.caching` the log end.

An append is written to the page cache in one piece, at offsets that continue the log, or not at
all. After an error that leaves doubt about a file the log refuses further appends until it is
opened again (`offline`); a full disk leaves no doubt and heals when there is space.
"""

from __future__ import annotations

import errno
import logging
from typing import TYPE_CHECKING

from streamlog.broker.log import lookup
from streamlog.broker.log.disk import DISK_FULL, write_file_atomically
from streamlog.broker.log.errors import (
    AppendError,
    LogOfflineError,
    OffsetOutOfRangeError,
)
from streamlog.broker.log.flush import FlushTicket, LogPosition, Unsynced
from streamlog.broker.log.log_parts import AppendInfo, LogParts
from streamlog.broker.log.log_slice import LogSlice
from streamlog.broker.log.names import INDEX, LEADER_EPOCHS, SNAPSHOT, TIME_INDEX
from streamlog.broker.log.retention import LogExtent, count_expired
from streamlog.broker.log.rolling import must_roll
from streamlog.broker.log.segment import Segment
from streamlog.broker.log.snapshots import remove_snapshots, write_snapshot
from streamlog.broker.log.validation import prepare_batch, split_batches
from streamlog.records.batch import stamp
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.pool import FilePool
    from streamlog.records.batch import BatchHeader

logger = logging.getLogger("streamlog.broker")


class PartitionLog:
    """The log of one partition. Not thread-safe: it belongs to the event loop.

    Args:
        topic: The topic's name.
        partition: The partition's number.
        config: The topic's settings; see `configure`.
        pool: The open files of the log directory.
        parts: What was found in, or made of, the partition's directory; all of it is on disk.
    """

    def __init__(
        self, topic: str, partition: int, config: LogConfig, pool: FilePool, parts: LogParts
    ) -> None:
        assert parts.segments
        self.topic = topic
        self.partition = partition
        self.config = config
        self.topic_id = parts.topic_id
        self.directory = parts.directory
        self.log_start_offset = parts.log_start_offset
        self.log_end_offset = parts.log_end_offset
        self.producers = parts.producers
        self.epochs = parts.epochs
        self.offline: LogOfflineError | None = None
        self.on_append: Callable[[PartitionLog], None] = _ignore
        """Called after each append."""
        self.on_high_watermark: Callable[[PartitionLog], None] = _ignore
        """Called when the high watermark moved, the log start moved or the log went offline."""
        self._name = f"{topic}-{partition}"
        self._settled = parts.settled
        self._epochs_changed = False
        self._is_refusing = False
        """Whether the last append found no room; said once, not for each of its retries."""
        self._pool = pool
        self._segments = parts.segments
        self._unsynced = Unsynced()
        self._flushed = self._high = self._end()

    def __repr__(self) -> str:
        return f"<PartitionLog {self._name} to {self.log_end_offset}>"

    @property
    def high_watermark(self) -> int:
        """The offset below which consumers may read."""
        return self._high.offset

    @property
    def flushed_offset(self) -> int:
        """The offset below which everything is on disk: the recovery point."""
        return self._flushed.offset

    @property
    def last_stable_offset(self) -> int:
        """The offset below which every transaction is decided; at most the high watermark."""
        unstable = self.producers.first_unstable_offset
        return self.high_watermark if unstable is None else min(unstable, self.high_watermark)

    @property
    def leader_epoch(self) -> int:
        """The epoch that appended batches are stamped with."""
        return max(0, self.epochs.latest)

    @property
    def size_bytes(self) -> int:
        """The bytes of all segments."""
        return sum(segment.size for segment in self._segments)

    @property
    def segments(self) -> list[Segment]:
        """The segments, oldest first; to read."""
        return self._segments

    @property
    def pool(self) -> FilePool:
        """The open files of the log directory."""
        return self._pool

    @property
    def has_unsynced(self) -> bool:
        """Whether there is anything for a flush to do."""
        return bool(self._unsynced)

    def configure(self, config: LogConfig) -> None:
        """Takes new settings; they hold from the next append on."""
        was_caching, self.config = self.config.write_caching, config
        for segment in self._segments:
            segment.contiguous = not config.is_compacted
            segment.index_interval_bytes = config.index_interval_bytes
        if config.write_caching and not was_caching:
            self._advance_high_watermark(self._end())

    # Appending.

    def append(
        self, batch: bytearray | memoryview, *, now_ms: int, max_batches: int = 1
    ) -> AppendInfo:
        """Appends a producer's batch to the page cache, at the end of the log.

        The base offset and leader epoch are written into `batch` itself.

        Args:
            batch: One batch of format v2 (or as many as `max_batches`, then without producer ids).
            now_ms: The broker's wall clock.
            max_batches: How many batches there may be; Kafka's rule for clients is one.

        Raises:
            AppendError: Nothing was appended; `code` says why.
        """
        if self.offline is not None:
            raise AppendError(self.offline.code, self.offline.message)
        found = split_batches(batch, max_batches)
        prepared = [
            prepare_batch(batch, position, header, self.config, now_ms)
            for position, header in found
        ]
        if len(prepared) == 1:
            data, header = prepared[0]
            if header.producer_id >= 0:
                repeated = self._check_producer(header)
                if repeated is not None:
                    return repeated
            headers = [(0, self._stamp(data, 0, header, self.log_end_offset))]
        else:
            data, headers = self._join(prepared)
        self._write(data, headers, now_ms)
        return AppendInfo(
            base_offset=headers[0][1].base_offset,
            last_offset=headers[-1][1].last_offset,
            log_append_time_ms=now_ms if self.config.is_log_append_time else -1,
            log_start_offset=self.log_start_offset,
        )

    def _check_producer(self, header: BatchHeader) -> AppendInfo | None:
        if header.is_transactional:
            raise AppendError(
                ErrorCode.INVALID_TXN_STATE,
                f"producer {header.producer_id} has no open transaction on this partition",
            )
        repeated = self.producers.find_duplicate(header)
        if repeated is None:
            self.producers.check(header)
            return None
        return AppendInfo(
            base_offset=repeated.base_offset,
            last_offset=repeated.last_offset,
            log_append_time_ms=repeated.timestamp_ms if self.config.is_log_append_time else -1,
            log_start_offset=self.log_start_offset,
            duplicate=True,
        )

    def _stamp(
        self, data: bytearray | memoryview, position: int, header: BatchHeader, offset: int
    ) -> BatchHeader:
        epoch = self.leader_epoch
        stamp(data, position, offset, epoch)
        return header._replace(base_offset=offset, leader_epoch=epoch)

    def _join(
        self, prepared: list[tuple[bytearray | memoryview, BatchHeader]]
    ) -> tuple[bytearray, list[tuple[int, BatchHeader]]]:
        joined, headers, offset = bytearray(), [], self.log_end_offset
        for data, header in prepared:
            if header.producer_id >= 0:
                raise AppendError(
                    ErrorCode.INVALID_RECORD, "an idempotent producer must send one batch at a time"
                )
            position = len(joined)
            joined += data
            stamped = self._stamp(joined, position, header, offset)
            headers.append((position, stamped))
            offset = stamped.next_offset
        return joined, headers

    def _write(
        self,
        data: bytearray | memoryview,
        headers: list[tuple[int, BatchHeader]],
        now_ms: int,
    ) -> None:
        try:
            active = self._segments[-1]
            if must_roll(active, self.config, self._name, len(data), headers):
                self._roll()
                active = self._segments[-1]
            active.append(data, headers)
        except OSError as error:
            self._refuse(error)
        self._is_refusing = False
        path = active.log_path
        if path not in self._unsynced.files:
            self._unsynced.files[path] = active.file
        self._settled = False
        last = headers[-1][1]
        self.log_end_offset = last.next_offset
        if last.producer_id >= 0:
            self.producers.update(last, now_ms)
        self.on_append(self)
        if self.config.write_caching:
            self._advance_high_watermark(self._end())

    def _refuse(self, error: OSError) -> None:
        """Tells a full disk, which heals, from one that failed, which does not."""
        reason = f"{self._name} could not be written: {error}"
        if error.errno not in (*DISK_FULL, errno.EMFILE, errno.ENFILE):
            logger.critical("%s; nothing more is written to it until the server restarts", reason)
            self.fail(reason)
        elif not self._is_refusing:
            self._is_refusing = True
            logger.error("%s; what is there is served, and writing goes on when it can", reason)
        raise AppendError(ErrorCode.KAFKA_STORAGE_ERROR, reason) from error

    def fail(self, reason: str, code: ErrorCode = ErrorCode.KAFKA_STORAGE_ERROR) -> None:
        """Refuses all appends from now on, with this code."""
        if self.offline is None:
            self.offline = LogOfflineError(
                reason, hint="Check the disk, then start the server again: it recovers the log"
            )
            self.offline.code = code
        self.on_high_watermark(self)

    def _roll(self) -> None:
        """Seals the active segment and begins a new one at the log end.

        The new names reach the disk with the next flush, before anything in the new segment is
        acknowledged. If the disk is full, the active segment stays.
        """
        active, offset = self._segments[-1], self.log_end_offset
        fresh = Segment(
            self._pool,
            self.directory,
            offset,
            self.config.index_interval_bytes,
            contiguous=not self.config.is_compacted,
        )
        fresh.create()
        try:
            for file, suffix in zip(active.seal(), (INDEX, TIME_INDEX), strict=False):
                self._unsynced.files[active.path(suffix)] = file
            snapshot = write_snapshot(self._pool.disk, self.directory, offset, self.producers)
            self._unsynced.files[fresh.path(SNAPSHOT)] = snapshot
        except OSError as error:
            # Indexes and snapshots can be made again from the log, which is sealed nevertheless.
            if error.errno not in DISK_FULL:
                raise
        self._segments.append(fresh)
        self._unsynced.files[fresh.log_path] = fresh.file
        self._unsynced.directory = self._unsynced.sealed = True

    # Flushing.

    def _end(self) -> LogPosition:
        active = self._segments[-1]
        return LogPosition(self.log_end_offset, active.base_offset, active.size)

    def begin_flush(self) -> FlushTicket | None:
        """Returns what to sync so that all of the log so far is on disk; None if it is.

        Takes what was written out of the collection: a ticket must be run, once.
        """
        if not self._unsynced:
            return None
        return self._unsynced.take(self._end(), self.directory)

    def flushed(self, ticket: FlushTicket) -> None:
        """Takes note that a ticket was run without an error."""
        if ticket.end.offset > self._flushed.offset:
            self._flushed = ticket.end
        if not self.config.write_caching:
            self._advance_high_watermark(self._flushed)

    def _advance_high_watermark(self, position: LogPosition) -> None:
        if position.offset > self._high.offset:
            self._high = position
            self.on_high_watermark(self)

    # Reading.

    def read(
        self,
        offset: int,
        max_bytes: int,
        *,
        upper_bound: int | None = None,
        at_least_one: bool = False,
    ) -> LogSlice:
        """Finds the bytes of the batches from `offset` on, within one segment.

        Args:
            offset: Where to begin; inside a batch, the whole batch is given.
            max_bytes: The most to give.
            upper_bound: The offset to stay below: a batch boundary. None is the high watermark;
                replicas pass the log end.
            at_least_one: Whether the first batch is given even if it is larger than `max_bytes`.

        Raises:
            OffsetOutOfRangeError: The offset is below the log start or beyond the log end.
            CorruptSegmentError: What stands there is damaged; it is never served.
        """
        if not self.log_start_offset <= offset <= self.log_end_offset:
            raise OffsetOutOfRangeError(
                f"{self._name} holds offsets {self.log_start_offset} to "
                f"{self.log_end_offset}, not {offset}"
            )
        bound = self._high.offset if upper_bound is None else min(upper_bound, self.log_end_offset)
        if offset >= bound:
            return LogSlice(file=None, position=0, size=0, start_offset=offset)
        known = (self._high, self._flushed, self._end())
        return lookup.slice_from(
            self._segments, offset, bound, max_bytes, known, at_least_one=at_least_one
        )

    def offset_for_timestamp(
        self, timestamp_ms: int, *, upper_bound: int | None = None
    ) -> tuple[int, int] | None:
        """Finds the first record at or after a time: (offset, its timestamp), or None.

        Args:
            timestamp_ms: The time.
            upper_bound: The offset to stay below; None is the high watermark.
        """
        bound = self._high.offset if upper_bound is None else upper_bound
        return lookup.offset_for_timestamp(
            self._segments, self.log_start_offset, bound, timestamp_ms
        )

    def offset_of_max_timestamp(self, *, upper_bound: int | None = None) -> tuple[int, int] | None:
        """Finds the first record that has the largest timestamp: (offset, timestamp), or None."""
        bound = self._high.offset if upper_bound is None else upper_bound
        return lookup.offset_of_max_timestamp(self._segments, self.log_start_offset, bound)

    def end_offset_for_epoch(self, epoch: int) -> tuple[int, int]:
        """Returns (epoch, end offset): the largest known epoch at or below, and where it ended."""
        return self.epochs.end_offset(epoch, self.log_end_offset)

    def begin_leader_epoch(self, epoch: int) -> None:
        """Notes that batches from the log end on are written under a new epoch; blocks to sync."""
        if self.epochs.assign(epoch, self.log_end_offset):
            self._settled = False
            self._write_epochs()

    def _write_epochs(self) -> None:
        self._epochs_changed = False
        disk = self._pool.disk
        write_file_atomically(disk, self.directory, LEADER_EPOCHS, self.epochs.encode())

    # Cutting off.

    def delete_records(self, offset: int) -> int:
        """Moves the log start up to an offset (-1: the high watermark); returns the log start.

        The caller writes the log start down before it tells anybody, and runs retention to free
        the space. Producers are not forgotten: what they may repeat is still to be recognised.

        Raises:
            OffsetOutOfRangeError: The offset is above the high watermark.
        """
        if offset == -1:
            offset = self.high_watermark
        if not 0 <= offset <= self.high_watermark:
            raise OffsetOutOfRangeError(
                f"{self._name} can be deleted up to its high watermark "
                f"{self.high_watermark}, not {offset}"
            )
        if offset > self.log_start_offset:
            self.log_start_offset = offset
            self._settled = False
            self._epochs_changed |= self.epochs.truncate_from_start(offset)
        return self.log_start_offset

    def enforce_retention(self, now_ms: int) -> list[Segment]:
        """Takes the segments out that are too old, too many or below the log start.

        Moves the log start. The caller writes it down, then calls `retire` on each segment.
        """
        extent = LogExtent(self.log_start_offset, self.high_watermark, self.log_end_offset)
        disk = self._pool.disk
        count = count_expired(self._segments, extent, self.config, disk, now_ms)
        if count == 0:
            return []
        if count == len(self._segments):
            # The log keeps its end: what is written next continues the offsets.
            self._roll()
        self._settled = False
        expired, self._segments = self._segments[:count], self._segments[count:]
        start = self._segments[0].base_offset
        if start > self.log_start_offset:
            self.log_start_offset = start
            self._epochs_changed |= self.epochs.truncate_from_start(start)
        self.on_high_watermark(self)
        return expired

    def expire_producers(self, now_ms: int, expiration_ms: int) -> int:
        """Forgets producers that were silent for so long; returns how many."""
        return self.producers.expire(now_ms, expiration_ms)

    # The end.

    def begin_close(self) -> FlushTicket | None:
        """Writes out what the next start wants to find; returns what is to be synced for it.

        Raises:
            OSError: The disk failed; the shutdown is not a clean one.
        """
        if self.offline is not None or self._settled:
            return None
        active, disk, unsynced = self._segments[-1], self._pool.disk, self._unsynced
        for file in active.seal():
            unsynced.files[f"{active.log_path} index {len(unsynced.files)}"] = file
        snapshot = write_snapshot(disk, self.directory, self.log_end_offset, self.producers)
        unsynced.files[f"{active.log_path} snapshot"] = snapshot
        remove_snapshots(disk, self.directory, below=self._segments[0].base_offset)
        if self._epochs_changed:
            self._write_epochs()
        unsynced.directory = self._settled = True
        return self.begin_flush()

    def close(self) -> None:
        """Writes and syncs everything, so that the next start can trust it; blocks."""
        ticket = self.begin_close()
        if ticket is not None:
            ticket.run(self._pool.disk)
            self.flushed(ticket)
        self.release()

    def release(self) -> None:
        """Closes the files that nobody else is using."""
        for segment in self._segments:
            self._pool.forget(segment)
            segment.release()


def _ignore(log: PartitionLog) -> None:
    """Nobody listens."""
