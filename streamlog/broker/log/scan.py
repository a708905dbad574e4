"""Walks over the batches of a segment file, header by header, in bounded memory.

Used to find a batch from an index entry, to rebuild indexes and producer state, to check what a
crash left and what a disk may have changed. A walk stops at the first thing that cannot be a batch
and says where and why; whether that is a torn tail or damage is for the caller to decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.records.batch import HEADER_SIZE, BatchHeader, read_header, verify_crc
from streamlog.records.errors import CorruptRecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.broker.log.disk import DiskFile

HEADERS_CHUNK = 4096 + HEADER_SIZE
"""One read covers what lies between two index entries at the default interval."""
BODIES_CHUNK = 1 << 20


class DamagedBatchError(Exception):
    """What stands at `position` is not a whole batch; `reason` says how it shows."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"at byte {position}: {reason}")
        self.position = position
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ScannedBatch:
    """A batch and where it stands in its file."""

    position: int
    header: BatchHeader

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.position + self.header.size_bytes


@dataclass(frozen=True, slots=True)
class OffsetRule:
    """Which offset the first batch of a walk has, and whether later ones may leave gaps.

    The CRC does not cover a batch's base offset, so the neighbours vouch for it: compaction makes
    gaps, nothing makes an offset go back.
    """

    first: int | None = None
    contiguous: bool = False


ANY_OFFSETS = OffsetRule()


def scan_headers(
    file: DiskFile, position: int, end: int, rule: OffsetRule = ANY_OFFSETS
) -> Iterator[ScannedBatch]:
    """Walks from one batch to the next without reading their records.

    Raises:
        DamagedBatchError: A header is impossible, or the last batch is cut.
    """
    return _scan(file, position, end, rule, whole=False)


def scan_checked(
    file: DiskFile, position: int, end: int, rule: OffsetRule = ANY_OFFSETS
) -> Iterator[ScannedBatch]:
    """Walks over whole batches and checks each one's CRC.

    Raises:
        DamagedBatchError: A header is impossible, a checksum does not match, or the last is cut.
    """
    return _scan(file, position, end, rule, whole=True)


def _scan(
    file: DiskFile, position: int, end: int, rule: OffsetRule, *, whole: bool
) -> Iterator[ScannedBatch]:
    chunk_size = BODIES_CHUNK if whole else HEADERS_CHUNK
    chunk, chunk_start, expected = b"", position, rule.first
    while position < end:
        inside = position - chunk_start
        if inside + HEADER_SIZE > len(chunk):
            chunk_start, inside = position, 0
            chunk = file.pread(min(chunk_size, end - position), position)
        header = _header_at(chunk, inside, position, end)
        base = header.base_offset
        if expected is not None and (base < expected or (rule.contiguous and base > expected)):
            raise DamagedBatchError(position, f"offset {base} where {expected} is next")
        expected = header.next_offset
        size = header.size_bytes
        if whole:
            if inside + size > len(chunk):
                chunk_start, inside = position, 0
                chunk = file.pread(max(size, min(chunk_size, end - position)), position)
                if len(chunk) < size:
                    raise DamagedBatchError(position, f"{size} bytes promised, {len(chunk)} there")
            try:
                verify_crc(chunk, inside, header)
            except CorruptRecordError as error:
                raise DamagedBatchError(position, error.message) from None
        yield ScannedBatch(position, header)
        position += size


def _header_at(chunk: bytes, inside: int, position: int, end: int) -> BatchHeader:
    if inside + HEADER_SIZE > len(chunk):
        raise DamagedBatchError(position, f"{len(chunk) - inside} bytes are too few for a batch")
    try:
        header = read_header(chunk, inside)
    except CorruptRecordError as error:
        raise DamagedBatchError(position, error.message) from None
    if header.magic != 2:
        raise DamagedBatchError(position, f"message format {header.magic} is not version 2")
    if header.size_bytes < HEADER_SIZE or header.last_offset_delta < 0 or header.base_offset < 0:
        raise DamagedBatchError(position, "the header's lengths or offsets are impossible")
    if position + header.size_bytes > end:
        raise DamagedBatchError(
            position, f"a batch of {header.size_bytes} bytes, and {end - position} are left"
        )
    return header


class VerifiedRanges:
    """Which bytes of a file have been checked since the process began; at most a few ranges.

    Bytes that this process wrote or checked need no second look before they are sent.
    """

    __slots__ = ("_ranges",)

    RANGES_MAX = 32

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int]] = []

    def covers(self, start: int, end: int) -> bool:
        """Tells whether all of [start, end) has been checked."""
        return any(low <= start and end <= high for low, high in self._ranges)

    def add(self, start: int, end: int) -> None:
        """Notes that [start, end) has been checked; forgets the oldest if there are too many."""
        touching = [(low, high) for low, high in self._ranges if low <= end and start <= high]
        for found in touching:
            self._ranges.remove(found)
            start, end = min(start, found[0]), max(end, found[1])
        if len(self._ranges) == self.RANGES_MAX:
            del self._ranges[0]
        self._ranges.append((start, end))
