"""`streamlog run`: runs the pipelines of a file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation

if TYPE_CHECKING:
    from streamlog.cli.offsets import Bound
    from streamlog.cli.running import RunRequest

WORKERS_MAX = 256
STANDBYS_MAX = 8


@click.command(
    "run",
    cls=Command,
    examples="""
    streamlog run wordcount.py
    streamlog run app.py:totals -X brokers=kafka:9092 --workers 4
    streamlog run app.py --until end --drain
    streamlog run app.py:totals --from end
    streamlog run app.py --workers 2 --metrics 127.0.0.1:9400
    """,
)
@click.argument("target", metavar="FILE[:NAME...]")
@click.option(
    "--from",
    "begin",
    metavar="BOUND",
    help="Where a pipeline that has never run begins: start, end, @TIME or -N",
)
@click.option("--until", type=click.Choice(["end"]), help="Stop where the inputs end now")
@click.option("--drain", is_flag=True, help="With --until end: no more will come, close windows")
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    default=1,
    show_default=True,
    help="Processes that share the work",
)
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Folder of local state"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded broker's log",
)
@click.option(
    "--metrics",
    metavar="HOST:PORT",
    help="Serve /metrics, /healthz and /readyz here; with several workers each at its own port, "
    "from this one on",
)
@click.option(
    "--standbys",
    type=click.IntRange(0, STANDBYS_MAX),
    help="Warm copies of each task's state on other machines (default: what the pipeline says)",
)
@click.option("--restarts", type=int, hidden=True, help="Set by the supervisor of this worker")
@click.option("-q", "--quiet", is_flag=True, help="No live table")
def command(
    target: str,
    begin: str | None,
    until: str | None,
    drain: bool,
    workers: int,
    state: Path | None,
    data: Path | None,
    metrics: str | None,
    standbys: int | None,
    restarts: int | None,
    quiet: bool,
) -> None:
    """Run pipelines, on an embedded broker if none is named, until Ctrl-C."""
    from streamlog.cli.running import RunRequest
    from streamlog.errors import UsageError

    if drain and until is None:
        raise UsageError(
            "--drain says that no more will come, so the run has to end",
            hint="Add --until end",
        )
    request = RunRequest(
        target=target,
        begin=None if begin is None else _bound(begin),
        until_end=until is not None,
        drain=drain,
        workers=workers,
        state=state,
        data=data,
        quiet=quiet,
        metrics=metrics,
        standbys=standbys,
        restarts=restarts,
    )
    _run(request)


def _bound(text: str) -> Bound:
    from streamlog.cli.beginnings import parse_from

    return parse_from(text, time.time_ns() // 1_000_000)


def _run(request: RunRequest) -> None:
    from streamlog.cli.loop import run_async
    from streamlog.cli.pipeline_file import load_pipelines
    from streamlog.cli.running import run_request
    from streamlog.errors import UsageError

    given = invocation()
    pipelines = load_pipelines(request.target)
    if request.begin is not None and len(pipelines) > 1:
        names = ", ".join(pipeline.name for pipeline in pipelines)
        raise UsageError(
            f"--from is for one pipeline, and {request.target} has several: {names}",
            hint=f"Name one: {request.target.partition(':')[0]}:{pipelines[0].name}",
        )

    async def main() -> int:
        return await run_request(request, pipelines, given.settings)

    code = run_async(main, verbosity=given.verbosity)
    if code:
        raise click.exceptions.Exit(code)
