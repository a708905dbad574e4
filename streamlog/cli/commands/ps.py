"""`streamlog ps`: which pipelines there are, where they run and how far they are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.client.client import Client
    from streamlog.processing.worker.overview import PipelineSeen


@click.command(
    "ps",
    cls=Command,
    examples="""
    streamlog ps
    streamlog ps totals --tasks
    streamlog ps --running --format json -b kafka:9092
    """,
)
@click.argument("names", metavar="[PIPELINE...]", nargs=-1)
@click.option("--tasks", is_flag=True, help="A line for each input of each task")
@click.option("--running", is_flag=True, help="Only pipelines that have workers")
def command(names: tuple[str, ...], tasks: bool, running: bool) -> None:
    """Show the pipelines of a cluster: their workers, lag and last checkpoints.

    A pipeline's name means its live version. Others are named with a dot: totals.v2, or
    totals.first for the one that the pipeline began as. Lag is in records that wait.
    """
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import write_table
        from streamlog.cli.standing import Style, tasks_table, workers_table

        async with open_connection(given.settings) as (client, _):
            seen = await named_pipelines(client, names)
        if running:
            seen = [each for each in seen if each.workers]
        table = tasks_table if tasks else workers_table
        now_ms = time.time_ns() // 1_000_000
        write_table(table(seen, now_ms, Style(given.is_json)), as_json=given.is_json)

    run_async(main, verbosity=given.verbosity)


async def named_pipelines(client: Client, names: Sequence[str]) -> list[PipelineSeen]:
    """Returns the pipelines of these names, or all if there are none.

    Raises:
        NotFoundError: If one is not there.
    """
    from streamlog.config import did_you_mean
    from streamlog.errors import NotFoundError
    from streamlog.processing.worker.overview import look

    seen = await look(client, names or None)
    for name in names:
        if not any(each.identity.answers_to(name) for each in seen):
            known = [each.identity.called for each in await look(client)]
            nearest = did_you_mean(name, known)
            raise NotFoundError(
                f'no pipeline "{name}" runs or has run on this cluster',
                hint=nearest or "See them: streamlog ps",
            )
    return seen
