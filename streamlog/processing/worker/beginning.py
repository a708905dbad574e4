"""Where a new pipeline begins to read its sources, if that is not their start.

The choice is noted before anything runs, as offsets that the group commits, with a note that says
so. All of them stand in one commit, which brokers take only while the group has no members. So
whoever starts the pipeline finds all of the choice or nothing of it, workers cannot disagree, and a
crash does not choose anew. A task that takes its partition over begins there, and its first
checkpoint says so: from then on it is a position like any other.

Tables are read from their start: what holds now may have been written long ago. The registry keeps
a note as well, for comparisons: what was left out at the beginning shows in results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.errors import RefusedError
from streamlog.processing.replay.offsets import describe, nested
from streamlog.processing.replay.registry import Version, version_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry
from streamlog.processing.replay.standing import last_checkpoints
from streamlog.processing.worker.note import Note, format_note, parse_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.offsets import Offsets
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.span import Input

Committed = dict[TopicPartition, OffsetAndMetadata]


async def settle_beginning(
    client: Client, pipeline: Pipeline[..., object], begins: Mapping[Input, int]
) -> Offsets:
    """Notes where a pipeline that has not run yet begins; returns what holds.

    That is what was noted before, if somebody has begun to start it already.

    Args:
        client: Of the cluster.
        pipeline: The pipeline.
        begins: Offsets of its streams' partitions; those that are not named are read from the
            start.

    Raises:
        RefusedError: If it has positions already.
    """
    registry = await read_registry(client)
    plan = pipeline.plan(registry.naming(pipeline.name))
    admin = Admin(client)
    chosen = _chosen(plan, await admin.group_offsets(plan.name), pipeline.name)
    if chosen:
        return chosen
    await _refuse_state(client, plan, pipeline.name)
    if not begins:
        return {}
    note = format_note(Note(0, begins=True))
    wanted = {TopicPartition(*key): OffsetAndMetadata(at, note) for key, at in begins.items()}
    try:
        await admin.alter_group_offsets(plan.name, wanted)
    except KafkaError as error:
        if error.code is not ErrorCode.NON_EMPTY_GROUP:
            raise
        chosen = _chosen(plan, await admin.group_offsets(plan.name), pipeline.name)
        if not chosen:
            raise RefusedError(
                f'pipeline "{pipeline.name}" is running already, from the start of its sources',
                hint="To join its workers, leave --from out. To begin elsewhere, stop it first",
            ) from error
        return chosen
    settled = nested(begins)
    known = registry.version(plan.name)
    began = Version(
        pipeline=pipeline.name,
        begins=settled,
        ends={} if known is None else known.ends,
        topics=() if known is None else known.topics,
        source="" if known is None else known.source,
    )
    await write_registry(client, version_record(plan.name, began))
    return settled


def _chosen(plan: Plan, committed: Committed, pipeline: str) -> Offsets:
    """Returns what was chosen before any task has begun; nothing if nobody has chosen.

    Raises:
        RefusedError: If a task has begun.
    """
    begins: dict[Input, int] = {}
    for at, entry in committed.items():
        note = parse_note(entry.metadata)
        if note is None or note.begins is not True:
            raise _has_begun(plan, committed, pipeline)
        begins[at.topic, at.partition] = entry.offset
    return nested(begins)


async def _refuse_state(client: Client, plan: Plan, pipeline: str) -> None:
    """Refuses if there are checkpoints: what a group has committed expires, they do not."""
    logs = [sub.changelog_topic for sub in plan.sub_topologies]
    there = await Admin(client).describe_topics(logs)
    places = [
        TopicPartition(name, each.partition)
        for name, topic in there.items()
        for each in topic.partitions
    ]
    if any(meta.positions for meta in (await last_checkpoints(client, places)).values()):
        raise _has_begun(plan, {}, pipeline)


def _has_begun(plan: Plan, committed: Committed, pipeline: str) -> RefusedError:
    sources = {
        (at.topic, at.partition): entry.offset
        for at, entry in committed.items()
        if at.topic in plan.source_topics
    }
    stands = f": {describe(nested(sources))}" if sources else ""
    return RefusedError(
        f'pipeline "{pipeline}" has positions already{stands}; --from is for one that has never '
        "run",
        hint=f"To go on from there, leave --from out. To go back, state and positions together: "
        f"streamlog rewind FILE:{pipeline} --to …",
    )


def beginnings_of(
    store: TaskStore, committed: Mapping[TopicPartition, OffsetAndMetadata | None]
) -> dict[Input, int]:
    """Returns where a task begins, if that was chosen and it has no checkpoint yet."""
    if store.sequence or store.positions():
        return {}
    notes = {key: (entry, parse_note(entry.metadata)) for key, entry in committed.items() if entry}
    return {
        (key.topic, key.partition): entry.offset
        for key, (entry, note) in notes.items()
        if note is not None and note.begins is True
    }
