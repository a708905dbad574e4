"""The world, as a rewind sees it, and where a pipeline's tasks are in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.errors import NotFoundError
from streamlog.processing.errors import NeverRanError
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamlog.client.client import Client
    from streamlog.doors import Clock, Threads
    from streamlog.processing.rewind.outline import Outline
    from streamlog.processing.state.retention import Retention


@dataclass(frozen=True, slots=True, kw_only=True)
class RewindWorld:
    """The world, as a rewind sees it."""

    client: Client
    clock: Clock
    threads: Threads
    folder: Path
    """The pipeline's state folder, on this cluster."""
    retention: Retention | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The tasks of a pipeline and where they are on the cluster."""

    inputs: Mapping[TaskName, tuple[TopicPartition, ...]]
    changelogs: Mapping[TaskName, TopicPartition]
    identities: Mapping[TaskName, str]


async def find_layout(client: Client, outline: Outline) -> Layout:
    """Finds the pipeline's topics.

    Raises:
        NeverRanError: If the pipeline has none of its own.
        NotFoundError: If one is missing.
    """
    found = await Admin(client).describe_topics(outline.topics)
    if not any(sub.changelog_topic in found for sub in outline.subs):
        raise NeverRanError(
            f'pipeline "{outline.name}" has never run on this cluster, so there is nothing to '
            "rewind",
            hint="When it runs, it begins at the start",
        )
    inputs: dict[TaskName, tuple[TopicPartition, ...]] = {}
    changelogs: dict[TaskName, TopicPartition] = {}
    identities: dict[TaskName, str] = {}
    for sub in outline.subs:
        for topic in (*sub.input_topics, sub.changelog_topic):
            if topic not in found:
                raise NotFoundError(
                    f'topic "{topic}" of pipeline "{outline.name}" does not exist: its part '
                    f'"{sub.name}" has not run yet, or the topic was deleted',
                    hint=f'If a step was renamed, give it its name back: name="…". To rewind the '
                    "pipeline with the steps that it has run with, leave out the file: streamlog "
                    f"rewind {outline.name} --to …",
                )
        for number in range(len(found[sub.input_topic].partitions)):
            name = TaskName(sub.name, number)
            inputs[name] = tuple(TopicPartition(topic, number) for topic in sub.input_topics)
            changelogs[name] = TopicPartition(sub.changelog_topic, number)
            identities[name] = found[sub.changelog_topic].topic_id
    return Layout(inputs, changelogs, identities)


async def extents_of(client: Client, layout: Layout) -> dict[TaskName, dict[str, tuple[int, int]]]:
    """Returns where the inputs of each task begin and end, by topic."""
    admin = Admin(client)
    places = [at for inputs in layout.inputs.values() for at in inputs]
    starts = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    extents: dict[TaskName, dict[str, tuple[int, int]]] = {}
    for name, inputs in layout.inputs.items():
        extents[name] = {}
        for at in inputs:
            start, end = starts[at], ends[at]
            assert start is not None
            assert end is not None
            extents[name][at.topic] = (start.offset, end.offset)
    return extents
