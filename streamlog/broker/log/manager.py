"""All partitions of one log directory: the trio shell around `PartitionLog`.

`async with open_log_manager(...) as logs` locks the directory, recovers what is in it and runs the
flush rounds, retention and checkpoints until the block is left; then everything is written out and
marked as shut down in order. Appends and reads go to a `PartitionLog` directly; what may block for
longer runs in threads.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.broker.log.checkpoints import (
    read_partition_metadata,
    write_offsets,
    write_partition_metadata,
)
from streamlog.broker.log.config import LogConfig
from streamlog.broker.log.disk import join, write_file_atomically
from streamlog.broker.log.names import (
    CLEAN_SHUTDOWN,
    HIGH_WATERMARKS,
    LOG_STARTS,
    RECOVERY_POINTS,
    departing_dir,
    partition_dir,
)
from streamlog.broker.log.pool import FILES_MAX, FilePool
from streamlog.broker.log.recovery import Opening, new_partition, write_new_partition
from streamlog.broker.log.removals import Removals
from streamlog.broker.log.rounds import (
    SYNC_THREADS,
    FlushRounds,
    FlushStatistics,
    run_all,
    run_tickets,
)
from streamlog.broker.log.startup import LogDirectory, open_directory
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from streamlog.broker.log.checkpoints import MetaProperties, TopicPartition
    from streamlog.broker.log.disk import Disk
    from streamlog.broker.log.errors import LogOfflineError
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.broker.log.recovery import Recovered
    from streamlog.doors import Clock, Threads

logger = logging.getLogger("streamlog.broker")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogManagerConfig:
    """The settings of a log directory as a whole."""

    cluster_id: str | None = None
    """None takes the directory's, or makes one up for a new directory."""
    node_id: int = 1
    default_config: LogConfig = field(default_factory=LogConfig)
    """The settings of topics that are in the directory and not in `topic_configs`."""
    topic_configs: Mapping[str, LogConfig] = field(default_factory=dict)
    retention_check_interval_s: float = 300.0
    checkpoint_interval_s: float = 5.0
    """How often recovery points are written down, if anything was written; what lies above one is
    read again after a crash."""
    write_caching_flush_interval_s: float = 1.0
    """How often logs with `write.caching` are synced behind their producers' backs."""
    producer_expiration_ms: int = 24 * 60 * 60 * 1000
    """After how long a silence a producer's sequence is forgotten (`producer.id.expiration.ms`)."""
    open_files_max: int = FILES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStatistics:
    """Numbers about the log directory."""

    partitions: int
    failed_partitions: int
    open_files: int
    files_to_delete: int
    flush: FlushStatistics


