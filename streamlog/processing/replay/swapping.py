"""Puts a version in the live pipeline's place, with its state, and corrects the live topics.

The steps, each of which may be done again:

1. *Catch up*: the version runs on to where the live group has committed, still beside it.
2. *Announce*: the registry says that a swap is under way. From then on nobody starts the pipeline:
   a worker asks the registry before it starts, and again once the group counts it as a member,
   while the swap looks for members after it has announced itself. One of the two sees the other.
   If the live pipeline was running after all, or has read on, the announcement is taken back.
3. *Correct*: what differs in the live topics is written there, as the version has it.
4. *Swap*: the registry says under which name the pipeline runs from now on: one record.

A swap that was cut short is finished by doing it again: what was corrected does not differ any
more. Until then the pipeline does not run, which is the safe side: a part of its results is the
version's already.

Why the live pipeline has to be stopped: both would write the same topics, and the older results of
a window could come after its correction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig, ProducerConfig
from streamlog.client.producer.producer import open_producer
from streamlog.doors import WorkerThreads
from streamlog.processing.replay.comparing import compare_outputs, fill, find_sides, pairs_of
from streamlog.processing.replay.corrections import Corrections
from streamlog.processing.replay.diff import Part
from streamlog.processing.replay.dropping import note_of_former
from streamlog.processing.replay.errors import NoVersionError, VersionRefusedError
from streamlog.processing.replay.offsets import flat, further, nested
from streamlog.processing.replay.reach import kind_of
from streamlog.processing.replay.registry import Live, Version, live_record, version_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry
from streamlog.processing.replay.replaying import run_version
from streamlog.processing.replay.result import Kind
from streamlog.processing.replay.result_table import open_result_table
from streamlog.processing.replay.source import source_digest
from streamlog.processing.replay.versions import refuse_former
from streamlog.processing.worker.topics import ensure_topics, find_sources

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streamlog.client.client import Client
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.replay.comparing import Sides
    from streamlog.processing.replay.corrections import Correction
    from streamlog.processing.replay.diff import Comparison
    from streamlog.processing.replay.result_table import ResultTable
    from streamlog.processing.worker.config import RunConfig
    from streamlog.processing.worker.status import PipelineStatus

THREADS = 2
WRITTEN_AT_ONCE = 1_000
"""Corrections that are read from the disk in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapPlan:
    """What a swap would do, by how things stand now."""

    pipeline: str
    name: str
    """Of the version, whole."""
    live_name: str
    live_members: int
    version_members: int
    behind: int
    """Records that the version has to read to catch up."""
    resumes: bool
    """Whether a swap to it was begun and has not ended."""
    comparisons: list[Comparison] = field(default_factory=list)
    """How the results differ before it catches up; empty once it has been swapped in."""

    @property
    def is_done(self) -> bool:
        """Whether the version is the live one already."""
        return self.live_name == self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What a swap has done."""

    name: str
    former: str
    corrections: dict[str, Corrections]
    """By live topic."""


async def plan_swap(client: Client, pipeline: Pipeline[..., object], version: str) -> SwapPlan:
    """Returns what a swap would do; changes nothing.

    Raises:
        NoVersionError: If there is no such version.
        VersionRefusedError: If it cannot take the live pipeline's place.
    """
    live, note, sides = await _look(client, pipeline, version)
    if live.runs_as == sides.version_plan.name:
        comparisons: list[Comparison] = []
    else:
        comparisons = await compare_outputs(client, WorkerThreads(THREADS), sides)
    return SwapPlan(
        pipeline=pipeline.name,
        name=sides.version_plan.name,
        live_name=live.runs_as,
        live_members=sides.live.members,
        version_members=sides.version.members,
        behind=_behind(sides, note),
        resumes=live.swapping_to is not None,
        comparisons=comparisons,
    )


async def swap(
    pipeline: Pipeline[..., object],
    version: str,
    config: RunConfig,
    status: PipelineStatus,
    *,
    tombstones: bool = False,
) -> Swapped:
    """Puts a version in the live pipeline's place.

    Args:
        pipeline: The version's code.
        version: The version.
        config: How to run it while it catches up.
        status: Is told how that goes.
        tombstones: Whether results that the version does not have are taken back by nulls also in
            topics that are not compacted.

    Raises:
        NoVersionError: If there is no such version.
        VersionRefusedError: If it cannot be swapped in now.
    """
    async with open_client(ClientConfig(brokers=config.brokers)) as client:
        live, note, sides = await _look(client, pipeline, version)
        began = (await read_registry(client)).version(live.runs_as)
        name = sides.version_plan.name
        if live.runs_as == name:
            raise VersionRefusedError(f'{name} runs as "{pipeline.name}" already')
        _check_stopped(sides)
        note = await _catch_up(client, pipeline, version, sides, note, config, status)
        await _announce(client, pipeline, live, name)
        after = await find_sides(client, pipeline, live.runs_as, version, note, began)
        if after.live.members or after.live.positions != sides.live.positions:
            await write_registry(client, live_record(pipeline.name, _without_swap(live)))
            raise VersionRefusedError(
                f'"{pipeline.name}" has run while {name} caught up with it',
                hint="Stop its workers and swap again",
            )
        corrections = await _correct(client, after, tombstones=tombstones)
        await _take_place(client, pipeline.name, live, name)
        return Swapped(name=name, former=live.runs_as, corrections=corrections)


async def _look(
    client: Client, pipeline: Pipeline[..., object], version: str
) -> tuple[Live, Version, Sides]:
    """Returns how things stand; refuses what could not be right at any time."""
    registry = await read_registry(client)
    live = registry.live(pipeline.name)
    name = f"{pipeline.name}.{version}"
    note = registry.version(name)
    if note is None:
        raise NoVersionError(
            f"there is no version {name}",
            hint=f"Make it: streamlog replay FILE:{pipeline.name} --as {version}",
        )
    if live.swapping_to not in (None, name):
        raise VersionRefusedError(
            f'"{pipeline.name}" is being swapped for {live.swapping_to}, and that has not ended',
            hint=f"Finish that first: --as {(live.swapping_to or '').rpartition('.')[2]} --swap",
        )
    refuse_former(registry, name)
    if note.source and source_digest(pipeline) not in ("", note.source):
        raise VersionRefusedError(
            f"{name} was made of other code: its file has changed since, so its state may not be "
            "what this code makes",
            hint=f"Replay it anew: streamlog replay FILE:{pipeline.name} --as {version} --again",
        )
    began = registry.version(live.runs_as)
    sides = await find_sides(client, pipeline, live.runs_as, version, note, began)
    if live.runs_as != name and sides.version.is_drained and not sides.live.is_drained:
        raise VersionRefusedError(
            f"{name} was drained, and the live pipeline was not: what comes next would be late for "
            "the windows that a drain has closed",
            hint=f"Replay it without --drain: streamlog replay FILE:{pipeline.name} "
            f"--as {version} --again",
        )
    if live.runs_as != name and sides.version.is_drained and _behind(sides, note):
        raise VersionRefusedError(
            f"{name} was drained before it had read all that the live pipeline has, so what it has "
            "still to read would be late for the windows that the drain has closed",
            hint=f"Replay it anew: streamlog replay FILE:{pipeline.name} --as {version} --drain "
            "--again",
        )
    return live, note, sides


def _check_stopped(sides: Sides) -> None:
    for side in (sides.live, sides.version):
        if side.members:
            workers = "worker" if side.members == 1 else "workers"
            raise VersionRefusedError(
                f"{side.name} is running, with {side.members} {workers}",
                hint="Stop it first, then swap: results that both write would mix. (One that was "
                "killed counts until its session ends, some seconds later.) To have little to "
                "catch up then, replay once more before: without --swap",
            )


def _behind(sides: Sides, note: Version) -> int:
    """Records between where the version and the live pipeline stand."""
    begins = flat(note.begins)
    return sum(
        max(at - max(sides.version.positions.get(key, 0), begins.get(key, 0)), 0)
        for key, at in sides.live.positions.items()
    )


async def _catch_up(
    client: Client,
    pipeline: Pipeline[..., object],
    version: str,
    sides: Sides,
    note: Version,
    config: RunConfig,
    status: PipelineStatus,
) -> Version:
    """Runs the version on to where the live pipeline stands; returns its new note.

    It runs also if it is there already, for what a crash has kept it from doing.
    """
    ends = further(note.ends, nested(sides.live.positions))
    ahead = Version(
        pipeline=note.pipeline,
        begins=note.begins,
        ends=ends,
        topics=note.topics,
        source=note.source,
        drained=note.drained,
    )
    await write_registry(client, version_record(sides.version_plan.name, ahead))
    await run_version(pipeline, version, ahead, config, status, trio.Event())
    return ahead


async def _announce(client: Client, pipeline: Pipeline[..., object], live: Live, name: str) -> None:
    announced = Live(runs_as=live.runs_as, retired=live.retired, swapping_to=name)
    await write_registry(client, live_record(pipeline.name, announced))


async def _take_place(client: Client, pipeline: str, live: Live, name: str) -> None:
    """Makes a version the live one."""
    retired = (*(each for each in live.retired if each != name), live.runs_as)
    records = [live_record(pipeline, Live(runs_as=name, retired=retired))]
    if live.runs_as == pipeline:
        # Its code goes with the edit: what it leaves behind is noted for whoever drops it.
        registry = await read_registry(client)
        note = await note_of_former(client, pipeline, registry)
        records.append(version_record(pipeline, note))
    await write_registry(client, *records)


def _without_swap(live: Live) -> Live:
    return Live(runs_as=live.runs_as, retired=live.retired)


# Corrections.


async def _correct(client: Client, sides: Sides, *, tombstones: bool) -> dict[str, Corrections]:
    """Writes into the live topics what differs."""
    admin = Admin(client)
    plan = sides.live_plan
    sources = await find_sources(admin, (*plan.source_topics, *plan.table_topics))
    wanted = {live for live, _ in sides.topics()}
    specs = plan.topic_specs(sources.partition_counts)
    await ensure_topics(admin, [spec for spec in specs if spec.name in wanted])
    done: dict[str, Corrections] = {}
    for live_topic, topic in sides.topics():
        configs = await admin.describe_configs(live_topic)
        policy = next((each.value for each in configs if each.name == "cleanup.policy"), None)
        done[live_topic] = Corrections(
            _part_to_correct(sides, topic),
            compacted="compact" in (policy or ""),
            tombstones=tombstones,
        )
        await _write(client, sides, live_topic, topic, done[live_topic])
    return done


def _part_to_correct(sides: Sides, topic: str) -> Part:
    kind = kind_of(sides.version_plan, topic)
    if kind.kind is Kind.ROWS:
        # It has read all that the live side has, so a row that it does not have is none.
        return Part(sides.after_ms)
    return sides.version_part(topic)


async def _write(
    client: Client, sides: Sides, live_topic: str, topic: str, corrections: Corrections
) -> None:
    threads = WorkerThreads(THREADS)
    async with open_result_table(threads) as table:
        await fill(client, threads, table, sides, (live_topic, topic))
        records = _records(table, corrections)
        async with open_producer(client, ProducerConfig()) as producer:
            while batch := await threads.run(partial(_next, records)):
                for each in batch:
                    await producer.send(
                        live_topic,
                        each.value,
                        key=each.key,
                        timestamp_ms=each.timestamp_ms,
                        headers=each.headers,
                    )
            await producer.flush()


def _records(table: ResultTable, corrections: Corrections) -> Iterator[Correction]:
    return corrections.of(pairs_of(table))


def _next(records: Iterator[Correction]) -> Sequence[Correction]:
    """Takes some of them, in one go of a thread."""
    return list(islice(records, WRITTEN_AT_ONCE))
