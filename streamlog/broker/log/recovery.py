"""Opens a partition's directory: finishes what a crash interrupted, and finds the end of the log.

After a clean shutdown the indexes are trusted and only the last batches are read again. After
any other end, every segment from the recovery point on is read whole: batches, checksums,
offsets; the indexes, producers and leader epochs are made anew from it.

What cannot be read there is judged by the recovery point, the offset up to which the data is
known to have been on disk. At or above it, it is a torn tail: it was never acknowledged, or the
machine lost power with `write.caching`; the file is cut there, later segments go, and the report
says what went. Below it, something damaged what had been safe: nothing is cut, the partition
stays closed, and the error names file, position and reason. For that to hold when a segment has
just been sealed, the recovery point is written down after the sealed segment was synced and
before anything behind it is acknowledged (see `flush`).

All of this may be interrupted and repeated; it ends with everything that it made synced.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.broker.log.checkpoints import read_partition_metadata, write_partition_metadata
from streamlog.broker.log.disk import DISK_FULL, join, read_file, write_file_atomically
from streamlog.broker.log.epochs import LeaderEpochs
from streamlog.broker.log.errors import CorruptSegmentError
from streamlog.broker.log.log_parts import LogParts
from streamlog.broker.log.names import (
    CLEANED,
    DELETED,
    INDEX,
    LEADER_EPOCHS,
    LOG,
    SNAPSHOT,
    SWAP,
    TEMPORARY,
    TIME_INDEX,
    offset_name,
    parse_offset_name,
)
from streamlog.broker.log.partition_log import PartitionLog
from streamlog.broker.log.producers import ProducerStates
from streamlog.broker.log.scan import (
    DamagedBatchError,
    OffsetRule,
    ScannedBatch,
    scan_checked,
    scan_headers,
)
from streamlog.broker.log.segment import Segment
from streamlog.broker.log.snapshots import load_newest_snapshot, remove_snapshots
from streamlog.errors import StorageError

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator

    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.disk import Disk
    from streamlog.broker.log.pool import FilePool

REFILL_BYTES = 4 << 20
"""How much of the log's end is looked through for the last batches of each producer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is known of a partition before its directory is opened."""

    topic: str
    partition: int
    directory: str
    config: LogConfig
    clean: bool
    """Whether the server was shut down in order."""
    recovery_point: int = 0
    log_start_offset: int = 0
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """What opening a partition did to it."""

    topic: str
    partition: int
    log_end_offset: int
    bytes_cut: int = 0
    reason: str = ""
    """Why something was cut, with the file and position."""


def write_new_partition(disk: Disk, directory: str, topic_id: uuid.UUID) -> None:
    """Makes a partition's directory with an empty log; blocks until all of it is on disk.

    The topic id is written last: a directory without one was not finished.
    """
    disk.make_dir(directory)
    for suffix in (LOG, INDEX, TIME_INDEX):
        disk.open(join(directory, offset_name(0, suffix)), create=True).close()
    epochs = disk.open(join(directory, LEADER_EPOCHS), create=True)
    epochs.pwrite(_first_epoch().encode(), 0)
    epochs.datasync()
    write_partition_metadata(disk, directory, topic_id)


def new_partition(pool: FilePool, opening: Opening, topic_id: uuid.UUID) -> PartitionLog:
    """Returns the log of a partition that `write_new_partition` made; does not block."""
    parts = LogParts(
        directory=opening.directory,
        topic_id=topic_id,
        segments=[_segment(pool, opening, 0)],
        log_start_offset=0,
        log_end_offset=0,
        producers=ProducerStates(),
        epochs=_first_epoch(),
        settled=True,
    )
    return PartitionLog(opening.topic, opening.partition, opening.config, pool, parts)


def _first_epoch() -> LeaderEpochs:
    epochs = LeaderEpochs()
    epochs.assign(0, 0)
    return epochs


def open_partition(pool: FilePool, opening: Opening) -> tuple[PartitionLog, Recovered]:
    """Opens the log in a directory; blocks.

    Raises:
        StorageError: What is there cannot be trusted; the message names the file.
    """
    return _Opener(pool, opening).open()


def _segment(pool: FilePool, opening: Opening, base_offset: int) -> Segment:
    config = opening.config
    return Segment(
        pool,
        opening.directory,
        base_offset,
        config.index_interval_bytes,
        contiguous=not config.is_compacted,
    )


