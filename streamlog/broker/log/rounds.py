"""Group commit: one round of syncing at a time per log directory, for all partitions together.

A round covers every batch written before it began: it takes a ticket from each log that has
unsynced data, syncs the tickets' files in threads, writes checkpoints that were asked for, and
then tells the logs and everybody who waits. Batches that arrive meanwhile wait for the next
round, which begins at once. So the number of syncs depends on the disk's speed and not on the
number of producers.

Checkpoint files are written by rounds only, so nobody else need take turns with them. A recovery
point is written down in the very round that synced what it claims.

A sync that fails may have lost data that the system believes to be written (and a repetition would
succeed without writing it), so the first failure ends all writing in this directory, for good.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.broker.log.checkpoints import write_offsets
from streamlog.broker.log.errors import LogError, LogOfflineError
from streamlog.broker.log.names import HIGH_WATERMARKS, LOG_STARTS, RECOVERY_POINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.broker.log.checkpoints import TopicPartition
    from streamlog.broker.log.disk import Disk
    from streamlog.broker.log.flush import FlushTicket
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.doors import Threads

logger = logging.getLogger("streamlog.broker")

SYNC_THREADS = 4
"""File systems merge syncs that run side by side; more than a few gain nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushStatistics:
    """What the rounds have done so far."""

    rounds: int
    files_synced: int
    seconds_last: float
    """How long the last round took."""


@dataclass(slots=True)
class _Round:
    """What one round is to do."""

    tickets: list[tuple[PartitionLog, FlushTicket]]
    checkpoints: dict[str, dict[TopicPartition, int]]
    checkpoints_asked: int
    """The number of the last request that the checkpoints answer."""


