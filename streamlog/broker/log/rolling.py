"""When a segment is full: by its size, the time that it spans, its index, or its offsets.

The span is counted by the records' timestamps, from the first batch on, as Kafka does: a topic that
takes a year of old events in a minute has as many segments as one that took them over the year.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from streamlog.broker.log.index import NO_TIMESTAMP

if TYPE_CHECKING:
    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.segment import Segment
    from streamlog.records.batch import BatchHeader

INT32_MAX = (1 << 31) - 1
"""The largest offset relative to the segment's base that an index entry can hold."""


def must_roll(
    active: Segment,
    config: LogConfig,
    partition: str,
    size: int,
    headers: list[tuple[int, BatchHeader]],
) -> bool:
    """Tells whether batches must go to a new segment.

    Args:
        active: The segment that is written.
        config: The topic's settings.
        partition: The partition's name.
        size: Of the batches, in bytes.
        headers: Theirs, stamped.
    """
    if active.size == 0:
        return False
    if active.size + size > config.segment_bytes:
        return True
    if headers[-1][1].last_offset - active.base_offset > INT32_MAX:
        return True
    newest_ms = max(header.max_timestamp for _, header in headers)
    if NO_TIMESTAMP not in (active.first_timestamp_ms, newest_ms):
        span_ms = newest_ms - active.first_timestamp_ms
        if span_ms > config.segment_ms - jitter_ms(active, config, partition):
            return True
    return active.index_size >= config.segment_index_bytes


def jitter_ms(active: Segment, config: LogConfig, partition: str) -> int:
    """Returns what is taken off `segment.ms`: drawn from the partition's name and last roll."""
    if not config.segment_jitter_ms:
        return 0
    seed = f"{partition}-{active.base_offset}".encode()
    return zlib.crc32(seed) % min(config.segment_jitter_ms, config.segment_ms)
