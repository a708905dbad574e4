"""DescribeLogDirs (key 35): the data folder, how full its disk is, and what each partition takes.

Version notes: 2 flexible; 4 total and usable bytes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.describe_log_dirs import (
    DescribeLogDirsPartition,
    DescribeLogDirsResponse,
    DescribeLogDirsResult,
    DescribeLogDirsTopic,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.describe_log_dirs import DescribeLogDirsRequest


def handle_describe_log_dirs(
    request: DescribeLogDirsRequest, context: RequestContext
) -> DescribeLogDirsResponse:
    """Describes the one log directory and the partitions that were asked for."""
    broker = context.broker
    total, usable = _disk_bytes(str(broker.config.data))
    topics: list[DescribeLogDirsTopic] = []
    for name, index in _partitions(request, context):
        log = broker.logs.get(name, index)
        if log is None:
            continue
        if not topics or topics[-1].name != name:
            topics.append(DescribeLogDirsTopic(name=name))
        topics[-1].partitions.append(
            DescribeLogDirsPartition(partition_index=index, partition_size=log.size_bytes)
        )
    result = DescribeLogDirsResult(
        log_dir=str(broker.config.data), topics=topics, total_bytes=total, usable_bytes=usable
    )
    if broker.logs.offline is not None:
        result.error_code = ErrorCode.KAFKA_STORAGE_ERROR
    return DescribeLogDirsResponse(results=[result])


def _partitions(
    request: DescribeLogDirsRequest, context: RequestContext
) -> Iterator[tuple[str, int]]:
    if request.topics is None:
        for topic in context.broker.topics:
            for index in range(topic.partition_count):
                yield topic.name, index
        return
    for wanted in request.topics:
        for index in wanted.partitions:
            yield wanted.topic, index


def _disk_bytes(path: str) -> tuple[int, int]:
    try:
        disk = os.statvfs(path)
    except OSError:
        return -1, -1
    return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
