"""Reads the partitions of a fetch, in the order of the request and within its limits.

The first partition that has anything gives at least one whole batch, however large, so that a
consumer never stands still; the later ones keep to what is left. Order is the client's business: it
rotates its partitions so that each comes first in turn.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.broker.log.errors import LogError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from streamlog.broker.handlers.fetch_sessions import WantedPartition
    from streamlog.broker.log.log_slice import LogSlice
    from streamlog.broker.log.manager import LogManager
    from streamlog.broker.log.partition_log import PartitionLog

logger = logging.getLogger("streamlog.broker")

NO_EPOCH = -1


@dataclass(slots=True)
class PartitionRead:
    """What one partition gave."""

    wanted: WantedPartition
    error_code: ErrorCode = ErrorCode.NONE
    log: PartitionLog | None = None
    high_watermark: int = -1
    log_start_offset: int = -1
    records: LogSlice | None = None

    @property
    def size(self) -> int:
        """How many bytes of records there are."""
        return self.records.size if self.records is not None else 0


@dataclass(slots=True)
class FetchRead:
    """What all partitions gave."""

    partitions: list[PartitionRead]
    size: int
    has_errors: bool


def read_partitions(
    logs: LogManager, wanted_partitions: list[WantedPartition], bytes_max: int, *, version: int
) -> FetchRead:
    """Reads every partition once."""
    reads: list[PartitionRead] = []
    size = 0
    has_errors = False
    for wanted in wanted_partitions:
        read = _read(logs, wanted, bytes_max - size, is_first=size == 0, version=version)
        size += read.size
        has_errors = has_errors or read.error_code is not ErrorCode.NONE
        reads.append(read)
    return FetchRead(reads, size, has_errors)


def check_leader_epoch(requested: int, current: int) -> ErrorCode:
    """Fences a client whose view of the leader is older or newer than ours (KIP-320)."""
    if requested in (NO_EPOCH, current):
        return ErrorCode.NONE
    if requested < current:
        return ErrorCode.FENCED_LEADER_EPOCH
    return ErrorCode.UNKNOWN_LEADER_EPOCH


def code_of_missing(logs: LogManager, topic: str, partition: int) -> ErrorCode:
    """Tells a partition that does not exist from one whose files could not be opened."""
    if (topic, partition) in logs.failures:
        return ErrorCode.KAFKA_STORAGE_ERROR
    return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


def _read(
    logs: LogManager, wanted: WantedPartition, bytes_left: int, *, is_first: bool, version: int
) -> PartitionRead:
    log = logs.get(wanted.topic, wanted.partition)
    if log is None:
        return PartitionRead(wanted, code_of_missing(logs, wanted.topic, wanted.partition))
    code = check_leader_epoch(wanted.leader_epoch, log.leader_epoch)
    if code is not ErrorCode.NONE:
        return PartitionRead(wanted, code)
    if version < ZSTD_VERSION_MIN and log.config.compression_type == "zstd":
        return PartitionRead(wanted, ErrorCode.UNSUPPORTED_COMPRESSION_TYPE)
    high_watermark = log.high_watermark
    records = None
    try:
        if wanted.fetch_offset >= high_watermark:
            if wanted.fetch_offset > log.log_end_offset:
                return PartitionRead(wanted, ErrorCode.OFFSET_OUT_OF_RANGE)
        elif bytes_left > 0 or is_first:
            records = log.read(
                wanted.fetch_offset,
                max(min(bytes_left, wanted.bytes_max), 0),
                upper_bound=high_watermark,
                at_least_one=is_first,
            )
        elif wanted.fetch_offset < log.log_start_offset:
            return PartitionRead(wanted, ErrorCode.OFFSET_OUT_OF_RANGE)
    except LogError as error:
        if error.code is not ErrorCode.OFFSET_OUT_OF_RANGE:
            logger.error("cannot read %s-%d: %s", wanted.topic, wanted.partition, error)
        return PartitionRead(wanted, error.code)
    except OSError as error:
        logger.error("cannot read %s-%d: %s", wanted.topic, wanted.partition, error)
        return PartitionRead(wanted, ErrorCode.KAFKA_STORAGE_ERROR)
    return PartitionRead(
        wanted,
        log=log,
        high_watermark=high_watermark,
        log_start_offset=log.log_start_offset,
        records=records,
    )


ZSTD_VERSION_MIN = 10
"""Older fetches say that their client does not know zstd."""
