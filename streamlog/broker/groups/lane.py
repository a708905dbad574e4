"""The one lane from the group coordinator to the store.

Whatever groups want stored goes through it in the order in which it was decided, owned by the
coordinator's own task: a client that hangs up in the middle of its request can neither lose nor
reorder anything. A round takes what has gathered and stores it in one transaction, so that many
clients share one sync; then each job's `finish` brings memory up to what is on disk, in the same
order.

Bounds: a request takes one of `places` before it decides anything, so that deciding and queueing
are one step and a commit cannot be overtaken by a newer generation. Of a group's snapshots only
the newest one waits. Nothing else queues without limit.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import trio

from streamlog.broker.coordination.errors import VersionConflict
from streamlog.broker.groups.storage import delete_group, put_group
from streamlog.errors import StorageError, UsageError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.broker.coordination.store import MetadataStore, Operation
    from streamlog.broker.groups.decision import GroupSnapshot

PLACES = 1024
"""Requests that may have something in the lane at a time; more wait for a place."""
ROUND_JOBS_MAX = 1024
"""The most that share a transaction."""


class Job:
    """Something to store, what to do then, and what came of it."""

    __slots__ = ("done", "error", "finish", "operations")

    def __init__(
        self, operations: Sequence[Operation], finish: Callable[[ErrorCode], None]
    ) -> None:
        self.operations = operations
        self.finish = finish
        self.error = ErrorCode.NONE
        self.done = trio.Event()


class StorageLane:
    """Stores in order; `run` is the task that does it.

    Args:
        store: Where to.
        wall_offset_ms: Returns wall time less monotonic time.
    """

    def __init__(self, store: MetadataStore, wall_offset_ms: Callable[[], int]) -> None:
        self.places = trio.Semaphore(PLACES)
        self._store = store
        self._wall_offset_ms = wall_offset_ms
        self._queue: deque[Job] = deque()
        self._snapshots: dict[str, Job] = {}
        self._wake = trio.Event()
        self._closing = False

    def put(self, operations: Sequence[Operation], finish: Callable[[ErrorCode], None]) -> Job:
        """Queues something to store; `finish` runs when it is durable or has failed."""
        job = Job(operations, finish)
        if self._closing:
            self._end(job, ErrorCode.COORDINATOR_NOT_AVAILABLE)
            return job
        self._queue.append(job)
        self._wake.set()
        return job

    def put_snapshot(
        self, group_id: str, snapshot: GroupSnapshot, finish: Callable[[ErrorCode], None]
    ) -> None:
        """Queues a group's newest state; takes the place of an older one that still waits."""
        operations = put_group(group_id, snapshot, self._wall_offset_ms())
        waiting = self._snapshots.get(group_id)
        if waiting is not None:
            waiting.operations, waiting.finish = operations, finish
        else:
            self._snapshots[group_id] = self.put(operations, finish)

    def put_deletion(self, group_id: str) -> Job:
        """Queues the removal of a group with its offsets."""
        self._snapshots.pop(group_id, None)  # what a group of this name stores later comes after
        return self.put(delete_group(group_id), lambda _error: None)

    def close(self) -> None:
        """Ends `run` once all is stored; what is queued later fails."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Stores what gathers until `close`, and what has gathered by then."""
        with trio.CancelScope(shield=True):  # the disk is what bounds it
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._queue:
                    await self._round()
                if self._closing:
                    return

    async def _round(self) -> None:
        jobs = [self._queue.popleft() for _ in range(min(len(self._queue), ROUND_JOBS_MAX))]
        taken = {id(job) for job in jobs}
        self._snapshots = {
            group_id: job for group_id, job in self._snapshots.items() if id(job) not in taken
        }
        error = await self._transact([each for job in jobs for each in job.operations])
        for job in jobs:
            self._end(job, error)

    def _end(self, job: Job, error: ErrorCode) -> None:
        job.error = error
        job.finish(error)
        job.done.set()

    async def _transact(self, operations: Sequence[Operation]) -> ErrorCode:
        """Stores, or says by which error clients are told that it failed.

        The errors are those that Kafka's coordinator gives when its log refuses: whoever cannot
        store is not the coordinator, and clients look for another one.
        """
        try:
            await self._store.transact(operations)
        except (StorageError, VersionConflict):
            return ErrorCode.NOT_COORDINATOR
        except UsageError:
            return ErrorCode.INVALID_COMMIT_OFFSET_SIZE
        return ErrorCode.NONE
