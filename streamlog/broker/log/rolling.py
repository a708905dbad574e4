"""When a segment is full: by its size, the time that it spans, its index, or its offsets.

The span is counted by the records' timestamps, from the first batch on, as Kafka does: a topic that
takes a year of old events in a minute has as many segments as one that took them over the year.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from streamlog.broker.log.index import NO_TIMESTAMP

if TYPE_CHECKING:
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.records.batch import BatchHeader

INT32_MAX = (1 << 31) - 1
"""The largest offset relative to the segment's base that an index entry can hold."""


def must_roll(log: PartitionLog, size: int, headers: list[tuple[int, BatchHeader]]) -> bool:
    """Tells whether batches of `size` bytes must go to a new segment; `headers` are stamped."""
    active, config = log.segments[-1], log.config
    if active.size == 0:
        return False
    if active.size + size > config.segment_bytes:
        return True
    if headers[-1][1].last_offset - active.base_offset > INT32_MAX:
        return True
    newest_ms = max(header.max_timestamp for _, header in headers)
    if NO_TIMESTAMP not in (active.first_timestamp_ms, newest_ms):
        span_ms = newest_ms - active.first_timestamp_ms
        if span_ms > config.segment_ms - jitter_ms(log):
            return True
    return active.index_size >= config.segment_index_bytes


def jitter_ms(log: PartitionLog) -> int:
    """Returns what is taken off `segment.ms`: drawn from the partition's name and last roll."""
    config = log.config
    if not config.segment_jitter_ms:
        return 0
    seed = f"{log.topic}-{log.partition}-{log.segments[-1].base_offset}".encode()
    return zlib.crc32(seed) % min(config.segment_jitter_ms, config.segment_ms)
