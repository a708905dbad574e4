"""The five steps of a checkpoint, in the one order in which a crash between any two is harmless.

1. Produce what the task has put out, and wait until all of it is acknowledged.
2. Produce the changed state to the changelog, closed by its marker: one batch, or several that
   count only with their marker.
3. Wait until that is acknowledged, and check that nobody else has written to the changelog since.
4. Commit state, input positions and the undo history in one LMDB transaction. Now and then a part
   of a snapshot is copied behind it; that is no step, and nothing waits for it.
5. Commit the input positions to the group, with the checkpoint's number beside them.

Outputs are acknowledged *before* the marker is sent, not together with it: a changelog that has the
marker says that the inputs up to there are done with, and whoever restores from it never reads them
again.

Step 3's check is the fence on this side. A task's changelog is its owner's alone, so each write
begins where the last one ended. If it does not, a newer owner has put its fence there, and what we
hold is not the state any more: `FencedError`, and the local store stays as it was.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.errors import StreamlogError
from streamlog.processing.worker.copies import Copy, write_copy
from streamlog.records.errors import BatchTooLargeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamlog.client.producer.delivery import RangeDelivery
    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import OffsetAndMetadata, TopicPartition
    from streamlog.doors import Threads
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.task import Task
    from streamlog.processing.worker.task_values import Checkpoint

logger = logging.getLogger(__name__)

DELIVERIES_MAX = 256
"""Unacknowledged sends of one task; beyond that it waits for the oldest half."""

RECORD_OVERHEAD_BYTES = 32
BATCH_BYTES = 700_000
"""Of a changelog batch, well below what topics take; a larger checkpoint is split."""


class FencedError(StreamlogError):
    """Another worker has taken the task over."""


@dataclass(slots=True)
class RunningTask:
    """A task that this worker runs, with what is under way for it."""

    task: Task
    changelog: TopicPartition
    changelog_next: int
    """Where our next write to the changelog must begin."""
    store: TaskStore | None = None
    """The task's, to tell its size; tests run tasks without."""
    identity: str = ""
    """Of the changelog's topic."""
    size: tuple[int, int] | None = None
    """Of the state at the last checkpoint: rows, and bytes on disk."""
    deliveries: list[RangeDelivery] = field(default_factory=list)
    uncommitted: dict[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)
    """What the group has yet to be told of the last checkpoint."""
    held: set[TopicPartition] = field(default_factory=set)
    """Inputs of which no more is fetched for now: too much waits for others."""
    ended: bool = False
    """Set once it has failed or is another worker's: nothing of it may be written any more."""


async def send_outputs(running: RunningTask, producer: Producer) -> None:
    """Produces what the task has put out; waits only while too much is unacknowledged.

    An output that fails ends the task: a checkpoint now would say that it is done with.
    """
    with ended_by_failure(running):
        for batch in running.task.take_outputs():
            delivery = await producer.send_columns(
                batch.topic,
                batch.partition,
                batch.keys,
                batch.values,
                batch.timestamps,
                batch.headers,
            )
            running.deliveries.append(delivery)
        if len(running.deliveries) > DELIVERIES_MAX:
            oldest = running.deliveries[: DELIVERIES_MAX // 2]
            del running.deliveries[: DELIVERIES_MAX // 2]
            for delivery in oldest:
                await delivery.wait()


@contextmanager
def ended_by_failure(running: RunningTask) -> Iterator[None]:
    """Whatever ends the block early ends the task: what it holds must not reach a checkpoint."""
    try:
        yield
    except BaseException:
        running.ended = True
        raise


async def write_checkpoint(
    running: RunningTask, producer: Producer, threads: Threads, now_ms: int
) -> Checkpoint | None:
    """Takes steps 1 to 4; returns what is to be committed to the group, if there is anything new.

    Raises:
        FencedError: If another worker owns the task by now.
    """
    task = running.task
    task.emit_markers()
    await send_outputs(running, producer)
    checkpoint = task.prepare_checkpoint()
    if checkpoint is None:
        return None
    deliveries, running.deliveries = running.deliveries, []
    for delivery in deliveries:
        await delivery.wait()
    await append_to_changelog(
        running, producer, checkpoint.changelog_keys, checkpoint.changelog_values, now_ms
    )
    changelog_next = running.changelog_next

    def commit() -> None:
        task.commit_checkpoint(checkpoint, changelog_next)
        store = running.store
        if store is not None:
            running.size = store.size()
            write_copy(store.folder, Copy(running.identity, changelog_next))
            store.tend_snapshot()

    await threads.run(commit)
    return checkpoint


async def append_to_changelog(
    running: RunningTask,
    producer: Producer,
    keys: Sequence[bytes],
    values: Sequence[bytes | None],
    now_ms: int,
) -> None:
    """Appends records to the task's changelog and waits; splits what is too large for one batch."""
    running.changelog_next = await append_alone(
        producer, running.changelog, running.changelog_next, keys, values, now_ms
    )


async def append_alone(
    producer: Producer,
    changelog: TopicPartition,
    position: int,
    keys: Sequence[bytes],
    values: Sequence[bytes | None],
    now_ms: int,
) -> int:
    """Appends records to a changelog that nobody else writes, and waits; returns where they end.

    Args:
        producer: Writes them.
        changelog: A task's.
        position: The offset at which they must begin.
        keys: Of the records; the marker is last.
        values: Of the records.
        now_ms: The wall time.

    Raises:
        FencedError: If somebody else has written since.
    """
    for start, stop in _spans(keys, values):
        delivery = await producer.send_columns(
            changelog.topic,
            changelog.partition,
            keys[start:stop],
            values[start:stop],
            [now_ms] * (stop - start),
            atomic=True,
        )
        written = await delivery.wait()
        if written.base_offset != position:
            raise FencedError(
                f"a task is run by another worker: its changelog {changelog} went on at offset "
                f"{position} without us"
            )
        position = written.last_offset + 1
    return position


def _spans(keys: Sequence[bytes], values: Sequence[bytes | None]) -> list[tuple[int, int]]:
    """Cuts records into spans that fit a batch each; the marker is last, so it ends the last."""
    spans: list[tuple[int, int]] = []
    start = size = 0
    for index, (key, value) in enumerate(zip(keys, values, strict=True)):
        record = len(key) + (len(value) if value else 0) + RECORD_OVERHEAD_BYTES
        if size + record > BATCH_BYTES and index > start:
            spans.append((start, index))
            start, size = index, 0
        size += record
        if record > BATCH_BYTES:
            raise BatchTooLargeError(
                f"one value of the state has {record:,} bytes and does not fit a batch of the "
                f"changelog ({BATCH_BYTES:,})"
            )
    spans.append((start, len(keys)))
    return spans
