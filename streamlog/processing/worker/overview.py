"""Which pipelines there are on a cluster, where they run and how far they are.

Everything is read from the brokers, so it is known for every pipeline, on whatever machine it runs:
a pipeline is a group whose members are placed by our assignor, or whose committed offsets have our
notes. The members' subscriptions say where the workers are, the notes when the last checkpoint was
taken and how far stream time was, offsets and ends what is left to read.

A task reads a partition of one topic, or of several together: the notes name its sub-topology.
Until its first checkpoint, each partition is taken for a task.

A pipeline has as many entries as it has versions; the cluster's registry tells them apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import msgspec

from streamlog.client.admin.admin import Admin
from streamlog.client.values import EARLIEST, LATEST
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.versions import Identity, Role, identify, resolve
from streamlog.processing.worker.assignor import TaskAssignor
from streamlog.processing.worker.note import parse_note
from streamlog.processing.worker.waiting import count_waiting
from streamlog.processing.worker.word import WorkerWord, decode_word

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from streamlog.client.admin.values import GroupDescription, MemberDescription
    from streamlog.client.client import Client
    from streamlog.client.values import OffsetAndMetadata, TopicPartition

T = TypeVar("T")

STATES = {"Stable": "running", "Empty": "stopped", "Dead": "stopped"}
"""What a group's state means for a pipeline; any other is a rebalance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSeen:
    """A member of a pipeline's group."""

    member_id: str
    instance_id: str | None
    host: str
    """As it says, else where its connection comes from."""
    word: WorkerWord
    tasks: tuple[TopicPartition, ...]
    """By what they read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSeen:
    """A task, as far as one of the partitions goes that it reads."""

    input: TopicPartition
    sub_topology: str | None = None
    """Its, if a checkpoint has told."""
    worker: WorkerSeen | None
    offset: int | None
    """What its last checkpoint has committed."""
    end: int | None
    sequence: int | None
    """Number of the last checkpoint."""
    checkpoint_ms: int | None
    stream_time_ms: int | None
    lag: int | None
    """Records that no checkpoint holds yet; nothing if the topic is gone."""

    @property
    def name(self) -> str:
        """Its task's, as other commands have it; without a checkpoint that of what it reads."""
        return f"{self.sub_topology or self.input.topic}[{self.input.partition}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSeen:
    """A pipeline on the cluster, or a version of one."""

    identity: Identity
    state: str
    """running, rebalancing or stopped."""
    workers: tuple[WorkerSeen, ...]
    tasks: tuple[TaskSeen, ...]

    @property
    def name(self) -> str:
        """Its group's."""
        return self.identity.name

    def total(self, worker: WorkerSeen | None = None) -> Total:
        """Returns the figures of all tasks, or of a worker's."""
        return total_of(each for each in self.tasks if worker is None or each.worker is worker)


@dataclass(slots=True)
class Total:
    """The figures of several tasks."""

    tasks: int = 0
    offset: int = 0
    lag: int = 0
    checkpoint_ms: int | None = None
    """Of the task whose last checkpoint is the newest."""
    stream_time_ms: int | None = None
    """Of the task that is furthest."""


def total_of(tasks: Iterable[TaskSeen]) -> Total:
    """Adds up tasks."""
    total = Total()
    checkpoints: list[int] = []
    times: list[int] = []
    names: set[str] = set()
    for task in tasks:
        names.add(task.name)
        total.offset += task.offset or 0
        total.lag += task.lag or 0
        if task.checkpoint_ms is not None:
            checkpoints.append(task.checkpoint_ms)
        if task.stream_time_ms is not None:
            times.append(task.stream_time_ms)
    total.tasks = len(names)
    total.checkpoint_ms = max(checkpoints, default=None)
    total.stream_time_ms = max(times, default=None)
    return total


@dataclass(slots=True)
class Seen:
    """What the brokers said of one group."""

    group: GroupDescription
    committed: Mapping[TopicPartition, OffsetAndMetadata] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Extent:
    """What a partition holds, and what of it waits for a task."""

    begin: int
    end: int
    waiting: int | None = None
    """Records, if they were counted."""

    def lag(self, committed: OffsetAndMetadata | None) -> int:
        """How many records wait, if need be by their offsets."""
        if self.waiting is not None:
            return self.waiting
        # What was deleted unread waits no more.
        position = self.begin if committed is None else max(self.begin, committed.offset)
        return max(self.end - position, 0)


