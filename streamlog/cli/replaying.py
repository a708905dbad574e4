"""What `replay` does: runs a version, shows how it differs, swaps it in, or drops it."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.cli.beginnings import begins_in
from streamlog.cli.connection import client_config
from streamlog.cli.consuming import extents_of
from streamlog.cli.differences import comparison_as_json, comparison_table, sample_table
from streamlog.cli.failure import EXIT_INTERRUPTED
from streamlog.cli.figures import summary_line
from streamlog.cli.loop import stop_asked_by_signals
from streamlog.cli.offsets import Anchor, Bound, Range, offset_of, parse_offsets
from streamlog.cli.output import Table, note, write_json, write_table
from streamlog.cli.running import shown, stop_when_orphaned, way_out
from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.values import TopicPartition
from streamlog.config import state_folder
from streamlog.doors import WorkerThreads
from streamlog.errors import NotFoundError
from streamlog.processing.errors import RecordFailure
from streamlog.processing.plan.naming import FIRST, name_of
from streamlog.processing.replay.comparing import compare_outputs, find_sides
from streamlog.processing.replay.dropping import drop_version
from streamlog.processing.replay.errors import NoVersionError
from streamlog.processing.replay.offsets import streams_of
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.replaying import ReplayRequest, run_version, settle
from streamlog.processing.replay.swapping import plan_swap, swap
from streamlog.processing.replay.versions import Role, refuse_former
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.status import RunStatus
from streamlog.processing.worker.supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamlog.cli.pipeline_file import AnyPipeline
    from streamlog.client.client import Client
    from streamlog.config import Settings
    from streamlog.processing.replay.dropping import DropPlan
    from streamlog.processing.replay.registry import Version
    from streamlog.processing.replay.swapping import Swapped, SwapPlan
    from streamlog.processing.worker.span import Input

EXIT_DIFFERENT = 1
"""As `diff` says it: 0 for the same, 1 for differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What all forms of the command need."""

    target: str
    pipeline: AnyPipeline
    version: str
    settings: Settings
    state: Path | None
    data: Path | None
    quiet: bool
    as_json: bool

    @property
    def name(self) -> str:
        """The version's whole name."""
        return name_of(self.pipeline.name, self.version)

    def line(self, rest: str) -> str:
        """A command line about this version."""
        file = self.target.partition(":")[0]
        line = f"streamlog replay {file}:{self.pipeline.name} --as {self.version} {rest}".rstrip()
        return line if self.settings.brokers is None else f"{line} -b {self.settings.brokers[0]}"

    def config(self, brokers: tuple[str, ...], *, drain: bool = False) -> RunConfig:
        """How workers of the version run."""
        state = self.state or self.settings.path("state.dir") or state_folder() / "state"
        return RunConfig(brokers=brokers, state_dir=state, until_end=True, drain=drain)


@asynccontextmanager
async def _brokers(command: Command) -> AsyncIterator[tuple[str, ...]]:
    """Yields the brokers that were named, or an embedded one."""
    if command.settings.brokers is not None:
        yield client_config(command.settings).brokers
        return
    from streamlog.cli.embedded import data_folder, embedded_config, free_address, open_server

    folder = data_folder(command.data, command.settings)
    async with open_server(embedded_config(folder, free_address())) as broker:
        if not command.quiet:
            note(f"embedded broker on {broker.host}:{broker.port}, data in {folder}")
        yield (f"{broker.host}:{broker.port}",)


@asynccontextmanager
async def _client(command: Command, brokers: tuple[str, ...]) -> AsyncIterator[Client]:
    async with open_client(client_config(command.settings, brokers)) as client:
        yield client


# Replay.


def parse_until(text: str, now_ms: int) -> Bound:
    """Returns where to stop.

    >>> parse_until("@2013-07-01", now_ms=0)
    Bound(anchor=<Anchor.TIME: 'time'>, number=1372636800000)
    """
    if text in ("end", "newest"):
        return Bound(Anchor.END)
    parsed = parse_offsets(f"@:{text[1:]}" if text.startswith("@") else f":{text}", now_ms)
    assert parsed.stop is not None
    return parsed.stop


