"""Takes a log directory into use: whose it is, what was going on when the last server ended.

All of it blocks, and runs before anything is served. A partition that cannot be opened is set apart
with its error and stops nobody else; nothing of it is changed.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.broker.log.checkpoints import (
    MetaProperties,
    ensure_meta_properties,
    read_offsets,
    read_partition_metadata,
    write_offsets,
)
from streamlog.broker.log.disk import DISK_FULL, DiskLockedError, join
from streamlog.broker.log.errors import LogDirLockedError
from streamlog.broker.log.names import (
    CLEAN_SHUTDOWN,
    HIGH_WATERMARKS,
    LOCK,
    LOG,
    LOG_STARTS,
    RECOVERY_POINTS,
    is_departing_dir,
    parse_partition_dir,
)
from streamlog.broker.log.recovery import Opening, Recovered, open_partition
from streamlog.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.broker.log.checkpoints import TopicPartition
    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.disk import Disk, DiskLock
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.broker.log.pool import FilePool

logger = logging.getLogger("streamlog.broker")

CLUSTER_METADATA = "__cluster_metadata"
"""Apache Kafka's own metadata log, in folders that it wrote; not a topic."""


@dataclass(slots=True, kw_only=True)
class LogDirectory:
    """A log directory in use, and what was found in it."""

    path: str
    lock: DiskLock
    properties: MetaProperties
    was_clean: bool
    """Whether the last server said that it had put everything in order."""
    logs: dict[TopicPartition, PartitionLog] = field(default_factory=dict)
    failures: dict[TopicPartition, StorageError] = field(default_factory=dict)
    """Partitions that could not be opened, and why."""
    recovered: list[Recovered] = field(default_factory=list)
    """What opening did to the partitions of which something was cut."""


def lock_directory(disk: Disk, path: str) -> DiskLock:
    """Makes a directory ours alone.

    Raises:
        LogDirLockedError: Another server works on it; the message names its process.
        StorageError: It cannot be made or written to.
    """
    try:
        _make_durable(disk, os.path.abspath(path))
        return disk.lock(join(path, LOCK))
    except DiskLockedError as error:
        who = f"process {error.pid}" if error.pid else "another process"
        raise LogDirLockedError(
            f"the data directory {path} is in use by {who}",
            hint="Stop that server first, or give this one another directory",
        ) from None
    except OSError as error:
        raise StorageError(
            f"the data directory {path} cannot be used: {error}",
            hint="Give the server a directory that it may write to",
        ) from error


def _make_durable(disk: Disk, path: str) -> None:
    """Makes a directory and its parents so that loss of power does not take any of them."""
    if disk.exists(path):
        return
    parent = os.path.dirname(path)
    _make_durable(disk, parent)
    disk.make_dir(path)
    disk.sync_dir(parent)


def open_directory(
    pool: FilePool,
    path: str,
    *,
    cluster_id: str | None,
    node_id: int,
    config_of: Callable[[str], LogConfig],
    now_ms: int,
) -> LogDirectory:
    """Locks a log directory and opens every partition in it.

    Raises:
        LogDirLockedError: Another server works on it.
        StorageError: It belongs to another cluster or node, or its checkpoints are damaged.
    """
    disk = pool.disk
    lock = lock_directory(disk, path)
    try:
        properties = ensure_meta_properties(disk, path, cluster_id, node_id)
        was_clean = disk.exists(join(path, CLEAN_SHUTDOWN))
        found = LogDirectory(path=path, lock=lock, properties=properties, was_clean=was_clean)
        # The marker goes before the first write: from here on a crash must be noticed.
        disk.unlink(join(path, CLEAN_SHUTDOWN))
        disk.sync_dir(path)
        _open_partitions(pool, found, config_of, now_ms)
        _forget_absent(disk, found)
    except OSError as error:
        lock.release()
        raise StorageError(f"the data directory {path} cannot be used: {error}") from error
    except BaseException:
        lock.release()
        raise
    return found


def _forget_absent(disk: Disk, found: LogDirectory) -> None:
    """Writes the checkpoints without entries of partitions that are gone.

    A later partition of the same name would be judged by them.
    """
    for name in (RECOVERY_POINTS, LOG_STARTS, HIGH_WATERMARKS):
        offsets = _read_checkpoint(disk, found.path, name)
        kept = {
            key: at for key, at in offsets.items() if key in found.logs or key in found.failures
        }
        if kept == offsets:
            continue
        try:
            write_offsets(disk, found.path, name, kept)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            logger.warning("%s/%s was not written: %s", found.path, name, error)


def _open_partitions(
    pool: FilePool, found: LogDirectory, config_of: Callable[[str], LogConfig], now_ms: int
) -> None:
    disk, path = pool.disk, found.path
    points = _read_checkpoint(disk, path, RECOVERY_POINTS)
    starts = _read_checkpoint(disk, path, LOG_STARTS)
    for name in disk.list_dir(path):
        if is_departing_dir(name, "delete"):
            disk.remove_tree(join(path, name))
            continue
        parsed = parse_partition_dir(name)
        if parsed is None or parsed[0] == CLUSTER_METADATA:
            continue
        if _is_unfinished(disk, join(path, name)):
            disk.remove_tree(join(path, name))
            continue
        topic, partition = parsed
        opening = Opening(
            topic=topic,
            partition=partition,
            directory=join(path, name),
            config=config_of(topic),
            clean=found.was_clean,
            recovery_point=points.get(parsed, 0),
            log_start_offset=starts.get(parsed, 0),
            now_ms=now_ms,
        )
        _open_one(pool, found, opening)


def _open_one(pool: FilePool, found: LogDirectory, opening: Opening) -> None:
    key = (opening.topic, opening.partition)
    try:
        found.logs[key], recovered = open_partition(pool, opening)
    except (StorageError, OSError) as error:
        failure = error if isinstance(error, StorageError) else StorageError(str(error))
        found.failures[key] = failure
        logger.error("%s-%d stays closed: %s", *key, failure)
        return
    if recovered.bytes_cut:
        found.recovered.append(recovered)
        logger.warning(
            "%s-%d ends at offset %d; %d bytes behind it were cut: %s",
            *key,
            recovered.log_end_offset,
            recovered.bytes_cut,
            recovered.reason,
        )


def _read_checkpoint(disk: Disk, path: str, name: str) -> dict[TopicPartition, int]:
    try:
        return read_offsets(disk, path, name)
    except StorageError as error:
        raise StorageError(
            error.message,
            hint="Restore it, or remove it to read all segments again and start each log at "
            "its oldest segment",
        ) from error


def _is_unfinished(disk: Disk, directory: str) -> bool:
    """Tells whether a partition's directory was being made when the server ended.

    The topic id is written last. Older servers wrote none, but a log with records is never taken
    for an unfinished one.
    """
    try:
        if read_partition_metadata(disk, directory) is not None:
            return False
    except StorageError:
        return False
    logs = [name for name in disk.list_dir(directory) if name.endswith(LOG)]
    return all(disk.size(join(directory, name)) == 0 for name in logs)