def is_pipeline(seen: Seen) -> bool:
    """Says whether a group is a pipeline's."""
    if seen.group.assignor:
        return seen.group.assignor == TaskAssignor.name
    return any(parse_note(at.metadata) is not None for at in seen.committed.values())


def pipeline_of(
    seen: Seen, extents: Mapping[TopicPartition, Extent], identity: Identity
) -> PipelineSeen:
    """Puts together what was said of a pipeline."""
    group = seen.group
    workers = tuple(
        sorted(map(_worker, group.members), key=lambda each: (each.host, each.word.pid))
    )
    owners = {each: worker for worker in workers for each in worker.tasks}
    return PipelineSeen(
        identity=identity,
        state=STATES.get(group.state, "rebalancing"),
        workers=workers,
        tasks=tuple(
            _task(key, owners.get(key), seen.committed.get(key), extents.get(key))
            for key in sorted({*owners, *seen.committed})
        ),
    )


def _worker(member: MemberDescription) -> WorkerSeen:
    subscription = member.subscription
    word = decode_word(None if subscription is None else subscription.user_data)
    return WorkerSeen(
        member_id=member.member_id,
        instance_id=member.instance_id,
        host=word.host or member.client_host.removeprefix("/"),
        word=word,
        tasks=member.assignment,
    )


def _task(
    key: TopicPartition,
    worker: WorkerSeen | None,
    committed: OffsetAndMetadata | None,
    extent: Extent | None,
) -> TaskSeen:
    note = parse_note(committed.metadata) if committed is not None else None
    return TaskSeen(
        input=key,
        sub_topology=None if note is None else _known(note.sub_topology),
        worker=worker,
        offset=None if committed is None else committed.offset,
        end=None if extent is None else extent.end,
        lag=None if extent is None else extent.lag(committed),
        sequence=None if note is None else note.sequence,
        checkpoint_ms=None if note is None else _known(note.at_ms),
        stream_time_ms=None if note is None else _known(note.time_ms),
    )


def _known(value: T | msgspec.UnsetType) -> T | None:
    return None if value is msgspec.UNSET else value


async def look(client: Client, names: Collection[str] | None = None) -> list[PipelineSeen]:
    """Returns the pipelines of a cluster with their versions, the live one first.

    Args:
        client: Of the cluster.
        names: As people type them; others are left out.
    """
    admin = Admin(client)
    registry = await read_registry(client)
    wanted = [each.group for each in await admin.list_groups()]
    if names is not None:
        meant = {resolve(registry, name).name for name in names}
        wanted = [name for name in wanted if name in meant]
    found: list[Seen] = []
    for group in (await admin.describe_groups(wanted)).values():
        seen = Seen(group)
        if group.assignor in ("", TaskAssignor.name):
            seen.committed = await admin.group_offsets(group.group)
        if is_pipeline(seen):
            found.append(seen)
    extents = await _extents(client, admin, found)
    return sorted(
        (
            pipeline_of(seen, extents[seen.group.group], identify(registry, seen.group.group))
            for seen in found
        ),
        key=_order,
    )


def _order(pipeline: PipelineSeen) -> tuple[str, int, str]:
    identity = pipeline.identity
    return identity.pipeline, [*Role].index(identity.role), identity.name


async def _extents(
    client: Client, admin: Admin, found: Collection[Seen]
) -> dict[str, dict[TopicPartition, Extent]]:
    """Returns, by group, what the partitions hold that its tasks read."""
    read = {
        seen.group.group: {
            *seen.committed,
            *(at for m in seen.group.members for at in m.assignment),
        }
        for seen in found
    }
    places = {key for keys in read.values() for key in keys}
    # A topic that was committed may have been deleted since: it has no end.
    there = await admin.describe_topics({key.topic for key in places})
    known = sorted(key for key in places if key.topic in there)
    if not known:
        return {group: {} for group in read}
    begins = await admin.list_offsets(dict.fromkeys(known, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(known, LATEST))
    extents = {
        key: Extent(begin.offset, end.offset)
        for key in known
        if (begin := begins[key]) is not None and (end := ends[key]) is not None
    }
    # Repartition topics are read by one group alone.
    left = {
        key: (seen.committed[key].offset, extents[key].end)
        for seen in found
        for key in seen.committed
        if key in extents and key.topic.startswith(f"{seen.group.group}.")
    }
    for key, waiting in (await count_waiting(client, left)).items():
        extents[key] = replace(extents[key], waiting=waiting)
    return {group: {k: extents[k] for k in keys if k in extents} for group, keys in read.items()}
