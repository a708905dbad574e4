"""Removes a version: its group, its topics and its local state; never anything of the live one.

The plan says what would go. What is removed is only what the registry or the version's own plan
names, by whole names, so that nothing of a similar name goes with it. The registry forgets the
version last: a drop that was cut short is finished by another.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.errors import UnknownTopicError
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.doors import WorkerThreads
from streamlog.errors import UnreachableError
from streamlog.processing.plan.naming import beside
from streamlog.processing.replay.errors import NoVersionError, VersionRefusedError
from streamlog.processing.replay.registry import version_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.client.client import Client
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan


GONE_TIMEOUT_S = 30
GONE_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPlan:
    """What dropping a version removes."""

    name: str
    group: bool
    """Whether there is a group."""
    members: int
    topics: dict[str, int]
    """Those that are there, with the number of their records."""
    state: Path | None
    """The folder of its state on this machine, if there is one."""
    known: bool
    """Whether the registry knows the version."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.group or self.topics or self.state or self.known)


async def plan_drop(
    client: Client, pipeline: Pipeline[..., object], version: str, state_dir: Path
) -> DropPlan:
    """Returns what dropping a version would remove.

    Raises:
        VersionRefusedError: If the version is the live one, or is becoming it.
    """
    naming = beside(pipeline.name, version)
    registry = await read_registry(client)
    live = registry.live(pipeline.name)
    if naming.name in (live.runs_as, live.swapping_to):
        raise VersionRefusedError(
            f'{naming.name} is what runs as "{pipeline.name}" now, so it cannot be dropped',
            hint="Replay and swap in another version first",
        )
    note = registry.version(naming.name)
    if note is None:
        # Whatever has that name was made by nobody's replay.
        return DropPlan(
            name=naming.name, group=False, members=0, topics={}, state=None, known=False
        )
    plan = pipeline.plan(naming)
    admin = Admin(client)
    groups = {group.group for group in await admin.list_groups()}
    members = 0
    if naming.name in groups:
        members = len((await admin.describe_groups([naming.name]))[naming.name].members)
    return DropPlan(
        name=naming.name,
        group=naming.name in groups,
        members=members,
        # Those of its plan as it was, and as it is now.
        topics=await _records(admin, (*note.topics, *own_topics(plan))),
        state=await state_folder_of(admin, state_dir, naming.name),
        known=True,
    )


async def state_folder_of(admin: Admin, state_dir: Path, name: str) -> Path | None:
    """Returns the folder of the state of what runs under a name, if it is there."""
    cluster = await admin.describe_cluster()
    folder = state_dir / (cluster.cluster_id or "unnamed-cluster") / name
    return folder if folder.is_dir() else None


def own_topics(plan: Plan) -> tuple[str, ...]:
    """Returns the topics that are a version's alone."""
    names: dict[str, None] = {}
    for sub in plan.sub_topologies:
        names.update(dict.fromkeys((*sub.repartition_topics, sub.changelog_topic)))
    return (*names, *plan.dead_letter_topics, *plan.output_topics)


async def _records(admin: Admin, topics: tuple[str, ...]) -> dict[str, int]:
    there = await admin.describe_topics(topics)
    places = [
        TopicPartition(name, each.partition)
        for name, topic in there.items()
        for each in topic.partitions
    ]
    if not places:
        return {}
    begins = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    counts = dict.fromkeys(there, 0)
    for place in places:
        begin, end = begins[place], ends[place]
        if begin is not None and end is not None:
            counts[place.topic] += end.offset - begin.offset
    return counts


async def drop(client: Client, plan: DropPlan) -> None:
    """Removes a version.

    Raises:
        NoVersionError: If there is nothing of it.
        VersionRefusedError: If it is running.
    """
    if plan.is_empty:
        raise NoVersionError(f"there is no version {plan.name}", hint="Nothing was removed")
    if plan.members:
        raise VersionRefusedError(
            f"{plan.name} is running: its group has {plan.members} members",
            hint="Stop its workers first",
        )
    admin = Admin(client)
    if plan.group:
        await admin.delete_groups([plan.name])
    for topic in plan.topics:
        try:
            await admin.delete_topics([topic])
        except UnknownTopicError:
            continue  # Another drop was quicker.
    await _wait_gone(admin, tuple(plan.topics))
    if plan.state is not None:
        folder = plan.state
        await WorkerThreads(1).run(lambda: shutil.rmtree(folder, ignore_errors=True))
    if plan.known:
        await write_registry(client, version_record(plan.name, None))


async def _wait_gone(admin: Admin, topics: tuple[str, ...]) -> None:
    """Waits until the brokers know of the topics' end: the next replay makes them anew."""
    deadline = trio.current_time() + GONE_TIMEOUT_S
    while True:
        there = await admin.describe_topics(topics)
        if not there:
            return
        if trio.current_time() > deadline:
            raise UnreachableError(
                f"topics are still there {GONE_TIMEOUT_S} s after they were deleted: "
                f"{', '.join(there)}",
                hint="Try the same command again",
            )
        await trio.sleep(GONE_POLL_S)


async def drop_version(
    pipeline: Pipeline[..., object],
    version: str,
    brokers: tuple[str, ...],
    state_dir: Path,
    *,
    execute: bool,
) -> DropPlan:
    """Plans a drop and, if asked to, does it; returns the plan.

    Raises:
        NoVersionError: If there is nothing to drop.
        VersionRefusedError: If it is live, or running.
    """
    async with open_client(ClientConfig(brokers=brokers)) as client:
        plan = await plan_drop(client, pipeline, version, state_dir)
        if plan.is_empty:
            raise NoVersionError(
                f"there is no version {plan.name}",
                hint=f"Make it: streamlog replay FILE:{pipeline.name} --as {version}",
            )
        if execute:
            await drop(client, plan)
        return plan
