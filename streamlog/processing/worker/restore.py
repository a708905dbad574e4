"""Taking a task over: fence its changelog, bring the local state up to it, check it with the group.

The fence comes first: a record with our epoch at the end of the changelog. From then on whatever an
earlier owner still writes there is void, for us and for everybody who ever restores. Then the local
state is brought up to the fence, from where it last was, or from nothing. The epoch must be larger
than any that was seen; where the changelog turns out to know a larger one, as when the group was
deleted and its generations began anew, a second fence is written.

Local state that another process has open is left alone: it is a paused worker's of this machine, or
one that has not noticed yet that it lost the task. Then a copy beside it is used and brought up
from the changelog like any other.

Restoring ends by position, at the fence. What the state then says of its input positions is true.
The group's committed offsets are behind it by what a crash kept from being committed, or they are
equal, or somebody has moved them with another tool: the note beside the offset tells. Then the
state is rewound to the checkpoint that has those positions, or the start is refused; it is never
used as it is.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import msgspec

from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.errors import RefusedError, StorageError
from streamlog.processing.errors import StateInUseError
from streamlog.processing.rewind.outline import encode_outline, outline_of
from streamlog.processing.state.retention import retention_of
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.beginning import beginnings_of
from streamlog.processing.worker.catching_up import CatchingUp
from streamlog.processing.worker.checkpoint import RunningTask
from streamlog.processing.worker.copies import (
    COPIES_MAX,
    Copy,
    copy_folder,
    remove_free_copies,
    write_copy,
)
from streamlog.processing.worker.note import Note, format_note, parse_note, tells_of
from streamlog.processing.worker.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.producer.producer import Producer
    from streamlog.processing.plan.plan import Plan, SubTopologyPlan
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.status import RestoreFigures

logger = logging.getLogger(__name__)


async def take_over(
    setting: Setting,
    name: TaskName,
    producer: Producer,
    generation: int,
    committed: Mapping[TopicPartition, OffsetAndMetadata | None],
    figures: RestoreFigures,
) -> RunningTask:
    """Makes a task ready to run, with all its state.

    Args:
        setting: The worker's surroundings.
        name: The task.
        producer: Writes the fence.
        generation: The group's, under which the task is ours.
        committed: What the group has committed for the task's inputs.
        figures: Are told how far it is.

    Raises:
        RefusedError: If the group's offsets were moved to where the state cannot follow.
    """
    sub = setting.sub_topology(name.sub_topology)
    changelog = TopicPartition(sub.changelog_topic, name.partition)
    identity = setting.topic_ids[sub.changelog_topic]
    topic_ids = {topic: setting.topic_ids[topic] for topic in sub.input_topics}
    store = await setting.threads.run(lambda: _open_free_copy(setting, sub, name, identity))
    try:
        catching_up = CatchingUp(
            client=setting.client,
            producer=producer,
            clock=setting.clock,
            threads=setting.threads,
            way_out=start_over_hint(setting.plan),
        )
        epoch, position = await catching_up.fence(store, changelog, generation, figures)
        check_origin(setting.plan, store, sub, topic_ids)
        outline = encode_outline(outline_of(setting.plan))

        def settle() -> None:
            agree_with_group(store, name, committed, start_over_hint(setting.plan))
            store.note_outline(outline)

        await setting.threads.run(settle)
        task = Task(
            sub,
            name.partition,
            store,
            setting.tables,
            epoch=epoch,
            partition_counts=setting.partition_counts,
            topic_ids=topic_ids,
            options=setting.plan.options,
        )
        task.begin_at(beginnings_of(store, committed))
    except BaseException:
        store.close()
        raise
    write_copy(store.folder, Copy(identity, position))
    return RunningTask(
        task,
        changelog,
        position,
        store=store,
        identity=identity,
        size=store.size(),
        uncommitted=_uncommitted(store, committed),
    )


def _open_free_copy(
    setting: Setting, sub: SubTopologyPlan, name: TaskName, identity: str
) -> TaskStore:
    names = [each.name for each in setting.plan.sub_topologies]
    retention = retention_of(setting.plan.options, names, sub.name)
    for number in range(COPIES_MAX):
        folder = copy_folder(setting.state_folder, number)
        try:
            store = open_task_store(
                folder,
                sub.name,
                name.partition,
                layout=sub.layout,
                identity=identity,
                clock=setting.clock,
                retention=retention,
            )
        except StateInUseError as error:
            logger.warning("%s; restoring a copy beside it", error.message)
            continue
        if number == 0 and remove_free_copies(folder, sub.name, name.partition):
            logger.info("removed copies of the state of task %s that nobody needs any more", name)
        return store
    raise StateInUseError(
        f"the state of task {name} in {setting.state_folder} is in use by {COPIES_MAX} processes",
        hint="End those that are paused, or name another folder: --state DIR",
    )


def _uncommitted(
    store: TaskStore, committed: Mapping[TopicPartition, OffsetAndMetadata | None]
) -> dict[TopicPartition, OffsetAndMetadata]:
    """What the group does not know of the state: a crash came before its commit, or it was deleted.

    A task that has nothing more to read takes no checkpoint, so this would never be told.
    """
    note = Note(store.sequence, store.meta.drained)
    state = {TopicPartition(*key): offset for key, offset in store.positions().items()}
    for key, offset in state.items():
        entry = committed.get(key)
        if entry is None or entry.offset != offset or not tells_of(entry.metadata, note):
            metadata = format_note(note)
            return {each: OffsetAndMetadata(at, metadata) for each, at in state.items()}
    return {}


def check_origin(
    plan: Plan, store: TaskStore, sub: SubTopologyPlan, topic_ids: Mapping[str, str]
) -> None:
    """Checks that state, wherever it was restored from, is of this plan and of these topics.

    Raises:
        LayoutChangedError: If a step's state is not what the plan says.
        RefusedError: If an input was deleted and made anew: offsets in it mean other records now.
    """
    store.check_layout(sub.layout)
    for topic, stored in store.meta.topic_ids.items():
        if topic in topic_ids and topic_ids[topic] != stored:
            raise RefusedError(
                f'topic "{topic}" was deleted and made anew since pipeline "{plan.name}" has read '
                f"it, so the pipeline's state is about records that are gone",
                hint=start_over_hint(plan),
            )


def start_over_hint(plan: Plan) -> str:
    """Says how to have a pipeline read everything anew."""
    topics: dict[str, None] = {}
    for sub in plan.sub_topologies:
        topics.update(dict.fromkeys((*sub.repartition_topics, sub.changelog_topic)))
    return (
        "Run it under another name: @pipeline(name=…). Or have it begin anew: streamlog group "
        f"delete {plan.name} --execute, and: streamlog topic delete {' '.join(topics)} --execute"
    )


def agree_with_group(
    store: TaskStore,
    name: TaskName,
    committed: Mapping[TopicPartition, OffsetAndMetadata | None],
    way_out: str,
) -> None:
    """Rewinds the state to where somebody has moved the group, if it can be.

    Raises:
        RefusedError: If the state has no checkpoint at the group's offsets, or if the group says
            that a rewind is under way.
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
        if note is not None and note.rewind not in (msgspec.UNSET, store.meta.timeline):
            raise RefusedError(
                f"task {name}: a rewind of the pipeline is under way or was cut short, on another "
                "machine or with another state folder",
                hint="Wait for it, or begin it anew: streamlog rewind FILE:PIPELINE --to … "
                "--execute",
            )
        if note is not None and note.sequence > store.sequence:
            raise StorageError(
                f"task {name}: the group has committed checkpoint {note.sequence} but the "
                f"changelog ends with {store.sequence}: it has lost records, or was deleted",
                hint=way_out,
            )
        if note is None and entry.offset != (here or 0):
            moved[key.topic, key.partition] = entry.offset
    if not moved:
        return
    for kept in store.checkpoints():
        at = kept.positions()
        if all((at.get(key) or 0) == offset for key, offset in moved.items()):
            logger.warning(
                "task %s: rewound to checkpoint %d, as its group was", name, kept.sequence
            )
            store.undo(kept.sequence)
            return
    where = ", ".join(f"{topic}[{p}] to {offset}" for (topic, p), offset in moved.items())
    stands = ", ".join(f"{topic}[{p}] at {positions.get((topic, p), 0)}" for topic, p in moved)
    raise RefusedError(
        f"task {name}: somebody has moved the group's offsets ({where}), but the state stands "
        f"elsewhere ({stands}) and its history has no checkpoint there",
        hint="Put the offsets right: streamlog rewind PIPELINE --to end --execute. Or go back, "
        "state and offsets together: streamlog rewind PIPELINE --to …",
    )
