"""Finding things in a partition: the bytes from an offset on, the offset of a time.

All of it is reading: index, a few headers, and for a question about single records the one batch
that holds the answer.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import partial
from operator import attrgetter, eq, le
from typing import TYPE_CHECKING

from streamlog.broker.log.errors import CorruptSegmentError
from streamlog.broker.log.index import NO_TIMESTAMP
from streamlog.broker.log.log_slice import LogSlice
from streamlog.broker.log.scan import scan_headers
from streamlog.broker.log.validation import DECODED_BYTES_MAX
from streamlog.records.batch import verify_crc
from streamlog.records.codec import decode_batch
from streamlog.records.errors import BatchTooLargeError, CorruptRecordError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.broker.log.flush import LogPosition
    from streamlog.broker.log.scan import ScannedBatch
    from streamlog.broker.log.segment import Segment


_base_offset = attrgetter("base_offset")


def slice_from(
    segments: Sequence[Segment],
    offset: int,
    bound: int,
    max_bytes: int,
    known: Sequence[LogPosition],
    *,
    at_least_one: bool,
) -> LogSlice:
    """Returns the batches from `offset` on in one segment.

    Args:
        segments: The log, oldest first.
        offset: Where to begin: at or above the log start, and below `bound`.
        bound: The offset to stay below, at most the log end.
        max_bytes: The most to give.
        known: Where some bounds are; the log end is among them.
        at_least_one: Whether the first batch is given even if it is larger than `max_bytes`.
    """
    segment, found = _first_batch(segments, offset)
    active = segments[-1]
    is_behind = segment is not active
    if found is None or found.header.base_offset >= bound:
        return LogSlice(file=None, position=0, size=0, start_offset=offset, is_behind=is_behind)
    start = found.position
    end = segment.size
    if not is_behind or bound < active.base_offset:
        end = _position_of_bound(segment, bound, known)
    available = end - start
    size = min(max_bytes, available)
    if found.header.size_bytes > size:
        size = found.header.size_bytes if at_least_one else 0
    elif size < available:
        # Ending at a boundary saves sending the cut batch twice.
        boundary = segment.index.position_at_or_before(start + size)
        size = boundary - start if boundary > start else size
    if size:
        size = segment.verified_size(start, size)
    return LogSlice(
        file=segment.file if size else None,
        position=start,
        size=size,
        start_offset=offset,
        available_bytes=available,
        is_behind=is_behind,
    )


def _slot_of(segments: Sequence[Segment], offset: int) -> int:
    """Which segment holds an offset, counted from the oldest."""
    return max(0, bisect_right(segments, offset, key=_base_offset) - 1)


def _first_batch(segments: Sequence[Segment], offset: int) -> tuple[Segment, ScannedBatch | None]:
    """Finds the batch that holds an offset, or the next one in its segment or a later one."""
    slot = _slot_of(segments, offset)
    while True:
        segment = segments[slot]
        found = segment.locate(offset)
        if found is not None or slot == len(segments) - 1:
            return segment, found
        following = segments[slot + 1].base_offset
        if segment.contiguous and offset < following:
            raise CorruptSegmentError(
                segment.log_path, segment.size, f"offsets {offset} to {following - 1} are missing"
            )
        slot += 1


def _position_of_bound(segment: Segment, bound: int, known: Sequence[LogPosition]) -> int:
    """Where in a segment the batches below `bound` end."""
    for each in known:
        if each.offset == bound and each.segment_base == segment.base_offset:
            return each.position
    found = segment.locate(bound)
    return segment.size if found is None else found.position


def offset_for_timestamp(
    segments: Sequence[Segment], start: int, bound: int, timestamp_ms: int
) -> tuple[int, int] | None:
    """Finds the first record at or after a time, from `start` to below `bound`."""
    for segment in segments[_slot_of(segments, start) :]:
        if segment.largest_timestamp[0] < timestamp_ms:
            continue
        from_offset = max(start, segment.time_index.offset_below(timestamp_ms))
        found = _search(segment, from_offset, start, bound, partial(le, timestamp_ms))
        if found is not None:
            return found
    return None


def offset_of_max_timestamp(
    segments: Sequence[Segment], start: int, bound: int
) -> tuple[int, int] | None:
    """Finds the first record with the largest timestamp, from `start` to below `bound`."""
    candidates = [
        segment for segment in segments[_slot_of(segments, start) :] if segment.base_offset < bound
    ]
    candidates.sort(key=lambda segment: -segment.largest_timestamp[0])  # stable: oldest first
    best: tuple[int, int] | None = None
    for segment in candidates:
        largest_ms = segment.largest_timestamp[0]
        if largest_ms == NO_TIMESTAMP or (best is not None and best[1] >= largest_ms):
            break
        from_offset = max(start, segment.time_index.offset_below(largest_ms))
        found = _search(segment, from_offset, start, bound, partial(eq, largest_ms))
        found = found or _largest(segment, start, bound)
        if found is not None and (best is None or found[1] > best[1]):
            best = found
    return best


def _search(
    segment: Segment, from_offset: int, start: int, bound: int, wanted: Callable[[int], bool]
) -> tuple[int, int] | None:
    """Returns the first record in [start, bound) whose timestamp is wanted."""
    first = segment.locate(from_offset)
    if first is None:
        return None
    with segment.naming_damage():
        for batch in scan_headers(segment.file, first.position, segment.size):
            header = batch.header
            if header.base_offset >= bound:
                return None
            if header.last_offset < start or not wanted(header.max_timestamp):
                continue
            for offset, time in _records(segment, batch, start, bound):
                if wanted(time):
                    return offset, time
    return None


def _largest(segment: Segment, start: int, bound: int) -> tuple[int, int] | None:
    """Returns the first record with the largest timestamp in [start, bound), by headers.

    Needed only while the segment's largest lies outside of that range.
    """
    best: tuple[int, int] | None = None
    with segment.naming_damage():
        for batch in scan_headers(segment.file, 0, segment.size):
            header = batch.header
            if header.base_offset >= bound:
                break
            if header.last_offset < start or (best and header.max_timestamp <= best[1]):
                continue
            records = _records(segment, batch, start, bound)
            found = min(records, key=lambda record: (-record[1], record[0]), default=None)
            if found is not None and (best is None or found[1] > best[1]):
                best = found
    return best


def _records(
    segment: Segment, batch: ScannedBatch, start: int, bound: int
) -> list[tuple[int, int]]:
    """Returns (offset, timestamp) of the records of a batch that lie in [start, bound)."""
    header = batch.header
    data = segment.file.pread(header.size_bytes, batch.position)
    try:
        verify_crc(data, 0, header)
        if header.is_log_append_time:
            first = max(header.base_offset, start)
            return [(first, header.max_timestamp)] if first < bound else []
        columns = decode_batch(data, 0, header, bytes_max=DECODED_BYTES_MAX)
    except (CorruptRecordError, BatchTooLargeError) as error:
        raise CorruptSegmentError(segment.log_path, batch.position, error.message) from None
    pairs = zip(columns.offsets, columns.timestamps, strict=True)
    return [(offset, time) for offset, time in pairs if start <= offset < bound]
