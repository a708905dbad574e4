"""Taking a task over: fence its changelog, bring the local state up to it, check it with the group.

The fence comes first: a record with our epoch at the end of the changelog. From then on whatever an
earlier owner still writes there is void, for us and for everybody who ever restores. Then the local
state is brought up to the fence, from where it last was, or from nothing. The epoch must be larger
than any that was seen; where the changelog turns out to know a larger one, as when the group was
deleted and its generations began anew, a second fence is written.

Restoring ends by position, at the fence. What the state then says of its input positions is true.
The group's committed offsets are behind it by what a crash kept from being committed, or they are
equal, or somebody has moved them with another tool: the note beside the offset tells. Then the
state is rewound to the checkpoint that has those positions, or the start is refused; it is never
used as it is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, TopicPartition
from streamlog.errors import RefusedError, StorageError
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.changelog import ChangelogReplay, fence_record
from streamlog.processing.worker.checkpoint import RunningTask
from streamlog.processing.worker.note import parse_note
from streamlog.processing.worker.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import OffsetAndMetadata
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting

logger = logging.getLogger(__name__)

FENCES_MAX = 8
"""Each one more needs another worker that fenced in between; so many in a row is a fault."""
POLL_WAIT_MS = 500


async def take_over(
    setting: Setting,
    name: TaskName,
    producer: Producer,
    generation: int,
    committed: Mapping[TopicPartition, OffsetAndMetadata | None],
) -> RunningTask:
    """Makes a task ready to run, with all its state.

    Args:
        setting: The worker's surroundings.
        name: The task.
        producer: Writes the fence.
        generation: The group's, under which the task is ours.
        committed: What the group has committed for the task's inputs.

    Raises:
        RefusedError: If the group's offsets were moved to where the state cannot follow.
    """
    sub = setting.sub_topology(name.sub_topology)
    changelog = TopicPartition(sub.changelog_topic, name.partition)
    identity = setting.topic_ids[sub.changelog_topic]
    store = await setting.threads.run(
        lambda: open_task_store(setting.state_folder, sub, name.partition, identity=identity)
    )
    try:
        epoch, position = await _catch_up(setting, store, changelog, producer, generation)
        await setting.threads.run(lambda: agree_with_group(store, name, committed))
        task = Task(
            sub,
            name.partition,
            store,
            setting.tables,
            epoch=epoch,
            partition_counts=setting.partition_counts,
        )
    except BaseException:
        store.close()
        raise
    return RunningTask(task, changelog, position)


async def _catch_up(
    setting: Setting,
    store: TaskStore,
    changelog: TopicPartition,
    producer: Producer,
    generation: int,
) -> tuple[int, int]:
    """Fences the changelog and applies it; returns our epoch and where our next write begins."""
    replay = ChangelogReplay(store)
    epoch = max(generation, store.epoch + 1)
    begin = store.changelog_position
    for _ in range(FENCES_MAX):
        key, value = fence_record(epoch)
        now_ms = setting.clock.wall_ms()
        delivery = await producer.send_columns(
            changelog.topic, changelog.partition, [key], [value], [now_ms], atomic=True
        )
        end = (await delivery.wait()).last_offset + 1
        if store.changelog_position > end:
            raise StorageError(
                f"the local state of {changelog} is at offset {store.changelog_position}, but the "
                f"changelog ends at {end}: it has lost records, or was created anew",
                hint=f"If the topic is the right one, delete {setting.state_folder} to restore",
            )
        await _replay(setting, replay, changelog, begin, end)
        if replay.highest_epoch <= epoch:
            await setting.threads.run(lambda: replay.finish(end))  # noqa: B023 (awaited)
            return epoch, end
        epoch, begin = replay.highest_epoch + 1, end
    raise StorageError(f"{changelog} is fenced again and again by other workers")


async def _replay(
    setting: Setting, replay: ChangelogReplay, changelog: TopicPartition, begin: int, end: int
) -> None:
    """Feeds the changelog from `begin` up to `end`."""
    async with open_consumer(setting.client, ConsumerConfig()) as consumer:
        await consumer.assign({changelog: begin or EARLIEST})
        while (consumer.position(changelog) or 0) < end:
            for chunk in await consumer.poll(POLL_WAIT_MS):
                columns = chunk.columns
                await setting.threads.run(lambda: replay.feed(columns))  # noqa: B023 (awaited)


def agree_with_group(
    store: TaskStore,
    name: TaskName,
    committed: Mapping[TopicPartition, OffsetAndMetadata | None],
) -> None:
    """Rewinds the state to where somebody has moved the group, if it can be.

    Raises:
        RefusedError: If the state has no checkpoint at the group's offsets.
        StorageError: If the group is ahead of the state.
    """
    positions = store.positions()
    moved: dict[tuple[str, int], int] = {}
    for key, entry in committed.items():
        if entry is None:
            # Never committed, or expired: the state knows better.
            continue
        note = parse_note(entry.metadata)
        here = positions.get((key.topic, key.partition))
        if note is not None and note.sequence > store.sequence:
            raise StorageError(
                f"task {name}: the group has committed checkpoint {note.sequence} but the "
                f"changelog ends with {store.sequence}: it has lost records",
                hint="Run the pipeline under another name to compute its state anew",
            )
        if note is None and entry.offset != here:
            moved[key.topic, key.partition] = entry.offset
    if not moved:
        return
    for sequence, at in store.checkpoints():
        if all(at.get(key) == offset for key, offset in moved.items()):
            logger.warning("task %s: rewound to checkpoint %d, as its group was", name, sequence)
            store.undo(sequence)
            return
    where = ", ".join(f"{topic}[{p}] to {offset}" for (topic, p), offset in moved.items())
    raise RefusedError(
        f"task {name}: somebody moved the group's offsets ({where}), where the state has no "
        f"checkpoint; it stands at {positions}",
        hint="Move the group's offsets back, or run the pipeline under another name",
    )
