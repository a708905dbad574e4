"""What `run` does: opens a broker if none is named, and runs one worker here or several beside."""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.cli.addresses import format_address, listen_address
from streamlog.cli.beginnings import begin_at
from streamlog.cli.connection import client_config, open_connection
from streamlog.cli.failure import EXIT_INTERRUPTED
from streamlog.cli.figures import Figures, summary_line, upright
from streamlog.cli.loop import die, stop_asked_by_signals
from streamlog.cli.output import note
from streamlog.cli.watched import served_metrics
from streamlog.client.admin.values import NewTopic
from streamlog.config import state_folder
from streamlog.doors import SystemClock
from streamlog.metrics.routes import routes
from streamlog.processing.errors import RecordFailure
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.metrics import why_ill, why_not_ready, worker_families
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus
from streamlog.processing.worker.supervisor import supervise

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from streamlog.cli.offsets import Bound
    from streamlog.cli.pipeline_file import AnyPipeline
    from streamlog.config import Settings

REFRESH_S = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """What the command line asked for."""

    target: str
    until_end: bool
    drain: bool
    workers: int
    state: Path | None
    data: Path | None
    quiet: bool
    begin: Bound | None = None
    """Where a pipeline begins that has never run."""
    metrics: str | None = None
    standbys: int | None = None
    restarts: int | None = None
    """Of a worker that is supervised: how often it was started anew."""


async def run_request(
    request: RunRequest, pipelines: Sequence[AnyPipeline], settings: Settings
) -> int:
    """Runs pipelines to the end of the request, or until a signal; returns the exit code."""
    state = request.state or settings.path("state.dir") or state_folder() / "state"
    hurry = trio.Event()
    is_supervised = request.restarts is not None

    def impatient(received: int) -> None:
        # Whoever looks after workers must take them along.
        if request.workers > 1:
            hurry.set()
        elif not is_supervised:
            # A supervised one may be told twice: by its supervisor, and by the terminal.
            die(received)

    async with (
        stop_asked_by_signals(impatient) as stop,
        _brokers(request, settings, pipelines) as brokers,
    ):
        if request.begin is not None:
            (pipeline,) = pipelines
            async with open_connection(settings, brokers) as (client, _):
                await begin_at(client, pipeline, request.begin, quiet=request.quiet)
        if request.workers > 1:
            if not request.quiet:
                note(f"{request.workers} workers on {', '.join(brokers)}, state in {state}")
            command = partial(worker_command, request, settings, brokers, state)
            code = await supervise(command, request.workers, stop, hurry)
            return EXIT_INTERRUPTED if hurry.is_set() else code
        config = RunConfig(
            brokers=brokers,
            state_dir=state,
            until_end=request.until_end,
            drain=request.drain,
            standbys=request.standbys,
        )
        async with trio.open_nursery() as nursery:
            if is_supervised:
                nursery.start_soon(stop_when_orphaned, stop)
            await _run_here(request, config, pipelines, stop)
            nursery.cancel_scope.cancel()
    return EXIT_INTERRUPTED if request.until_end and stop.is_set() else 0


async def _run_here(
    request: RunRequest, config: RunConfig, pipelines: Sequence[AnyPipeline], stop: trio.Event
) -> None:
    """Runs one worker in this process."""
    status = RunStatus(restarts=request.restarts or 0)
    clock = SystemClock()
    paths = routes(
        lambda: worker_families(status, clock.wall_ms()),
        lambda: why_ill(status),
        lambda: why_not_ready(status),
    )
    # A pipeline that fails beside others is logged at once; a lone one is not said twice.
    logging.getLogger(run_worker.__module__).disabled = len(pipelines) == 1
    async with (
        served_metrics(request.metrics, paths, quiet=request.quiet) as served,
        shown(status, quiet=request.quiet),
    ):
        config = replace(config, metrics=served)
        try:
            await run_worker(pipelines, config, status, stop)
        except RecordFailure as error:
            error.hint = way_out(error, request.target, config.brokers)
            raise
    if not request.quiet:
        for figures in status.pipelines.values():
            note(summary_line(figures))


