"""What the log's tests share: batches, and a partition on a disk without a server around it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fake_disk import FakeDisk

from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.pool import FilePool
from streamlog.broker.log.recovery import (
    Opening,
    Recovered,
    new_partition,
    open_partition,
    write_new_partition,
)
from streamlog.records.batch import Codec
from streamlog.records.codec import decode_batches, encode_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.log.disk import Disk
    from streamlog.broker.log.log_parts import AppendInfo
    from streamlog.broker.log.partition_log import PartitionLog

NOW_MS = 1_760_000_000_000
TOPIC_ID = uuid.UUID("6f1d2c3b-0a4e-4c5d-9e8f-112233445566")
DIRECTORY = "/data/orders-0"


def batch_of(
    *values: bytes,
    timestamps: Sequence[int] | None = None,
    keys: Sequence[bytes | None] | None = None,
    codec: Codec = Codec.NONE,
    producer: tuple[int, int, int] = (-1, -1, -1),
    base_offset: int = 0,
    is_transactional: bool = False,
) -> bytearray:
    """Returns a batch as a producer sends it; `producer` is (id, epoch, first sequence)."""
    times = list(timestamps) if timestamps is not None else [NOW_MS] * len(values)
    return encode_batch(
        list(keys) if keys is not None else [None] * len(values),
        list(values),
        times,
        codec=codec,
        base_offset=base_offset,
        producer_id=producer[0],
        producer_epoch=producer[1],
        base_sequence=producer[2],
        is_transactional=is_transactional,
    )


def numbered(first: int, count: int = 1, size: int = 20) -> bytearray:
    """Returns a batch whose values say their own offset, if they are appended in order."""
    return batch_of(*((b"%d" % n).ljust(size) for n in range(first, first + count)))


@dataclass
class Partition:
    """One partition, its disk and what a checkpoint would say of it."""

    disk: Disk = field(default_factory=FakeDisk)
    config: LogConfig = field(default_factory=LogConfig)
    directory: str = DIRECTORY
    recovery_point: int = 0
    log_start_offset: int = 0
    files_max: int = 256
    number: int = 0
    report: Recovered | None = None

    def create(self) -> PartitionLog:
        """Makes the partition, all of it on disk."""
        write_new_partition(self.disk, self.directory, TOPIC_ID)
        parent = self.directory.rsplit("/", 1)[0]
        self.disk.sync_dir(parent)
        self.disk.sync_dir(parent.rsplit("/", 1)[0] or "/")
        return new_partition(self._pool(), self._opening(clean=True), TOPIC_ID)

    def open(self, *, clean: bool = False) -> PartitionLog:
        """Opens it as a server's start does."""
        log, self.report = open_partition(self._pool(), self._opening(clean=clean))
        return log

    def _pool(self) -> FilePool:
        return FilePool(self.disk, files_max=self.files_max)

    def _opening(self, *, clean: bool) -> Opening:
        return Opening(
            topic="orders",
            partition=self.number,
            directory=self.directory,
            config=self.config,
            clean=clean,
            recovery_point=self.recovery_point,
            log_start_offset=self.log_start_offset,
            now_ms=NOW_MS,
        )


def append(log: PartitionLog, *values: bytes, now_ms: int = NOW_MS) -> AppendInfo:
    """Appends one batch of values."""
    return log.append(batch_of(*values), now_ms=now_ms)


def fill(log: PartitionLog, count: int, *, per_batch: int = 1, size: int = 20) -> None:
    """Appends records that say their own offset, and flushes."""
    for _ in range(count // per_batch):
        log.append(numbered(log.log_end_offset, per_batch, size), now_ms=NOW_MS)
    flush(log)


def flush(log: PartitionLog) -> None:
    """Does what a flush round does for one log."""
    ticket = log.begin_flush()
    if ticket is not None:
        ticket.run(log.pool.disk)
        log.flushed(ticket)


def read_all(
    log: PartitionLog, offset: int | None = None, *, upper_bound: int | None = None
) -> dict[int, bytes | None]:
    """Reads from an offset (default: the start) to the watermark; returns values by offset."""
    found: dict[int, bytes | None] = {}
    at = log.log_start_offset if offset is None else offset
    bound = log.high_watermark if upper_bound is None else upper_bound
    while at < bound:
        part = log.read(at, 1 << 20, upper_bound=bound, at_least_one=True)
        columns, after = decode_batches(part.read(), fetch_offset=at)
        assert after > at, "a read below the watermark must give something"
        found.update(zip(columns.offsets, columns.values, strict=True))
        at = after
    return found


def assert_numbered(found: dict[int, bytes | None], start: int, end: int) -> None:
    """Checks that records are there from start to end, each with its own number."""
    assert list(found) == list(range(start, end))
    for offset, value in found.items():
        assert value is not None
        assert int(value) == offset
