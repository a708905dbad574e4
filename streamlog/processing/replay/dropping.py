"""Removes a version: its group, its topics and its local state; never anything of the live one.

A version is a replay, or one whose place another has taken, also the one that the pipeline began
as. The plan says what would go. What is removed is only what the registry, the version's own plan
or its group names, by whole names, so that nothing of a similar name goes with it. Topics that the
live version reads or writes stay in any case. The registry forgets the version last: a drop that
was cut short is finished by another.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.errors import UnknownTopicError
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.doors import WorkerThreads
from streamlog.errors import UnreachableError
from streamlog.processing.failures.policy import dead_letters_of, retry_group
from streamlog.processing.plan.naming import FIRST, Naming, beside, name_of
from streamlog.processing.replay.errors import NoVersionError, VersionRefusedError
from streamlog.processing.replay.registry import Version, live_record, version_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry
from streamlog.processing.replay.standing import sub_topology_of
from streamlog.processing.replay.versions import Role, identify

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.client.client import Client
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.registry import Registry


GONE_TIMEOUT_S = 30
GONE_POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DropPlan:
    """What dropping a version removes."""

    pipeline: str
    name: str
    role: Role
    groups: tuple[str, ...] = ()
    """Those that are there: its own, and what it remembers of dead letters."""
    members: int = 0
    topics: dict[str, int] = field(default_factory=dict)
    """Those that are there, with the number of their records."""
    state: Path | None = None
    """The folder of its state on this machine, if there is one."""
    known: bool = False
    """Whether the registry knows the version."""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.groups or self.topics or self.state or self.known)


async def plan_drop(
    client: Client, pipeline: Pipeline[..., object], version: str, state_dir: Path
) -> DropPlan:
    """Returns what dropping a version would remove.

    Raises:
        VersionRefusedError: If the version is the live one, or is becoming it.
    """
    name = name_of(pipeline.name, version)
    registry = await read_registry(client)
    live = registry.live(pipeline.name)
    if name in (live.runs_as, live.swapping_to):
        raise VersionRefusedError(
            f'{name} is what runs as "{pipeline.name}" now, so it cannot be dropped',
            hint="Replay and swap in another version first",
        )
    identity = identify(registry, name)
    if registry.version(name) is None and name not in live.retired:
        # Whatever has that name was made by nobody's replay.
        return DropPlan(pipeline=pipeline.name, name=name, role=identity.role)
    admin = Admin(client)
    topics = await _records(admin, await _topics_of(admin, pipeline, version, registry))
    there = {group.group for group in await admin.list_groups()}
    wanted = (name, *(retry_group(topic) for topic in topics))
    members = 0
    if name in there:
        members = len((await admin.describe_groups([name]))[name].members)
    return DropPlan(
        pipeline=pipeline.name,
        name=name,
        role=identity.role,
        groups=tuple(group for group in wanted if group in there),
        members=members,
        topics=topics,
        state=await state_folder_of(admin, state_dir, name),
        known=True,
    )


async def _topics_of(
    admin: Admin, pipeline: Pipeline[..., object], version: str, registry: Registry
) -> tuple[str, ...]:
    """Those of a version's plan as it was, and as it is now, without any of the live one's."""
    name = name_of(pipeline.name, version)
    note = registry.version(name)
    found = list(() if note is None else note.topics)
    if version == FIRST:
        found += internal_topics(pipeline.plan(Naming(name)))
        found += await topics_behind_group(admin, name)
    else:
        found += own_topics(pipeline.plan(beside(pipeline.name, version)))
    live = pipeline.plan(Naming(registry.live(pipeline.name).runs_as))
    kept = {*live.source_topics, *live.table_topics, *own_topics(live)}
    return tuple(topic for topic in dict.fromkeys(found) if topic not in kept)


async def state_folder_of(admin: Admin, state_dir: Path, name: str) -> Path | None:
    """Returns the folder of the state of what runs under a name, if it is there."""
    cluster = await admin.describe_cluster()
    folder = state_dir / (cluster.cluster_id or "unnamed-cluster") / name
    return folder if folder.is_dir() else None


def internal_topics(plan: Plan) -> tuple[str, ...]:
    """Returns the topics whose names begin with the plan's: nobody else's."""
    names: dict[str, None] = {}
    for sub in plan.sub_topologies:
        names.update(dict.fromkeys((*sub.repartition_topics, sub.changelog_topic)))
    own_letters = dead_letters_of(plan.name)
    letters = [own_letters] if own_letters in plan.dead_letter_topics else []
    return (*names, *letters)


def own_topics(plan: Plan) -> tuple[str, ...]:
    """Returns all topics that a plan writes; they are its alone if it is drawn beside another."""
    names = (*internal_topics(plan), *plan.dead_letter_topics, *plan.output_topics)
    return tuple(dict.fromkeys(names))


async def topics_behind_group(admin: Admin, name: str) -> tuple[str, ...]:
    """Returns the internal topics of what has run under a name, by what its group has committed.

    Its code may be gone by now, and with it the names of its sub-topologies.
    """
    found: dict[str, None] = {}
    for at in sorted(await admin.group_offsets(name)):
        sub = sub_topology_of(name, at.topic)
        if sub != at.topic:
            found[at.topic] = None
        found[f"{name}.{sub}.changelog"] = None
    return (*found, dead_letters_of(name))


async def note_of_former(client: Client, pipeline: str, registry: Registry) -> Version:
    """Returns the note to keep of the version that a pipeline began as, once it is live no more."""
    topics = await topics_behind_group(Admin(client), pipeline)
    known = registry.version(pipeline) or Version(pipeline=pipeline, begins={}, ends={})
    return msgspec.structs.replace(known, topics=topics)


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
    if plan.groups:
        await admin.delete_groups(plan.groups)
    for topic in plan.topics:
        try:
            await admin.delete_topics([topic])
        except UnknownTopicError:
            continue  # Another drop was quicker.
    await _wait_gone(admin, tuple(plan.topics))
    if plan.state is not None:
        await WorkerThreads(1).run(partial(shutil.rmtree, plan.state, ignore_errors=True))
    if plan.known:
        await _forget(client, plan)


async def _forget(client: Client, plan: DropPlan) -> None:
    """Has the registry forget a version, also as a former one."""
    records = [version_record(plan.name, None)]
    live = (await read_registry(client)).live(plan.pipeline)
    if plan.name in live.retired:
        retired = tuple(name for name in live.retired if name != plan.name)
        left = msgspec.structs.replace(live, retired=retired)
        records.append(live_record(plan.pipeline, left))
    await write_registry(client, *records)


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
