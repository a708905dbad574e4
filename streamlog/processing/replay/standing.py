"""Where a pipeline or a version stands, by the cluster alone: its members, positions, checkpoints.

Its tasks may run anywhere, so nothing is read from local state: what the group has committed tells
the positions, the newest marker of each changelog the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.errors import UnreachableError
from streamlog.processing.replay.reach import is_drained
from streamlog.processing.worker.changelog import checkpoint_ended_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.values import FetchedChunk, OffsetAndTimestamp
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.reach import TaskEnds
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.worker.span import Input

POLL_WAIT_MS: Final = 500
SILENCE_MAX_S: Final = 60
"""Without any record of what is known to be there."""
LOOK_BACK: Final = (8, 1_000, 100_000)
"""How many records before its end a changelog is searched for a marker, before all of it is.

The newest checkpoint's marker is the last record, but for the fences of owners that had nothing to
do.
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one side stands."""

    name: str
    members: int
    """Workers in its group now."""
    positions: dict[Input, int] = field(default_factory=dict)
    """The next offset of each source partition that it has read of."""
    ends: TaskEnds = field(default_factory=dict)
    """The last checkpoint of each task that has taken one, by sub-topology."""
    writer_counts: dict[str, int] = field(default_factory=dict)

    @property
    def has_run(self) -> bool:
        """Whether it has ever committed anything."""
        return bool(self.positions)

    @property
    def is_drained(self) -> bool:
        """Whether any task has moved time to the end and has read nothing since."""
        return any(is_drained(meta) for metas in self.ends.values() for meta in metas)

    def has_begun_all(self, other: Standing) -> bool:
        """Whether it has read something of each partition that another has read of."""
        return all(self.positions.get(key) for key, at in other.positions.items() if at)

    def has_read(self, other: Standing) -> bool:
        """Whether it has read all that another has read."""
        return all(self.positions.get(key, 0) >= at for key, at in other.positions.items())


async def standing_of(client: Client, plan: Plan) -> Standing:
    """Returns where a pipeline or version stands.

    Args:
        client: Of the cluster.
        plan: Drawn with its names. Of the live side it may be a newer plan than what has run: its
            group tells which topics the tasks have read, and these tell their changelogs' names.
    """
    admin = Admin(client)
    group = (await admin.describe_groups([plan.name])).get(plan.name)
    committed = await admin.group_offsets(plan.name)
    subs = {key.topic: sub_topology_of(plan.name, key.topic) for key in committed}
    logs = {f"{plan.name}.{sub}.changelog": sub for sub in subs.values()}
    there = await admin.describe_topics(sorted(logs))
    partitions = [
        TopicPartition(name, each.partition)
        for name, topic in there.items()
        for each in topic.partitions
    ]
    ends: TaskEnds = {}
    for (topic, _), meta in sorted((await last_checkpoints(client, partitions)).items()):
        ends.setdefault(logs[topic], []).append(meta)
    writers = {topic for sub in plan.sub_topologies for topic in sub.writer_topics}
    counts = {
        name: len(topic.partitions)
        for name, topic in (await admin.describe_topics(sorted(writers))).items()
    }
    return Standing(
        name=plan.name,
        members=0 if group is None else len(group.members),
        positions={
            (key.topic, key.partition): at.offset
            for key, at in committed.items()
            if key.topic in plan.source_topics
        },
        ends=ends,
        writer_counts={
            sub.name: sum(counts.get(topic, 0) for topic in sub.writer_topics)
            for sub in plan.sub_topologies
        },
    )


def sub_topology_of(name: str, topic: str) -> str:
    """Returns the name of the sub-topology that reads a topic; a source's is the topic's."""
    if topic.startswith(f"{name}.") and topic.endswith(".repartition"):
        return topic.removeprefix(f"{name}.").removesuffix(".repartition")
    return topic


async def last_checkpoints(
    client: Client, partitions: list[TopicPartition]
) -> dict[TopicPartition, TaskMeta]:
    """Returns the newest checkpoint in each changelog; those without one are missing."""
    if not partitions:
        return {}
    admin = Admin(client)
    begins = _offsets(await admin.list_offsets(dict.fromkeys(partitions, EARLIEST)))
    ends = _offsets(await admin.list_offsets(dict.fromkeys(partitions, LATEST)))
    found: dict[TopicPartition, TaskMeta] = {}
    for look_back in (*LOOK_BACK, None):
        missing = [each for each in partitions if each not in found and begins[each] < ends[each]]
        starts = {
            each: begins[each] if look_back is None else max(begins[each], ends[each] - look_back)
            for each in missing
        }
        found |= await _checkpoints_from(client, starts, ends)
    return found


async def _checkpoints_from(
    client: Client, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, TaskMeta]:
    found: dict[TopicPartition, TaskMeta] = {}

    async def take(chunk: FetchedChunk) -> None:
        columns = chunk.columns
        for offset, key, value in zip(columns.offsets, columns.keys, columns.values, strict=True):
            meta = checkpoint_ended_by(offset, key, value)
            if meta is not None:
                found[chunk.topic_partition] = meta

    await read_records(client, starts, ends, take)
    return found


async def read_records(
    client: Client,
    starts: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
    take: Callable[[FetchedChunk], Awaitable[None]],
) -> None:
    """Hands over the records of partitions from their starts up to, at least, their ends.

    Raises:
        UnreachableError: If nothing has come for a long time.
    """
    wanted = {each: start for each, start in starts.items() if start < ends[each]}
    if not wanted:
        return
    async with open_consumer(client, ConsumerConfig()) as consumer:
        await consumer.assign(wanted)
        heard_at = trio.current_time()
        while wanted:
            chunks = await consumer.poll(POLL_WAIT_MS)
            for chunk in chunks:
                await take(chunk)
            done = [each for each in wanted if (consumer.position(each) or 0) >= ends[each]]
            await consumer.unassign(done)
            for each in done:
                del wanted[each]
            if chunks:
                heard_at = trio.current_time()
            elif trio.current_time() > heard_at + SILENCE_MAX_S:
                raise UnreachableError(
                    f"nothing came of {', '.join(map(str, wanted))} for {SILENCE_MAX_S} s",
                    hint="Does the broker answer? Try: streamlog topic list",
                )


def _offsets(
    found: Mapping[TopicPartition, OffsetAndTimestamp | None],
) -> dict[TopicPartition, int]:
    return {each: 0 if at is None else at.offset for each, at in found.items()}
