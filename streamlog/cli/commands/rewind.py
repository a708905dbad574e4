"""`streamlog rewind`: takes a pipeline's state and positions back, together."""

from __future__ import annotations

from pathlib import Path

import click

from streamlog.cli.command import Command, invocation


@click.command(
    "rewind",
    cls=Command,
    examples="""
    streamlog rewind app.py:totals --to @2013-07-01T00:00
    streamlog rewind totals --to @-2h --execute
    streamlog rewind totals --to -3 --format json
    streamlog rewind app.py:totals --to start --execute
    """,
)
@click.argument("target", metavar="PIPELINE|FILE:PIPELINE")
@click.option(
    "--to", required=True, metavar="WHERE", help="start, end, @TIME, @-2h or -3 (checkpoints)"
)
@click.option(
    "--by",
    type=click.Choice(["event", "clock"]),
    help="Which time @ means; by default dates the records', durations the clock's",
)
@click.option("--rebuild", is_flag=True, help="Where history does not reach, read the log again")
@click.option("--execute", is_flag=True, help="Do it; without this, only say what would be done")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Folder of local state"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded broker's log",
)
def command(
    target: str,
    to: str,
    by: str | None,
    rebuild: bool,
    execute: bool,
    state: Path | None,
    data: Path | None,
) -> None:
    """Take a pipeline back to an earlier checkpoint, state and positions together.

    Shows for each task where it would go. With --execute it goes there, if no worker runs. Run the
    pipeline then: it reads again what it had read since, with the functions that it has by then.
    """
    from streamlog.cli.loop import run_async
    from streamlog.cli.rewind_target import parse_rewind_target
    from streamlog.cli.rewinding import Command as Wanted
    from streamlog.cli.rewinding import now_ms, run_rewind

    given = invocation()
    wanted = Wanted(
        target=target,
        to=parse_rewind_target(to, now_ms(), by),
        text=to if by is None else f"{to} --by {by}",
        rebuild=rebuild,
        execute=execute,
        settings=given.settings,
        state=state,
        data=data,
        as_json=given.is_json,
    )
    code = run_async(lambda: run_rewind(wanted), verbosity=given.verbosity)
    if code:
        raise click.exceptions.Exit(code)
