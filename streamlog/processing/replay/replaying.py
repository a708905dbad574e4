"""Runs a version beside the live pipeline, over a part of the sources that is settled first.

What it reads is noted in the registry before it begins, so that a replay which was cut short goes
on with the same, whoever starts it again, and a comparison knows what to compare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.values import LATEST, TopicPartition
from streamlog.processing.plan.naming import beside
from streamlog.processing.replay.dropping import drop, own_topics, plan_drop
from streamlog.processing.replay.errors import VersionRefusedError
from streamlog.processing.replay.offsets import describe, flat, further, nested
from streamlog.processing.replay.registry import Version, version_record
from streamlog.processing.replay.registry_topic import read_registry, write_registry
from streamlog.processing.replay.source import source_digest
from streamlog.processing.replay.versions import refuse_former
from streamlog.processing.worker.run import run_pipeline
from streamlog.processing.worker.span import Span
from streamlog.processing.worker.topics import find_sources

if TYPE_CHECKING:
    from collections.abc import Mapping

    import trio

    from streamlog.client.client import Client
    from streamlog.processing.dsl.pipeline import Pipeline
    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.replay.offsets import Offsets
    from streamlog.processing.replay.registry import Registry
    from streamlog.processing.worker.config import RunConfig
    from streamlog.processing.worker.span import Input
    from streamlog.processing.worker.status import PipelineStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """What to replay.

    Args:
        version: The version's name.
        begins: Where to begin in the partitions of streams; tables are always read from their
            start. Nothing: at the start, or, of a version that is there already, where it began.
        ends: Up to where to read, excluded; partitions that are not named: to their ends as of now.
        again: Drop what an earlier replay under this name has left, and begin anew.
    """

    version: str
    begins: Mapping[Input, int] | None = None
    ends: Mapping[Input, int] | None = None
    again: bool = False


async def replay(
    pipeline: Pipeline[..., object],
    request: ReplayRequest,
    config: RunConfig,
    status: PipelineStatus,
    stop: trio.Event,
) -> Version:
    """Runs a version to the end of the asked part, and returns what it was made of.

    Args:
        pipeline: The edited pipeline.
        request: What to replay.
        config: How to run; whether to drain is said here. Names and offsets are filled in.
        status: Is told how it goes.
        stop: Ends it early; the next replay goes on.

    Raises:
        VersionRefusedError: If there is something of this name that the request does not fit.
    """
    note = await settle(pipeline, request, config)
    await run_version(pipeline, request.version, note, config, status, stop)
    return note


async def settle(
    pipeline: Pipeline[..., object], request: ReplayRequest, config: RunConfig
) -> Version:
    """Settles what a version reads, and notes it in the registry; runs nothing.

    Workers that share a replay are started after this: each finds the same note.

    Raises:
        VersionRefusedError: If there is something of this name that the request does not fit.
    """
    plan = pipeline.plan(beside(pipeline.name, request.version))
    async with open_client(ClientConfig(brokers=config.brokers)) as client:
        if request.again:
            left = await plan_drop(client, pipeline, request.version, config.state_dir)
            if not left.is_empty:
                await drop(client, left)
        note = await _note(client, pipeline, plan, request, drain=config.drain)
        await write_registry(client, version_record(plan.name, note))
    return note


async def run_version(
    pipeline: Pipeline[..., object],
    version: str,
    note: Version,
    config: RunConfig,
    status: PipelineStatus,
    stop: trio.Event,
) -> None:
    """Runs a version up to the ends that are noted for it."""
    span = Span(flat(note.begins), flat(note.ends))
    naming = beside(pipeline.name, version)
    ready = replace(config, naming=naming, span=span, until_end=True)
    await run_pipeline(pipeline, ready, status, stop)


async def _note(
    client: Client,
    pipeline: Pipeline[..., object],
    plan: Plan,
    request: ReplayRequest,
    *,
    drain: bool,
) -> Version:
    """Returns the note of what is to be replayed now."""
    registry = await read_registry(client)
    digest = source_digest(pipeline)
    known = registry.version(plan.name)
    _check_name(registry, pipeline, plan, request)
    if known is None:
        await _check_nobodys(client, plan, request)
    else:
        _check_same(plan, request, known, digest)
    wanted = await _ends(client, plan, request)
    begins = known.begins if known is not None else nested(request.begins or {})
    ends = wanted if known is None else further(known.ends, wanted)
    if known is not None and known.drained and ends != known.ends:
        raise VersionRefusedError(
            f"{plan.name} was drained: its open windows are closed, so records that come now would "
            "be late for them",
            hint="Replay all of it anew: add --again",
        )
    return Version(
        pipeline=pipeline.name,
        begins=begins,
        ends=ends,
        topics=own_topics(plan),
        source=digest,
        drained=drain or (known is not None and known.drained),
    )


def _check_name(
    registry: Registry, pipeline: Pipeline[..., object], plan: Plan, request: ReplayRequest
) -> None:
    live = registry.live(pipeline.name)
    if plan.name in (live.runs_as, live.swapping_to):
        raise VersionRefusedError(
            f'{plan.name} is the live version of "{pipeline.name}"',
            hint="Replay under another name: --as v3"
            if request.version == "v2"
            else "Replay under another name",
        )
    refuse_former(registry, plan.name)


async def _check_nobodys(client: Client, plan: Plan, request: ReplayRequest) -> None:
    """Refuses a name under which there is something that no replay has made."""
    admin = Admin(client)
    there = sorted(await admin.describe_topics(own_topics(plan)))
    if there:
        raise VersionRefusedError(
            f'there is a topic "{there[0]}" already, and no replay has made it',
            hint=f"Choose another name than {request.version}: --as NAME",
        )
    if any(group.group == plan.name for group in await admin.list_groups()):
        raise VersionRefusedError(
            f'there is a group "{plan.name}" already, and no replay has made it',
            hint=f"Choose another name than {request.version}: --as NAME",
        )


def _check_same(plan: Plan, request: ReplayRequest, known: Version, digest: str) -> None:
    """Refuses to go on with a version that was made of something else."""
    again = "To drop what is there and replay anew: add --again"
    if known.source and digest and known.source != digest:
        raise VersionRefusedError(
            f"{plan.name} was made of other code: its file has changed since", hint=again
        )
    if request.begins is not None and nested(request.begins) != known.begins:
        raise VersionRefusedError(
            f"{plan.name} is there already, and began elsewhere: {describe(known.begins)}",
            hint=f"To go on with it, leave --from out. {again}",
        )


async def _ends(client: Client, plan: Plan, request: ReplayRequest) -> Offsets:
    """Up to where the sources are to be read: as asked, but not past what is there now."""
    admin = Admin(client)
    counts = (await find_sources(admin, plan.source_topics)).partition_counts
    places = [TopicPartition(topic, n) for topic, count in counts.items() for n in range(count)]
    found = await admin.list_offsets(dict.fromkeys(places, LATEST))
    asked = request.ends or {}
    return nested(
        {
            (topic, number): min(at.offset, asked.get((topic, number), at.offset))
            for (topic, number), at in found.items()
            if at is not None
        }
    )
