"""`streamlog top`: the pipelines of a cluster, live."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation

if TYPE_CHECKING:
    from streamlog.cli.output import Table
    from streamlog.cli.standing import TopFigures
    from streamlog.client.client import Client

INTERVAL_S = 1.0
INTERVAL_MAX_S = 3600.0
SAMPLE_S = 2.0
"""Between the two looks of `--once`: committed offsets move at checkpoints, a second apart."""


@click.command(
    "top",
    cls=Command,
    examples="""
    streamlog top
    streamlog top totals --tasks
    streamlog top --once --format json
    """,
)
@click.argument("names", metavar="[PIPELINE...]", nargs=-1)
@click.option(
    "--tasks", is_flag=True, help="A line for each input of each task, those most behind first"
)
@click.option("--once", is_flag=True, help="Show it once, with rates over two seconds, and end")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, INTERVAL_MAX_S),
    default=INTERVAL_S,
    show_default=True,
    help="Seconds between two looks",
)
def command(names: tuple[str, ...], tasks: bool, once: bool, interval: float) -> None:
    """Show pipelines as they run: rates, lag, stream time, age of checkpoints.

    Rates are those of committed offsets, so they are known for every pipeline; workers that serve
    --metrics add what only they know.
    """
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        import trio

        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import write_table
        from streamlog.cli.standing import Style, TopFigures

        figures = TopFigures(Style(given.is_json))
        async with open_connection(given.settings) as (client, _):
            table = await look_once(client, figures, names, by_task=tasks)
            if once:
                await trio.sleep(SAMPLE_S)
                table = await look_once(client, figures, names, by_task=tasks)
                write_table(table, as_json=given.is_json)
                return
            await follow(client, figures, names, table, by_task=tasks, interval=interval)

    run_async(main, verbosity=given.verbosity)


async def look_once(
    client: Client, figures: TopFigures, names: tuple[str, ...], *, by_task: bool
) -> Table:
    """Looks at the cluster and returns what there is to show."""
    import trio

    from streamlog.cli.commands.ps import named_pipelines
    from streamlog.processing.worker.watching import fetch_all

    seen = await named_pipelines(client, names)
    now, wall_ms = trio.current_time(), time.time_ns() // 1_000_000
    if by_task:
        return figures.tasks(seen, now, wall_ms)
    addresses = {each.word.metrics for pipeline in seen for each in pipeline.workers}
    served = await fetch_all(address for address in addresses if address)
    return figures.pipelines(seen, now, wall_ms, served)


async def follow(
    client: Client,
    figures: TopFigures,
    names: tuple[str, ...],
    table: Table,
    *,
    by_task: bool,
    interval: float,
) -> None:
    """Shows the table until Ctrl-C: redrawn on a terminal, else one after another."""
    import trio

    from streamlog.cli.figures import upright
    from streamlog.cli.loop import stopped_by_signals
    from streamlog.cli.output import rich_table, write_table

    async with stopped_by_signals():
        if not sys.stdout.isatty():
            while True:
                write_table(table, as_json=invocation().is_json)
                await trio.sleep(interval)
                table = await look_once(client, figures, names, by_task=by_task)
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(), auto_refresh=False, screen=True) as live:
            while True:
                live.update(rich_table(table if by_task else upright(table)), refresh=True)
                await trio.sleep(interval)
                table = await look_once(client, figures, names, by_task=by_task)
