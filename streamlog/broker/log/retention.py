"""Which segments a partition may do without: decided from the oldest on, never above the watermark.

By time, a segment's age is that of its newest record, so one record with a timestamp far in the
future keeps its own segment and no other, and one far in the past removes nothing that is newer. By
size, whole segments go while what remains is still at least `retention.bytes`. Segments that lie
below the log start (DeleteRecords) go under any policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.log.index import NO_TIMESTAMP

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.broker.log.pool import FilePool
    from streamlog.broker.log.segment import Segment


def count_expired(log: PartitionLog, now_ms: int) -> int:
    """Returns how many of the oldest segments go; all of them if even the newest is too old."""
    segments, config = log.segments, log.config
    ends = [segment.base_offset for segment in segments[1:]] + [log.log_end_offset]
    by_time = config.deletes and config.retention_ms >= 0
    by_size = config.deletes and config.retention_bytes >= 0
    excess = log.size_bytes - config.retention_bytes if by_size else -1
    for count, (segment, end) in enumerate(zip(segments, ends, strict=True)):
        is_active = count == len(segments) - 1
        if end > log.high_watermark or (is_active and segment.size == 0):
            return count
        excess -= segment.size
        if not is_active and end <= log.log_start_offset:
            continue
        if by_size and excess >= 0:
            continue
        if by_time and now_ms - age_reference_ms(segment, log.pool) > config.retention_ms:
            continue
        return count
    return len(segments)


def age_reference_ms(segment: Segment, pool: FilePool) -> int:
    """Returns the time that a segment's age counts from: its newest record's, else its file's."""
    newest_ms = segment.largest_timestamp[0]
    return newest_ms if newest_ms != NO_TIMESTAMP else pool.disk.modified_ms(segment.log_path)