class FlushRounds:
    """Runs the rounds of one log directory.

    Args:
        directory: The log directory.
        disk: Its file system.
        threads: Where syncing may block.
        logs: All open logs, for the checkpoints; owned by the caller, who changes it as it goes.
    """

    def __init__(
        self,
        directory: str,
        disk: Disk,
        threads: Threads,
        logs: Mapping[TopicPartition, PartitionLog],
    ) -> None:
        self.offline: LogOfflineError | None = None
        self._directory = directory
        self._disk = disk
        self._threads = threads
        self._logs = logs
        self._dirty: dict[PartitionLog, None] = {}
        self._checkpoints_asked = self._checkpoints_done = 0
        self._checkpoint_error: OSError | None = None
        self._stopped: LogOfflineError | None = None
        self._work = trio.Event()
        self._round_done = trio.Event()
        self._running = False
        self._rounds = 0
        self._files_synced = 0
        self._seconds_last = 0.0

    def statistics(self) -> FlushStatistics:
        """Returns counters."""
        return FlushStatistics(
            rounds=self._rounds, files_synced=self._files_synced, seconds_last=self._seconds_last
        )

    def request_flush(self, log: PartitionLog) -> None:
        """Lets the next round sync a log; returns at once."""
        self._dirty[log] = None
        self._work.set()

    def withdraw(self, log: PartitionLog) -> None:
        """Takes a log out that is going away, and wakes who waits for it."""
        self._dirty.pop(log, None)
        self._wake_waiters()

    async def wait_flushed(self, log: PartitionLog, offset: int) -> None:
        """Returns once everything below an offset is on disk (or need not be: `write.caching`).

        Raises:
            LogOfflineError: It never will be.
        """
        await trio.lowlevel.checkpoint()
        while log.flushed_offset < offset and log.high_watermark < offset:
            offline = log.offline or self.offline or self._stopped
            if offline is not None:
                raise offline
            if log.has_unsynced:  # else the round that runs has it
                self.request_flush(log)
            await self._round_done.wait()

    async def wait_checkpoint(self) -> None:
        """Returns once the logs' recovery points and starts, as they are now, are written down.

        Raises:
            LogError: The disk failed, or is full.
        """
        self._checkpoints_asked += 1
        number = self._checkpoints_asked
        self._work.set()
        while self._checkpoints_done < number:
            offline = self.offline or self._stopped
            if offline is not None:
                raise offline
            await self._round_done.wait()
        if self._checkpoint_error is not None:
            raise LogError(f"a checkpoint was not written: {self._checkpoint_error}")

    async def wait_idle(self) -> None:
        """Returns once the round that may be running is done.

        A log that was withdrawn before is in no round after.
        """
        await trio.lowlevel.checkpoint()
        number = self._rounds + 1
        while self._running and self._rounds < number:
            await self._round_done.wait()

    async def run(self) -> None:
        """Runs rounds for as long as the directory is fine."""
        try:
            while self.offline is None:
                await self._work.wait()
                self._work = trio.Event()
                work = self._begin()
                if work.tickets or work.checkpoints:
                    await self._run_round(work)
        finally:
            # Whoever waits under a shield would wait for ever.
            self._stopped = LogOfflineError(f"the server of {self._directory} is stopping")
            self._wake_waiters()

    def _begin(self) -> _Round:
        dirty, self._dirty = self._dirty, {}
        tickets = []
        for log in dirty:
            ticket = log.begin_flush()
            if ticket is not None:
                tickets.append((log, ticket))
        wants_all = self._checkpoints_asked > self._checkpoints_done
        wants_points = wants_all or any(ticket.seals for _, ticket in tickets)
        checkpoints: dict[str, dict[TopicPartition, int]] = {}
        if wants_points:
            ends = {log: ticket.end.offset for log, ticket in tickets}
            points = {key: ends.get(log, log.flushed_offset) for key, log in self._logs.items()}
            checkpoints[RECOVERY_POINTS] = points
        if wants_all:
            starts = {key: log.log_start_offset for key, log in self._logs.items()}
            checkpoints[LOG_STARTS] = {key: start for key, start in starts.items() if start > 0}
            marks = {key: min(log.high_watermark, points[key]) for key, log in self._logs.items()}
            checkpoints[HIGH_WATERMARKS] = marks
        return _Round(tickets, checkpoints, self._checkpoints_asked)

    async def _run_round(self, work: _Round) -> None:
        self._running = True
        began = trio.current_time()
        try:
            with trio.CancelScope(shield=True):  # the threads cannot be stopped either
                error = await self._sync(work)
        finally:
            self._running = False
        self._rounds += 1
        self._seconds_last = trio.current_time() - began
        if error is not None:
            self.fail(error)
            return
        for log, ticket in work.tickets:
            self._files_synced += len(ticket.files)
            log.flushed(ticket)
        self._checkpoints_done = work.checkpoints_asked
        self._wake_waiters()

    async def _sync(self, work: _Round) -> OSError | None:
        tickets = [ticket for _, ticket in work.tickets]
        error = await run_tickets(tickets, self._disk, self._threads)
        if work.checkpoints and error is None:
            await self._write_checkpoints(work.checkpoints)
        return error

    async def _write_checkpoints(self, checkpoints: dict[str, dict[TopicPartition, int]]) -> None:
        """Writes what was asked for; a disk without space keeps the older values, which are safe.

        An older recovery point only means that more is read at recovery, an older log start that
        segments stay which nobody asks for; so this failure is reported and no more.
        """
        self._checkpoint_error = None
        for name, offsets in checkpoints.items():
            write = partial(write_offsets, self._disk, self._directory, name, offsets)
            try:
                await self._threads.run(write)
            except OSError as error:
                self._checkpoint_error = error
                logger.warning("%s/%s was not written: %s", self._directory, name, error)

    def fail(self, error: OSError) -> None:
        """Ends all writing in this directory: what was written last may be lost."""
        reason = f"the log directory {self._directory} failed: {error}"
        logger.critical("%s; nothing more is written until the server is started again", reason)
        self.offline = LogOfflineError(
            reason, hint="Check the disk, then start the server again: it recovers the logs"
        )
        for log in self._logs.values():
            log.fail(reason)
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        done, self._round_done = self._round_done, trio.Event()
        done.set()


async def run_tickets(tickets: list[FlushTicket], disk: Disk, threads: Threads) -> OSError | None:
    """Runs tickets side by side in a few threads; returns the first failure."""

    def run(share: list[FlushTicket]) -> None:
        for ticket in share:
            ticket.run(disk)

    shares = [tickets[first::SYNC_THREADS] for first in range(min(SYNC_THREADS, len(tickets)))]
    return await run_all([partial(run, share) for share in shares], threads)


async def run_all(calls: list[Callable[[], None]], threads: Threads) -> OSError | None:
    """Runs blocking calls side by side; returns the first failure once all are done."""
    errors: list[OSError] = []

    async def run(call: Callable[[], None]) -> None:
        try:
            await threads.run(call)
        except OSError as error:
            errors.append(error)

    if len(calls) == 1:
        await run(calls[0])
    else:
        async with trio.open_nursery() as nursery:
            for call in calls:
                nursery.start_soon(run, call)
    return errors[0] if errors else None
