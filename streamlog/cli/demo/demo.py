"""The demo from beginning to end: a broker, the data, the pipelines, and what they found out."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

import streamlog
from streamlog.cli.connection import open_connection
from streamlog.cli.demo.dataset import find_data
from streamlog.cli.demo.loader import Progress, load
from streamlog.cli.demo.results import CANCELLATIONS, DELAYS, Results
from streamlog.cli.demo.screen import loading_shown, work_shown
from streamlog.cli.failure import EXIT_INTERRUPTED
from streamlog.cli.figures import Figures, summary_line
from streamlog.cli.loop import stop_asked_by_signals
from streamlog.cli.output import note, write_json, write_table
from streamlog.cli.pipeline_file import load_pipelines
from streamlog.client.config import ConsumerConfig
from streamlog.client.consumer.consumer import open_consumer
from streamlog.config import state_folder
from streamlog.errors import NotFoundError
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlog.config import Settings

STATE_FOLDER = "pipelines"
"""In the data folder, if nobody says otherwise: local state belongs to the log it was made from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRequest:
    """What the command line asked for."""

    exit_at_end: bool
    data: Path | None
    listen: tuple[str, int] | None
    partitions: int | None
    as_json: bool

    @property
    def folder(self) -> Path:
        """Where the demo's data is."""
        return self.data or state_folder() / "demo"


def pipelines_file() -> Path:
    """Returns the file of the demo's pipelines."""
    path = Path(streamlog.__file__).parent.parent / "pipelines" / "flights.py"
    if not path.is_file():
        raise NotFoundError(
            f"the demo's pipelines, {path}, are not there",
            hint="They come with the source: git clone it, and run make demo",
        )
    return path


async def run_demo(request: DemoRequest, settings: Settings) -> int:
    """Runs the demo, to the end of the data or until a signal; returns the exit code."""
    data = find_data()
    pipelines = load_pipelines(str(pipelines_file()))
    status = RunStatus()
    async with (
        stop_asked_by_signals() as stop,
        _brokers(request, settings) as brokers,
        open_connection(settings, brokers) as (client, admin),
    ):
        progress = Progress()
        async with loading_shown(progress):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_cancel_when, stop, scope)
                    await load(client, admin, data, request.partitions, progress)
                    nursery.cancel_scope.cancel()
        if stop.is_set():
            note("stopped; the next time it goes on from here")
            return EXIT_INTERRUPTED if request.exit_at_end else 0
        config = RunConfig(
            brokers=brokers,
            state_dir=settings.path("state.dir") or request.folder / STATE_FOLDER,
            until_end=request.exit_at_end,
            drain=request.exit_at_end,
        )
        async with open_consumer(client, ConsumerConfig()) as consumer:
            results = Results(consumer, admin)
            started = trio.current_time()
            async with work_shown(Figures(status), results):
                await run_worker(pipelines, config, status, stop)
            seconds = trio.current_time() - started
            await results.catch_up()
        _write_results(request, results)
        _write_summary(status, seconds)
        _write_way_on(request, brokers, is_embedded=settings.brokers is None)
    return EXIT_INTERRUPTED if request.exit_at_end and stop.is_set() else 0


async def _cancel_when(stop: trio.Event, scope: trio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


@asynccontextmanager
async def _brokers(request: DemoRequest, settings: Settings) -> AsyncIterator[tuple[str, ...]]:
    """Yields the brokers that were named, or an embedded one."""
    if settings.brokers is not None:
        yield settings.brokers
        return
    from streamlog.cli.embedded import embedded_config, free_address, open_server

    config = embedded_config(request.folder, request.listen or free_address())
    async with open_server(config) as broker:
        note(f"broker on {broker.host}:{broker.port}, data in {request.folder}")
        yield (f"{broker.host}:{broker.port}",)


def _write_results(request: DemoRequest, results: Results) -> None:
    carriers, origins = results.carriers_table(), results.origins_table()
    if request.as_json:
        write_json({"carriers": carriers.records(), "origins": origins.records()})
        return
    write_table(carriers, as_json=False)
    write_table(origins, as_json=False)


def _write_summary(status: RunStatus, seconds: float) -> None:
    for figures in status.pipelines.values():
        note(summary_line(figures))
    records_in = sum(figures.records_in for figures in status.pipelines.values())
    if seconds:
        note(
            f"{records_in:,} records in {seconds:.1f} s: {records_in / seconds:,.0f} records/s "
            "(behind a repartition, a record counts again)"
        )


def _write_way_on(request: DemoRequest, brokers: tuple[str, ...], *, is_embedded: bool) -> None:
    """Says how to look at the results, now that the demo and its broker are gone."""
    note(f"results are in the topics {DELAYS} and {CANCELLATIONS}; look at them:")
    if is_embedded:
        note(f"  streamlog server --data {request.folder} --listen {brokers[0]} &")
    note(f"  streamlog consume {DELAYS} -o -1 -e -b {brokers[0]}")