@contextmanager
def _unless_full() -> Iterator[None]:
    """Goes on without files that can be made again from the log, if the disk has no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise


class _Opener:
    """The steps of opening one partition, and what they hand to one another."""

    def __init__(self, pool: FilePool, opening: Opening) -> None:
        self.pool = pool
        self.disk = pool.disk
        self.opening = opening
        self.directory = opening.directory
        self.segments: list[Segment] = []
        self.producers = ProducerStates()
        self.epochs = LeaderEpochs()
        self.epochs_stale = False
        self.log_end_offset = 0
        self.settled = False
        self.bytes_cut = 0
        self.reason = ""

    def open(self) -> tuple[PartitionLog, Recovered]:
        opening = self.opening
        self._finish_removals()
        self.segments = self._find_segments()
        self._load_epochs()
        if not self.segments:
            self._require(opening.recovery_point <= opening.log_start_offset, "no segment is left")
            self._begin_at(opening.log_start_offset)
        else:
            self.settled = opening.clean and self._trust_indexes()
            if not self.settled:
                self._recover()
        self._require_recovery_point()
        if self.log_end_offset < opening.log_start_offset:
            # Deleted up to an end that was in the page cache only when the power failed.
            self.settled = False
            self._drop(list(self.segments))
            self._begin_at(opening.log_start_offset)
        if not self.settled:
            self._settle()
        start = max(opening.log_start_offset, self.segments[0].base_offset)
        self.epochs.truncate_from_start(start)
        parts = LogParts(
            directory=self.directory,
            topic_id=read_partition_metadata(self.disk, self.directory),
            segments=self.segments,
            log_start_offset=start,
            log_end_offset=self.log_end_offset,
            producers=self.producers,
            epochs=self.epochs,
            settled=self.settled,
        )
        log = PartitionLog(opening.topic, opening.partition, opening.config, self.pool, parts)
        return log, Recovered(
            topic=opening.topic,
            partition=opening.partition,
            log_end_offset=self.log_end_offset,
            bytes_cut=self.bytes_cut,
            reason=self.reason,
        )

    # What is there.

    def _finish_removals(self) -> None:
        for name in self.disk.list_dir(self.directory):
            if name.endswith((DELETED, CLEANED, TEMPORARY)):
                self.disk.unlink(join(self.directory, name))
            elif name.endswith(SWAP):
                raise StorageError(
                    f"{join(self.directory, name)} is left of a compaction that did not finish",
                    hint="Start the server that wrote it once: it finishes the compaction",
                )

    def _find_segments(self) -> list[Segment]:
        parsed = list(map(parse_offset_name, self.disk.list_dir(self.directory)))
        bases = sorted(found[0] for found in parsed if found is not None and found[1] == LOG)
        for found in parsed:
            if found is not None and found[1] not in (LOG, SNAPSHOT) and found[0] not in bases:
                self.disk.unlink(join(self.directory, offset_name(*found)))
        return [_segment(self.pool, self.opening, base) for base in bases]

    def _load_epochs(self) -> None:
        path = join(self.directory, LEADER_EPOCHS)
        try:
            self.epochs = LeaderEpochs.decode(read_file(self.disk, path), path)
        except (FileNotFoundError, StorageError):
            # Every batch bears its epoch.
            self.epochs_stale = True

    def _begin_at(self, offset: int) -> None:
        segment = _segment(self.pool, self.opening, offset)
        segment.create()
        self.segments = [segment]
        self.log_end_offset = offset
        self.producers = ProducerStates()
        self.epochs.truncate_from_end(offset)

    # After a clean shutdown.

    def _trust_indexes(self) -> bool:
        """Reads only the batches behind the last index entry; False if that does not add up."""
        active = self.segments[-1]
        try:
            position, entry_offset = active.index.entry_below(1 << 62)
            first = None if position else active.base_offset
            rule = OffsetRule(first, active.contiguous)
            tail = list(scan_checked(active.file, position, active.size, rule))
        except (DamagedBatchError, CorruptSegmentError):
            return False
        if position and tail[0].header.last_offset > entry_offset:
            return False
        self.log_end_offset = tail[-1].header.next_offset if tail else active.base_offset
        snapshot, producers = load_newest_snapshot(self.disk, self.directory, self.log_end_offset)
        if max(0, snapshot) != self.log_end_offset or self.epochs_stale:
            return False
        active.resume(position, [batch.header for batch in tail])
        self.producers = producers
        self._refill_producers()
        return True

    # After any other end.

    def _recover(self) -> None:
        """Reads everything from the recovery point on, and cuts at the first torn batch."""
        bases = [segment.base_offset for segment in self.segments]
        point = self.opening.recovery_point
        first = max([slot for slot, base in enumerate(bases) if base <= point], default=0)
        snapshot, self.producers = load_newest_snapshot(self.disk, self.directory, bases[first])
        replay_from = max([slot for slot, base in enumerate(bases) if base <= snapshot], default=0)
        if self.epochs_stale:
            replay_from = 0
        self._replay_headers(self.segments[replay_from:first], snapshot)
        self.log_end_offset = self.segments[first].base_offset
        for slot, segment in list(enumerate(self.segments))[first:]:
            if segment.base_offset < self.log_end_offset and segment.size == 0:
                self._drop([segment])  # begun when the disk ran full, and never used
                continue
            if segment.base_offset < self.log_end_offset:
                raise CorruptSegmentError(
                    segment.log_path, 0, f"it begins before {self.log_end_offset}, where it should"
                )
            if self._is_gap_before(segment, is_first=slot == first):
                self._cut_gap(slot)
                break
            damage = self._recover_segment(segment, snapshot)
            if damage is not None:
                self._cut(slot, damage)
                break
        self._refill_producers()

    def _replay_headers(self, segments: list[Segment], snapshot: int) -> None:
        """Brings producers and epochs from an older snapshot up to where recovery begins."""
        for segment in segments:
            with segment.naming_damage():
                for batch in scan_headers(segment.file, 0, segment.size):
                    self._note(batch, snapshot)

    def _recover_segment(self, segment: Segment, snapshot: int) -> DamagedBatchError | None:
        """Reads a segment whole and makes its indexes; returns the damage that ended it early."""
        first = segment.base_offset if segment.contiguous else None
        rule = OffsetRule(first, segment.contiguous)
        end, damage = 0, None
        try:
            for batch in segment.rebuilding(scan_checked(segment.file, 0, segment.size, rule)):
                if batch.header.base_offset < self.log_end_offset:
                    raise DamagedBatchError(
                        batch.position,
                        f"offset {batch.header.base_offset} where {self.log_end_offset} is next",
                    )
                self._note(batch, snapshot)
                self.log_end_offset = batch.header.next_offset
                end = batch.end
        except DamagedBatchError as error:
            damage = error
        if damage is None:
            segment.verified.add(0, segment.size)
            self._sync(segment)
            return None
        if self.log_end_offset < self.opening.recovery_point:
            raise CorruptSegmentError(segment.log_path, damage.position, damage.reason)
        segment.verified.add(0, end)
        return damage

    def _is_gap_before(self, segment: Segment, *, is_first: bool) -> bool:
        """Tells whether the end of the segment before is missing, just at a batch's boundary."""
        is_gap = segment.contiguous and not is_first and segment.base_offset > self.log_end_offset
        if is_gap and self.log_end_offset < self.opening.recovery_point:
            reason = f"offsets {self.log_end_offset} to {segment.base_offset - 1} are missing"
            raise CorruptSegmentError(segment.log_path, 0, reason)
        return is_gap

    def _cut_gap(self, slot: int) -> None:
        later = self.segments[slot:]
        self.bytes_cut = sum(segment.size for segment in later)
        self.reason = f"{later[0].log_path} does not continue offset {self.log_end_offset}"
        self._drop(later)

    def _cut(self, slot: int, damage: DamagedBatchError) -> None:
        segment, later = self.segments[slot], self.segments[slot + 1 :]
        self.bytes_cut = segment.size - damage.position + sum(other.size for other in later)
        self.reason = f"{segment.log_path} at byte {damage.position}: {damage.reason}"
        self._drop(later)
        self.disk.sync_dir(self.directory)  # before the segment ends well without them
        segment.cut(damage.position)
        segment.rebuild_indexes()
        self._sync(segment)

    def _drop(self, segments: list[Segment]) -> None:
        # From the last to the first: a crash in between must not leave a gap.
        for segment in reversed(segments):
            self.segments.remove(segment)
            for path in segment.retire():
                self.disk.unlink(path)

    def _note(self, batch: ScannedBatch, snapshot: int) -> None:
        header = batch.header
        if header.leader_epoch >= 0 and header.leader_epoch > self.epochs.latest:
            self.epochs_stale = True
            self.epochs.assign(header.leader_epoch, header.base_offset)
        if header.producer_id < 0 or header.base_offset < snapshot:
            return
        if header.is_control:
            self.producers.end_transaction(header, -1, self.opening.now_ms)
        else:
            self.producers.update(header, self.opening.now_ms)

    def _refill_producers(self) -> None:
        """Finds the earlier batches of producers of which the snapshot knows only the last."""
        if not len(self.producers):
            return
        budget = REFILL_BYTES
        for segment in reversed(self.segments):
            start = segment.index.position_at_or_before(max(0, segment.size - budget))
            try:
                headers = [item.header for item in scan_headers(segment.file, start, segment.size)]
            except DamagedBatchError:
                return
            for header in reversed(headers):
                if header.producer_id >= 0 and not header.is_control:
                    self.producers.refill(header)
            budget -= segment.size - start
            if budget <= 0 or segment.base_offset <= self.opening.log_start_offset:
                return

    # The end.

    def _sync(self, segment: Segment) -> None:
        with _unless_full():
            for file in segment.write_indexes():
                file.datasync()
        segment.file.datasync()

    def _settle(self) -> None:
        """Leaves a directory that says nothing else than what was found."""
        remove_snapshots(self.disk, self.directory, above=self.log_end_offset)
        if self.epochs.truncate_from_end(max(1, self.log_end_offset)) or self.epochs_stale:
            with _unless_full():
                write_file_atomically(
                    self.disk, self.directory, LEADER_EPOCHS, self.epochs.encode()
                )
        self.disk.sync_dir(self.directory)

    def _require_recovery_point(self) -> None:
        point = self.opening.recovery_point
        if self.log_end_offset < point and self.opening.log_start_offset < point:
            segment = self.segments[-1]
            raise CorruptSegmentError(
                segment.log_path,
                segment.size,
                f"it ends at offset {self.log_end_offset}, and {point} had been flushed",
            )

    def _require(self, condition: bool, reason: str) -> None:
        if not condition:
            raise CorruptSegmentError(self.directory, 0, reason)