async def stop_when_orphaned(stop: trio.Event) -> None:
    """Waits for the end of standard input: the supervisor holds its other end."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as supervisor:
        while await supervisor.receive_some():
            pass
    stop.set()


def metrics_address(address: str, number: int) -> str:
    """Returns where one of several workers serves its figures: each has the port after the last's.

    >>> metrics_address("0.0.0.0:9400", 2), metrics_address(":0", 2)
    ('0.0.0.0:9402', '0.0.0.0:0')
    """
    host, port = listen_address(address)
    return format_address(host, port + number if port else 0)


def way_out(error: RecordFailure, target: str, brokers: Sequence[str]) -> str:
    """Says how to look at a record that failed, and how to go on."""
    where = f"{error.topic} -p {error.partition} -o {error.offset}"
    return (
        f"See it: streamlog consume {where} -n 1 -b {brokers[0]}. "
        f"Retry after the fix: streamlog run {target}. "
        "Or have such records set aside: @pipeline(on_error=dead_letter())"
    )


def worker_command(
    request: RunRequest,
    settings: Settings,
    brokers: Sequence[str],
    state: Path,
    number: int,
    restarts: int,
) -> list[str]:
    """Returns the command of one of several workers, which gets everything from its flags."""
    command = [sys.executable, "-m", "streamlog", "run", request.target, "--quiet"]
    command += [*settings.as_flags(), "-X", f"brokers={','.join(brokers)}"]
    command += ["--state", str(state)]
    if request.until_end:
        command += ["--until", "end"]
    if request.drain:
        command += ["--drain"]
    if request.standbys is not None:
        command += ["--standbys", str(request.standbys)]
    if request.metrics is not None:
        command += ["--metrics", metrics_address(request.metrics, number)]
    return [*command, "--restarts", str(restarts)]


@asynccontextmanager
async def _brokers(
    request: RunRequest, settings: Settings, pipelines: Sequence[AnyPipeline]
) -> AsyncIterator[tuple[str, ...]]:
    """Yields the brokers that were named, or an embedded one."""
    if settings.brokers is not None:
        yield client_config(settings).brokers
        return
    from streamlog.broker.config import DEFAULT_PORT
    from streamlog.cli.embedded import data_folder, embedded_config, free_address, open_server

    folder = data_folder(request.data, settings)
    async with open_server(embedded_config(folder, free_address())) as broker:
        if not request.quiet or broker.port != DEFAULT_PORT:
            # Nobody would guess a port that is not the usual one.
            note(f"embedded broker on {broker.host}:{broker.port}, data in {folder}")
        brokers = (f"{broker.host}:{broker.port}",)
        await _create_sources(settings, brokers, pipelines)
        yield brokers


async def _create_sources(
    settings: Settings, brokers: tuple[str, ...], pipelines: Sequence[AnyPipeline]
) -> None:
    """Creates the inputs that are missing: nobody else could do that on an embedded broker."""
    plans = [pipeline.plan() for pipeline in pipelines]
    names = sorted({name for plan in plans for name in (*plan.source_topics, *plan.table_topics)})
    async with open_connection(settings, brokers) as (_, admin):
        there = await admin.describe_topics(names)
        missing = [name for name in names if name not in there]
        if missing:
            await admin.create_topics([NewTopic(name) for name in missing])
            note(f"created {', '.join(missing)}; fill it: streamlog produce {missing[0]}")


@asynccontextmanager
async def shown(status: RunStatus, *, quiet: bool) -> AsyncIterator[None]:
    """Shows the figures on stderr while the block runs, if that is a terminal."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.live import Live

    from streamlog.cli.output import rich_table

    figures = Figures(status)
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:

        async def refresh() -> None:
            while True:
                table = figures.table(trio.current_time(), time.time_ns() // 1_000_000)
                live.update(rich_table(upright(table)), refresh=True)
                await trio.sleep(REFRESH_S)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(refresh)
            yield
            nursery.cancel_scope.cancel()
