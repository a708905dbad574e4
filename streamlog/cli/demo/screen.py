"""What the demo shows while it works: on a terminal a progress bar and a live table, else lines."""

from __future__ import annotations

import sys
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from streamlog.cli.figures import upright
from streamlog.cli.output import note, rich_table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from rich.console import RenderableType

    from streamlog.cli.demo.loader import Progress
    from streamlog.cli.demo.results import Results
    from streamlog.cli.figures import Figures

REFRESH_S = 0.25
LINE_INTERVAL_S = 5.0
"""Between two lines where there is no terminal to redraw."""

LINES_BESIDE_RESULTS = 18
"""Lines of the screen that the figures, headings and margins take."""


@asynccontextmanager
async def _beside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Runs `work` beside the block, until the block ends."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        yield
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def loading_shown(progress: Progress) -> AsyncIterator[None]:
    """Shows how far the load is while the block runs, and at its end what it did."""
    started = trio.current_time()
    if sys.stderr.isatty():
        async with _progress_bar(progress):
            yield
    else:
        note("loading the flights of 2013")
        yield
    seconds = trio.current_time() - started
    loaded = progress.loaded - progress.found
    if loaded:
        note(f"loaded {loaded:,} records in {seconds:.1f} s; {progress.found:,} were there already")
    elif progress.found:
        note(f"all {progress.found:,} records were there already")


@asynccontextmanager
async def _progress_bar(progress: Progress) -> AsyncIterator[None]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("loading {task.description:<9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Bar(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("")

        def update() -> None:
            bar.update(
                task,
                description=progress.topic,
                total=progress.total or None,
                completed=progress.loaded,
                refresh=True,
            )

        async def refresh() -> None:
            while True:
                update()
                await trio.sleep(REFRESH_S)

        async with _beside(refresh):
            yield
        update()


@asynccontextmanager
async def work_shown(figures: Figures, results: Results) -> AsyncIterator[None]:
    """Shows the worker's figures and the carriers' newest results while the block runs."""
    show = _live_table if sys.stderr.isatty() else _lines
    async with show(figures, results):
        yield


@asynccontextmanager
async def _live_table(figures: Figures, results: Results) -> AsyncIterator[None]:
    from rich.console import Console, Group
    from rich.live import Live

    console = Console(stderr=True)

    def picture() -> RenderableType:
        now, wall_ms = trio.current_time(), time.time_ns() // 1_000_000
        newest = results.newest_table()
        room = max(console.size.height - LINES_BESIDE_RESULTS, 1)
        newest.rows = newest.rows[:room]
        return Group(
            rich_table(upright(figures.table(now, wall_ms))),
            rich_table(newest),
            "Ctrl-C ends it; what was done is kept.",
        )

    with Live(picture(), console=console, auto_refresh=False, transient=True) as live:

        async def refresh() -> None:
            while True:
                await results.catch_up()
                live.update(picture(), refresh=True)
                await trio.sleep(REFRESH_S)

        async with _beside(refresh):
            yield


@asynccontextmanager
async def _lines(figures: Figures, results: Results) -> AsyncIterator[None]:
    del results

    async def refresh() -> None:
        while True:
            await trio.sleep(LINE_INTERVAL_S)
            for row in figures.table(trio.current_time(), time.time_ns() // 1_000_000).rows:
                name, phase, records, rate, lag, late, stream_time, windows, checkpoint = row
                note(
                    f"{name}: {phase}, {records} records in, {rate}/s, lag {lag}, {late} late, "
                    f"stream time {stream_time or '-'}, {windows} open windows, "
                    f"last checkpoint {checkpoint or '-'}"
                )

    async with _beside(refresh):
        yield