async def run_replay(
    command: Command, begin: Bound | None, end: Bound, *, drain: bool, again: bool, workers: int
) -> int:
    """Runs a version over a part of the sources; returns the exit code."""
    async with stop_asked_by_signals() as stop, _brokers(command) as brokers:
        begins, ends = await _offsets(command, brokers, begin, end)
        request = ReplayRequest(version=command.version, begins=begins, ends=ends, again=again)
        settled = await settle(command.pipeline, request, command.config(brokers, drain=drain))
        if workers == 1:
            await _run_here(command, settled, brokers, stop)
        else:
            line = partial(_worker_line, command, brokers)
            code = await supervise(line, workers, stop)
            if code:
                return code
        if not command.quiet:
            note(f"Compare it with the live one: {command.line('--diff')}")
        return EXIT_INTERRUPTED if stop.is_set() else 0


async def run_worker_of_replay(command: Command) -> int:
    """Runs one of several workers of a replay that was settled; returns the exit code."""
    async with (
        stop_asked_by_signals(lambda _: None) as stop,
        _brokers(command) as brokers,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(stop_when_orphaned, stop)
        async with _client(command, brokers) as client:
            settled = (await read_registry(client)).version(command.name)
        if settled is None:
            raise NoVersionError(f"there is no version {command.name}")
        await _run_here(command, settled, brokers, stop)
        nursery.cancel_scope.cancel()
    return 0


async def _run_here(
    command: Command, settled: Version, brokers: tuple[str, ...], stop: trio.Event
) -> None:
    status = RunStatus()
    figures = status.of(command.pipeline.name)
    config = command.config(brokers, drain=settled.drained)
    async with shown(status, quiet=command.quiet):
        try:
            await run_version(command.pipeline, command.version, settled, config, figures, stop)
        except RecordFailure as error:
            error.hint = way_out(error, command.target, brokers)
            raise
    if not command.quiet:
        note(summary_line(figures))


def _worker_line(
    command: Command, brokers: tuple[str, ...], number: int, restarts: int
) -> list[str]:
    """Returns the command of one of several workers, which gets everything from its flags."""
    line = [sys.executable, "-m", "streamlog", "replay", command.target, "--as", command.version]
    line += [*command.settings.as_flags(), "-X", f"brokers={','.join(brokers)}", "--quiet"]
    line += ["--state", str(command.config(brokers).state_dir)]
    return [*line, "--worker", str(number), "--restarts", str(restarts)]


async def _offsets(
    command: Command, brokers: tuple[str, ...], begin: Bound | None, end: Bound
) -> tuple[dict[Input, int] | None, dict[Input, int]]:
    """What the bounds mean in each partition of the sources."""
    plan = command.pipeline.plan()
    async with _client(command, brokers) as client:
        admin = Admin(client)
        there = await admin.describe_topics(plan.source_topics)
        places = [
            TopicPartition(topic.name, each.partition)
            for topic in there.values()
            for each in topic.partitions
        ]
        extents = await extents_of(admin, places, Range(begin or Bound(Anchor.START), end))
    streams = streams_of(plan)
    ends: dict[Input, int] = {
        place: offset_of(end, extents[place])
        for place in places
        # An offset in a stream means nothing in a table; a time does.
        if place.topic in streams or end.anchor is not Anchor.OFFSET
    }
    return None if begin is None else begins_in(streams, extents, begin), ends


# Diff.


async def show_diff(command: Command, sample_max: int) -> int:
    """Compares a version's results with the live ones; returns the exit code."""
    async with _brokers(command) as brokers, _client(command, brokers) as client:
        registry = await read_registry(client)
        version = registry.version(command.name)
        if version is None:
            raise NoVersionError(
                f"there is no version {command.name}", hint=f"Make it: {command.line('')}"
            )
        refuse_former(registry, command.name)
        live = registry.live(command.pipeline.name)
        sides = await find_sides(
            client,
            command.pipeline,
            live.runs_as,
            command.version,
            version,
            registry.version(live.runs_as),
        )
        if not sides.live.has_run:
            raise NotFoundError(
                f'pipeline "{command.pipeline.name}" has never run here, so there is nothing to '
                "compare with",
                hint=f"Run it: streamlog run {command.target}",
            )
        found = await compare_outputs(client, WorkerThreads(1), sides, sample_max)
    differs = any(each.differs for each in found)
    if command.as_json:
        write_json(
            {
                "version": command.name,
                "live": live.runs_as,
                "differs": differs,
                "topics": [comparison_as_json(each) for each in found],
            }
        )
    else:
        write_table(comparison_table(found), as_json=False)
        sample = sample_table(found)
        if sample.rows:
            write_table(sample, as_json=False)
    for each in found:
        if not (each.same or each.differs):
            note(
                f"Nothing of {each.topic} can be compared yet: no window is closed on both sides. "
                "Windows close as time passes, or at once by --drain"
            )
    return EXIT_DIFFERENT if differs else 0


# Swap.


async def run_swap(command: Command, *, tombstones: bool, execute: bool) -> int:
    """Shows what a swap would do, or does it; returns the exit code."""
    async with _brokers(command) as brokers:
        async with _client(command, brokers) as client:
            plan = await plan_swap(client, command.pipeline, command.version)
        if plan.is_done:
            note(f'{plan.name} runs as "{plan.pipeline}" already: nothing to do')
            return 0
        if not execute:
            _show_swap_plan(command, plan)
            return 0
        status = RunStatus()
        async with shown(status, quiet=command.quiet):
            swapped = await swap(
                command.pipeline,
                command.version,
                command.config(brokers),
                status.of(command.pipeline.name),
                tombstones=tombstones,
            )
        _show_swapped(command, swapped)
    return 0


def _show_swap_plan(command: Command, plan: SwapPlan) -> None:
    summary = Table(["VERSION", "IN-PLACE-OF", "WORKERS", "RECORDS-BEHIND"])
    workers = plan.live_members + plan.version_members
    summary.rows.append([plan.name, plan.live_name, workers, plan.behind])
    differences = comparison_table(plan.comparisons)
    if command.as_json:
        write_json({**summary.records()[0], "topics": differences.records()})
    else:
        write_table(summary, as_json=False)
        write_table(differences, as_json=False)
    if plan.live_members or plan.version_members:
        running = plan.live_name if plan.live_members else plan.name
        note(f"{running} is running: stop its workers before you swap")
    if plan.resumes:
        note("A swap was begun and has not ended; doing it again finishes it")
    note(
        f"Nothing was done: the version would read on to where the live one stands, what differs "
        f"then would be written to the live topics, and {plan.name} would run as "
        f'"{plan.pipeline}". Do it: {command.line("--swap --execute")}'
    )


def _show_swapped(command: Command, swapped: Swapped) -> None:
    table = Table(["TOPIC", "CORRECTED", "TAKEN-BACK", "LEFT"])
    for topic, each in swapped.corrections.items():
        table.rows.append([topic, each.written, each.removed, each.left])
    write_table(table, as_json=command.as_json)
    if any(each.left for each in swapped.corrections.values()):
        note(
            "LEFT are results that the version does not have, in topics that are not compacted: "
            "no reader would know what a null means. To write nulls all the same: --tombstones"
        )
    note(
        f'{swapped.name} runs as "{command.pipeline.name}" from now on: '
        f"streamlog run {command.target}"
    )
    former = swapped.former.removeprefix(f"{command.pipeline.name}.")
    version = FIRST if swapped.former == command.pipeline.name else former
    note(
        "The former version's state and topics stay. When nobody needs them any more: "
        f"{replace(command, version=version).line('--drop')}"
    )


# Drop.


async def run_drop(command: Command, *, execute: bool) -> int:
    """Shows what dropping a version removes, or does it; returns the exit code."""
    async with _brokers(command) as brokers:
        plan = await drop_version(
            command.pipeline,
            command.version,
            brokers,
            command.config(brokers).state_dir,
            execute=execute,
        )
    table = Table(["WHAT", "NAME", "RECORDS"])
    table.rows += [["group", group, None] for group in plan.groups]
    for topic, records in plan.topics.items():
        table.rows.append(["topic", topic, records])
    if plan.state is not None:
        table.rows.append(["state", str(plan.state), None])
    write_table(table, as_json=command.as_json)
    if execute:
        note("dropped")
    else:
        if plan.members:
            note(f"{plan.name} is running: stop its workers first")
        note(
            f"Nothing was dropped: this is what would go of {_in_words(plan)}. "
            f"Drop it: {command.line('--drop --execute')}"
        )
    return 0


def _in_words(plan: DropPlan) -> str:
    if plan.role is Role.FORMER:
        return f"a former version of {plan.pipeline}"
    return f"{plan.name}, which is not live"


def now_ms() -> int:
    """Returns the wall clock's milliseconds, for bounds that are counted from now."""
    return time.time_ns() // 1_000_000