class LogManager:
    """The partitions of one log directory; made by `open_log_manager`."""

    def __init__(
        self,
        found: LogDirectory,
        pool: FilePool,
        threads: Threads,
        clock: Clock,
        config: LogManagerConfig,
    ) -> None:
        self._found = found
        self._logs = found.logs
        self._pool = pool
        self._disk = pool.disk
        self._threads = threads
        self._clock = clock
        self._config = config
        self._rounds = FlushRounds(found.path, pool.disk, threads, found.logs)
        self._callbacks: list[Callable[[PartitionLog], None]] = []
        self._cached: dict[PartitionLog, None] = {}
        self._checkpoint_due = True
        self._removals = Removals(pool.disk, threads)
        for log in found.logs.values():
            self._attach(log)

    @property
    def path(self) -> str:
        """The log directory."""
        return self._found.path

    @property
    def properties(self) -> MetaProperties:
        """The cluster, node and directory ids."""
        return self._found.properties

    @property
    def was_clean(self) -> bool:
        """Whether the server before us had shut down in order."""
        return self._found.was_clean

    @property
    def recovered(self) -> list[Recovered]:
        """What was cut off at the start."""
        return self._found.recovered

    @property
    def failures(self) -> Mapping[TopicPartition, StorageError]:
        """Partitions that could not be opened, and why."""
        return self._found.failures

    @property
    def offline(self) -> LogOfflineError | None:
        """Why nothing is written any more, if that is so."""
        return self._rounds.offline

    def statistics(self) -> LogStatistics:
        """Returns numbers about the directory."""
        return LogStatistics(
            partitions=len(self._logs),
            failed_partitions=len(self.failures),
            open_files=len(self._pool),
            files_to_delete=len(self._removals),
            flush=self._rounds.statistics(),
        )

    # Partitions.

    def get(self, topic: str, partition: int) -> PartitionLog | None:
        """Returns a partition's log; None if there is none or it is one of `failures`."""
        return self._logs.get((topic, partition))

    def topics(self) -> dict[str, uuid.UUID | None]:
        """Returns the topics that have open logs here, with the id of the first partition."""
        return {topic: log.topic_id for (topic, _), log in sorted(self._logs.items(), reverse=True)}

    async def found_topics(self) -> dict[str, tuple[int, uuid.UUID | None]]:
        """Returns each topic's partitions and id, as its directories say, `failures` among them."""
        ids = dict(self.topics())

        def read_ids() -> None:
            for key in self.failures:
                if ids.get(key[0]) is None:
                    with contextlib.suppress(StorageError, OSError):
                        ids[key[0]] = read_partition_metadata(self._disk, self._directory_of(*key))

        await self._threads.run(read_ids)
        counts: dict[str, int] = {}
        for topic, partition in (*self._logs, *self.failures):
            counts[topic] = max(counts.get(topic, 0), partition + 1)
        return {topic: (count, ids.get(topic)) for topic, count in sorted(counts.items())}

    async def create(
        self, topic: str, topic_id: uuid.UUID, partition_count: int, config: LogConfig
    ) -> None:
        """Makes sure that a topic's partitions exist; they are on disk when it returns.

        Partitions that are there stay as they are; logs of the same name and another topic id are
        moved aside (`-stray`). Not to be called twice at once for one topic.

        Raises:
            StorageError: The disk failed or is full; no partition was added.
        """
        if self.offline is not None:
            raise self.offline
        with trio.CancelScope(shield=True):
            await self._set_aside_strangers(topic, topic_id)
            keys = [(topic, partition) for partition in range(partition_count)]
            missing = [key for key in keys if key not in self._logs and key not in self.failures]
            await self._make_directories(missing, topic_id)
        for name, partition in missing:
            opening = Opening(
                topic=name,
                partition=partition,
                directory=self._directory_of(name, partition),
                config=config,
                clean=True,
                now_ms=self._clock.wall_ms(),
            )
            log = new_partition(self._pool, opening, topic_id)
            self._logs[name, partition] = log
            self._attach(log)
        self.set_config(topic, config)

    def _directory_of(self, topic: str, partition: int) -> str:
        return join(self.path, partition_dir(topic, partition))

    async def _make_directories(self, keys: list[TopicPartition], topic_id: uuid.UUID) -> None:
        directories = [self._directory_of(*key) for key in keys]
        shares = [directories[first::SYNC_THREADS] for first in range(SYNC_THREADS)]

        def make(share: list[str]) -> None:
            for directory in share:
                # What a failed attempt left; a directory with a log would be among ours.
                self._disk.remove_tree(directory)
                write_new_partition(self._disk, directory, topic_id)

        def unmake() -> None:
            for directory in directories:
                self._disk.remove_tree(directory)

        error = await run_all([partial(make, share) for share in shares], self._threads)
        if error is None:
            error = await run_all([partial(self._disk.sync_dir, self.path)], self._threads)
        if error is not None:
            await run_all([unmake], self._threads)  # what stays, the next try or start removes
            raise StorageError(f"{self.path} takes no new logs: {error}") from error

    async def _set_aside_strangers(self, topic: str, topic_id: uuid.UUID) -> None:
        moved = False
        for (name, _), log in list(self._logs.items()):
            if name != topic or log.topic_id == topic_id:
                continue
            if log.topic_id is None:
                write = partial(write_partition_metadata, self._disk, log.directory, topic_id)
                await self._threads.run(write)
                log.topic_id = topic_id
            else:
                logger.warning("%s belonged to topic id %s", log.directory, log.topic_id)
                await self._remove(log, "stray")
                moved = True
        if moved:
            await self._rounds.wait_checkpoint()

    async def delete(self, topic: str) -> None:
        """Deletes a topic's logs; when this returns they are gone even after a crash.

        Raises:
            StorageError: The disk failed; what is left is removed at the next start or try.
        """
        with trio.CancelScope(shield=True):
            for (name, _), log in list(self._logs.items()):
                if name == topic:
                    await self._remove(log, "delete")
            await self._rounds.wait_checkpoint()

    async def set_aside(self, topic: str) -> None:
        """Takes a topic out that nobody claims: its directories are renamed `-stray` and kept."""
        with trio.CancelScope(shield=True):
            for (name, _), log in list(self._logs.items()):
                if name == topic:
                    await self._remove(log, "stray")
            await self._rounds.wait_checkpoint()

    async def _remove(self, log: PartitionLog, ending: str) -> None:
        del self._logs[log.topic, log.partition]
        self._cached.pop(log, None)
        log.fail(f"topic {log.topic} was deleted", ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        self._rounds.withdraw(log)
        await self._rounds.wait_idle()
        try:
            await self._remove_dir(log, ending)
        except OSError as error:
            raise StorageError(f"{log.directory} could not be removed: {error}") from error

    async def _remove_dir(self, log: PartitionLog, ending: str) -> None:
        name = departing_dir(log.topic, log.partition, uuid.uuid4().hex, ending)
        target = join(self.path, name)

        def move() -> None:
            self._disk.rename(log.directory, target)
            self._disk.sync_dir(self.path)

        log.release()
        await self._threads.run(move)
        if ending == "delete":
            self._removals.add(target, 0)

    def set_config(self, topic: str, config: LogConfig) -> None:
        """Gives a topic's logs new settings."""
        for (name, _), log in self._logs.items():
            if name == topic:
                log.configure(config)

    # Flushing.

    def request_flush(self, log: PartitionLog) -> None:
        """Lets the next round sync a log; appends ask for it themselves."""
        self._rounds.request_flush(log)

    async def wait_flushed(self, log: PartitionLog, offset: int) -> None:
        """Returns once everything below an offset may be acknowledged.

        Raises:
            LogOfflineError: It never will be: the disk failed, or the topic was deleted.
        """
        await self._rounds.wait_flushed(log, offset)

    def on_high_watermark(self, callback: Callable[[PartitionLog], None]) -> None:
        """Registers who is told when a log's watermark or start moved, or it went offline."""
        self._callbacks.append(callback)

    def _attach(self, log: PartitionLog) -> None:
        log.on_append = self._appended
        log.on_high_watermark = self._moved

    def _appended(self, log: PartitionLog) -> None:
        self._checkpoint_due = True
        if log.config.write_caching:
            self._cached[log] = None
        else:
            self._rounds.request_flush(log)

    def _moved(self, log: PartitionLog) -> None:
        for callback in self._callbacks:
            callback(log)

    # Cutting off.

    async def delete_records(self, log: PartitionLog, offset: int) -> int:
        """Moves a log's start (offset -1: to the watermark); durable when it returns the start.

        Raises:
            OffsetOutOfRangeError: The offset is above the high watermark.
            LogError: The disk failed or is full.
        """
        await self._rounds.wait_flushed(log, log.high_watermark)
        start = log.delete_records(offset)
        await self._rounds.wait_checkpoint()
        await self._retire(log)
        return start

    async def enforce_retention(self) -> int:
        """Removes what is too old or too much in all logs; returns how many segments went."""
        now_ms = self._clock.wall_ms()
        count = 0
        for log in list(self._logs.values()):
            log.expire_producers(now_ms, self._config.producer_expiration_ms)
            count += await self._retire(log)
        return count

    async def _retire(self, log: PartitionLog) -> int:
        if log.offline is not None:
            return 0
        try:
            expired = log.enforce_retention(self._clock.wall_ms())
            if not expired:
                return 0
            # The new start is on disk before the old segments go, so it can never go back.
            await self._rounds.wait_checkpoint()
            for segment in expired:
                for path in segment.retire():
                    self._removals.add(path, log.config.file_delete_delay_ms / 1000)
        except (StorageError, OSError) as error:
            logger.error("retention of %s-%d: %s", log.topic, log.partition, error)
            return 0
        logger.info(
            "%s-%d begins at offset %d: %d segments went",
            log.topic,
            log.partition,
            log.log_start_offset,
            len(expired),
        )
        return len(expired)

    # Tasks.

    async def run(self) -> None:
        """Runs the rounds and the periodic work until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._rounds.run)
            nursery.start_soon(self._run_checkpoints)
            nursery.start_soon(self._run_retention)
            nursery.start_soon(self._run_cached_flushes)
            nursery.start_soon(self._removals.run)

    async def _run_checkpoints(self) -> None:
        while self.offline is None:
            await trio.sleep(self._config.checkpoint_interval_s)
            if self._checkpoint_due:
                self._checkpoint_due = False
                with contextlib.suppress(StorageError):  # reported where it happened
                    await self._rounds.wait_checkpoint()

    async def _run_retention(self) -> None:
        while self.offline is None:
            await trio.sleep(self._config.retention_check_interval_s)
            await self.enforce_retention()

    async def _run_cached_flushes(self) -> None:
        while True:
            await trio.sleep(self._config.write_caching_flush_interval_s)
            cached, self._cached = self._cached, {}
            for log in cached:
                self._rounds.request_flush(log)

    # The end.

    async def close(self) -> None:
        """Writes everything out and marks the directory as shut down in order."""
        try:
            tickets = [(log, log.begin_close()) for log in self._logs.values()]
            begun = [ticket for _, ticket in tickets if ticket is not None]
            error = await run_tickets(begun, self._disk, self._threads)
            if error is not None:
                raise error
            is_fine = self.offline is None and not self.failures
            if is_fine and all(log.offline is None for log in self._logs.values()):
                await self._threads.run(self._mark_clean)
        except OSError as error:
            logger.error("%s was not shut down in order: %s", self.path, error)
        finally:
            for log in self._logs.values():
                log.release()
            self._found.lock.release()

    def _mark_clean(self) -> None:
        self._write_checkpoints()
        marker = b'{"version":0,"brokerEpoch":-1}'
        write_file_atomically(self._disk, self.path, CLEAN_SHUTDOWN, marker)

    def _write_checkpoints(self) -> None:
        ends = {key: log.log_end_offset for key, log in self._logs.items()}
        starts = {key: log.log_start_offset for key, log in self._logs.items()}
        write_offsets(self._disk, self.path, RECOVERY_POINTS, ends)
        write_offsets(self._disk, self.path, HIGH_WATERMARKS, ends)
        write_offsets(
            self._disk, self.path, LOG_STARTS, {key: at for key, at in starts.items() if at > 0}
        )


@contextlib.asynccontextmanager
async def open_log_manager(
    data_dir: Path,
    disk: Disk,
    threads: Threads,
    clock: Clock,
    config: LogManagerConfig | None = None,
) -> AsyncIterator[LogManager]:
    """Opens all logs of a directory; entering blocks until they are recovered.

    Leaving writes everything out, also when cancelled.

    Args:
        data_dir: The log directory; made if it is not there.
        disk: The file system.
        threads: Where blocking calls run.
        clock: The wall clock.
        config: Settings of the directory and of the topics in it.

    Raises:
        LogDirLockedError: Another server works on the directory.
        StorageError: The directory is another node's, or its checkpoints are damaged.
    """
    config = config or LogManagerConfig()
    pool = FilePool(disk, files_max=config.open_files_max)
    found = await threads.run(
        partial(
            open_directory,
            pool,
            str(data_dir),
            cluster_id=config.cluster_id,
            node_id=config.node_id,
            config_of=lambda topic: config.topic_configs.get(topic, config.default_config),
            now_ms=clock.wall_ms(),
        )
    )
    logs = LogManager(found, pool, threads, clock, config)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(logs.run)
            yield logs
            nursery.cancel_scope.cancel()
    finally:
        with trio.CancelScope(shield=True):
            await logs.close()
