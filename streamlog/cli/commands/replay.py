"""`streamlog replay`: runs an edited pipeline beside the live one, compares, swaps, drops."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation

if TYPE_CHECKING:
    from streamlog.cli import replaying

WORKERS_MAX = 256


@click.command(
    "replay",
    cls=Command,
    examples="""
    streamlog replay app.py:totals --as v2
    streamlog replay app.py:totals --as v2 --from @2013-07-01T00:00 --until @2013-08-01T00:00
    streamlog replay app.py:totals --as v2 --diff --format json
    streamlog replay app.py:totals --as v2 --swap --execute
    streamlog replay app.py:totals --as v2 --drop --execute
    """,
)
@click.argument("target", metavar="FILE[:NAME]")
@click.option("--as", "version", required=True, metavar="VERSION", help="Its name, e.g. v2")
@click.option("--from", "begin", metavar="BOUND", help="start, @TIME, -N or an offset")
@click.option("--until", "end", metavar="BOUND", help="end (as of now), @TIME or an offset")
@click.option("--drain", is_flag=True, help="Close the windows that are open at the end")
@click.option("--again", is_flag=True, help="Drop what is there of the version, begin anew")
@click.option("--diff", is_flag=True, help="Compare its results; exits with 1 if they differ")
@click.option(
    "--sample",
    type=click.IntRange(0, 10_000),
    default=10,
    show_default=True,
    help="Differences to show of each topic",
)
@click.option("--swap", is_flag=True, help="Correct the live results, run it in the live place")
@click.option("--tombstones", is_flag=True, help="With --swap: nulls for results that are no more")
@click.option(
    "--drop",
    is_flag=True,
    help="Remove its group, topics and state; --as first: the former first version",
)
@click.option("--execute", is_flag=True, help="With --swap and --drop: do it")
@click.option(
    "--state", type=click.Path(path_type=Path, file_okay=False), help="Folder of local state"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the embedded broker's log",
)
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    default=1,
    show_default=True,
    help="Processes that share the replay",
)
@click.option("--worker", type=int, hidden=True, help="Set by the supervisor of this worker")
@click.option("--restarts", type=int, hidden=True, help="Likewise")
@click.option("-q", "--quiet", is_flag=True, help="No live table")
def command(
    target: str,
    version: str,
    begin: str | None,
    end: str | None,
    drain: bool,
    again: bool,
    diff: bool,
    sample: int,
    swap: bool,
    tombstones: bool,
    drop: bool,
    execute: bool,
    state: Path | None,
    data: Path | None,
    workers: int,
    worker: int | None,
    restarts: int | None,
    quiet: bool,
) -> None:
    """Run an edited pipeline beside the live one, as a version of its own.

    It reads the same sources at full speed, with a group, state and topics of its own; what it
    writes goes to topics with the version behind their names. The live pipeline does not notice.
    """
    _check(
        actions={"--diff": diff, "--swap": swap, "--drop": drop},
        of_replay={
            "--from": begin is not None,
            "--until": end is not None,
            "--drain": drain,
            "--again": again,
        },
        execute=execute,
        tombstones=tombstones,
    )
    from streamlog.cli import replaying
    from streamlog.cli.beginnings import parse_from
    from streamlog.cli.loop import run_async

    given = invocation()
    wanted = _wanted(target, version, state, data, quiet=quiet, is_drop=drop)
    now_ms = replaying.now_ms()
    first = None if begin is None else parse_from(begin, now_ms)
    last = replaying.parse_until(end or "end", now_ms)

    async def main() -> int:
        if diff:
            return await replaying.show_diff(wanted, sample)
        if swap:
            return await replaying.run_swap(wanted, tombstones=tombstones, execute=execute)
        if drop:
            return await replaying.run_drop(wanted, execute=execute)
        if worker is not None:
            return await replaying.run_worker_of_replay(wanted)
        return await replaying.run_replay(
            wanted, first, last, drain=drain, again=again, workers=workers
        )

    code = run_async(main, verbosity=given.verbosity)
    if code:
        raise click.exceptions.Exit(code)


def _wanted(
    target: str,
    version: str,
    state: Path | None,
    data: Path | None,
    *,
    quiet: bool,
    is_drop: bool,
) -> replaying.Command:
    """Loads the one pipeline that is meant."""
    from streamlog.cli import replaying
    from streamlog.cli.pipeline_file import load_pipelines
    from streamlog.errors import UsageError
    from streamlog.processing.plan.naming import FIRST, beside, check_version

    given = invocation()
    pipelines = load_pipelines(target)
    if len(pipelines) > 1:
        names = ", ".join(pipeline.name for pipeline in pipelines)
        raise UsageError(
            f"{target} has several pipelines: {names}",
            hint=f"Name one: {target.partition(':')[0]}:{pipelines[0].name}",
        )
    (pipeline,) = pipelines
    # What is wrong with the file is said before anything is started.
    if not (is_drop and version == FIRST):
        pipeline.plan(beside(pipeline.name, check_version(version)))
    return replaying.Command(
        target=target,
        pipeline=pipeline,
        version=version,
        settings=given.settings,
        state=state,
        data=data,
        quiet=quiet,
        as_json=given.is_json,
    )


def _check(
    actions: dict[str, bool], of_replay: dict[str, bool], *, execute: bool, tombstones: bool
) -> None:
    """Refuses options that do not go together."""
    asked = [name for name, given in actions.items() if given]
    if len(asked) > 1:
        raise click.UsageError(f"{asked[0]} and {asked[1]} exclude each other")
    if asked:
        for name, given in of_replay.items():
            if given:
                raise click.UsageError(f"{name} is for the replay itself, not for {asked[0]}")
    if execute and not (actions["--swap"] or actions["--drop"]):
        raise click.UsageError("--execute goes with --swap or --drop: a replay just runs")
    if tombstones and not actions["--swap"]:
        raise click.UsageError("--tombstones goes with --swap")
