"""Which segments a partition may do without: decided from the oldest on, never above the watermark.

By time, a segment's age is that of its newest record, so one record with a timestamp far in the
future keeps its own segment and no other, and one far in the past removes nothing that is newer. By
size, whole segments go while what remains is still at least `retention.bytes`. Segments that lie
below the log start (DeleteRecords) go under any policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from streamlog.broker.log.index import NO_TIMESTAMP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.disk import Disk
    from streamlog.broker.log.segment import Segment


class LogExtent(NamedTuple):
    """The three offsets that matter of a log."""

    log_start: int
    high_watermark: int
    log_end: int


def count_expired(
    segments: Sequence[Segment], extent: LogExtent, config: LogConfig, disk: Disk, now_ms: int
) -> int:
    """Returns how many of the oldest segments go; all of them if even the newest is too old."""
    ends = [segment.base_offset for segment in segments[1:]] + [extent.log_end]
    by_time = config.deletes and config.retention_ms >= 0
    by_size = config.deletes and config.retention_bytes >= 0
    excess = -1
    if by_size:
        excess = sum(segment.size for segment in segments) - config.retention_bytes
    for count, (segment, end) in enumerate(zip(segments, ends, strict=True)):
        is_active = count == len(segments) - 1
        if end > extent.high_watermark or (is_active and segment.size == 0):
            return count
        excess -= segment.size
        if not is_active and end <= extent.log_start:
            continue
        if by_size and excess >= 0:
            continue
        if by_time and now_ms - age_reference_ms(segment, disk) > config.retention_ms:
            continue
        return count
    return len(segments)


def age_reference_ms(segment: Segment, disk: Disk) -> int:
    """Returns the time that a segment's age counts from: its newest record's, else its file's."""
    newest_ms = segment.largest_timestamp[0]
    return newest_ms if newest_ms != NO_TIMESTAMP else disk.modified_ms(segment.log_path)
