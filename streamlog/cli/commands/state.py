"""`streamlog state`: looks into the state of pipelines on this machine, also while they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streamlog.cli.command import Group, invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.cli.known_versions import KnownVersions
    from streamlog.cli.state_rows import Look

FORMATS = ("text", "json", "csv")


@click.group("state", cls=Group)
def command() -> None:
    """Look into the state of pipelines on this machine, as of their last checkpoints."""


def _where(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that all of them have."""
    for option in (
        click.option("--format", "form", type=click.Choice(FORMATS), help="Default: text"),
        click.option("--cluster", metavar="ID", help="Of the pipeline, if several have one"),
        click.option(
            "--state",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder of local state",
        ),
    ):
        function = option(function)
    return function


def _look(pipeline: str, state: Path | None, cluster: str | None) -> Look:
    from streamlog.cli.state_rows import open_look

    return open_look(pipeline, state, cluster, invocation().settings, _known())


def _known() -> KnownVersions:
    from streamlog.cli.known_versions import ask_versions
    from streamlog.cli.loop import run_async

    given = invocation()
    return run_async(lambda: ask_versions(given.settings), verbosity=given.verbosity)


def _form(form: str | None) -> str:
    return form or invocation().settings.text("format") or "text"


@command.command("list", examples="streamlog state list delays_per_carrier")
@click.argument("pipeline", required=False)
@_where
def list_stores(
    pipeline: str | None, state: Path | None, cluster: str | None, form: str | None
) -> None:
    """List the stores of a pipeline's tasks; without a name, the pipelines."""
    from streamlog.cli.state_past import say_what_is_left
    from streamlog.cli.state_rows import pipelines_table, stores_table, write_rows

    if pipeline is None:
        table = pipelines_table(state, cluster, invocation().settings, _known())
        write_rows(table, _form(form))
        return
    look = _look(pipeline, state, cluster)
    write_rows(stores_table(look), _form(form))
    say_what_is_left(look)


@command.command("snapshots", examples="streamlog state snapshots delays_per_carrier")
@click.argument("pipeline")
@_where
def list_snapshots(
    pipeline: str, state: Path | None, cluster: str | None, form: str | None
) -> None:
    """List the kept snapshots, with which rewind --rebuild begins where history does not reach."""
    from streamlog.cli.state_past import snapshots_table
    from streamlog.cli.state_rows import write_rows

    write_rows(snapshots_table(_look(pipeline, state, cluster)), _form(form))


@command.command(
    "drop",
    examples="""
    streamlog state drop delays_per_carrier
    streamlog state drop delays_per_carrier --task 'flights[1]' --execute
    """,
)
@click.argument("pipeline")
@click.option("--task", "tasks", multiple=True, metavar="NAME[N]", help="A task; may be repeated")
@click.option("--all", "all_tasks", is_flag=True, help="All tasks, none of which may run here")
@click.option("--snapshots", "snapshots_only", is_flag=True, help="Only kept snapshots")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would go")
@_where
def drop(
    pipeline: str,
    tasks: tuple[str, ...],
    all_tasks: bool,
    snapshots_only: bool,
    execute: bool,
    state: Path | None,
    cluster: str | None,
    form: str | None,
) -> None:
    """Remove the state of tasks that moved to other workers; a worker restores what it needs."""
    from streamlog.cli.output import note
    from streamlog.cli.state_past import drop_states, states_to_drop
    from streamlog.cli.state_rows import write_rows

    look = _look(pipeline, state, cluster)
    meant = states_to_drop(look.folder, tasks, all_tasks=all_tasks, snapshots_only=snapshots_only)
    table = drop_states(look, meant, snapshots_only=snapshots_only, execute=execute)
    write_rows(table, _form(form))
    what = "Snapshots of" if snapshots_only else "State of"
    if execute:
        note(f"{what} {len(meant)} tasks: removed")
    elif meant:
        note("Nothing was removed: this is what would. Do it: the same with --execute")
    else:
        note("Nothing to remove: all state here is in use")


@command.command("get", examples="streamlog state get delays_per_carrier totals UA")
@click.argument("pipeline")
@click.argument("store")
@click.argument("key")
@_where
def get(
    pipeline: str,
    store: str,
    key: str,
    state: Path | None,
    cluster: str | None,
    form: str | None,
) -> None:
    """Show the rows of one key; exits with 4 if there is none."""
    from streamlog.cli.state_rows import rows_table, write_rows
    from streamlog.errors import NotFoundError

    look = _look(pipeline, state, cluster)
    table = rows_table(look, store, key=key)
    if not table.rows:
        raise NotFoundError(
            f'store "{store}" has no row of key "{key}"',
            hint=f"See some: streamlog state scan {pipeline} {store}",
        )
    write_rows(table, _form(form))


@command.command("scan", examples="streamlog state scan delays_per_carrier totals --prefix U -n 20")
@click.argument("pipeline")
@click.argument("store")
@click.option("--prefix", default="", help="Only keys that begin so")
@click.option("--from", "begin", metavar="TIME", help="Only windows and times from then on")
@click.option("--until", "end", metavar="TIME", help="Only those before")
@click.option(
    "-n", "rows_max", type=click.IntRange(min=1), default=100, show_default=True, help="Rows"
)
@_where
def scan(
    pipeline: str,
    store: str,
    prefix: str,
    begin: str | None,
    end: str | None,
    rows_max: int,
    state: Path | None,
    cluster: str | None,
    form: str | None,
) -> None:
    """Show rows of a store, task by task."""
    from streamlog.cli.output import note
    from streamlog.cli.state_rows import rows_table, span_of, write_rows

    look = _look(pipeline, state, cluster)
    table = rows_table(look, store, prefix=prefix, span=span_of(begin, end), rows_max=rows_max)
    write_rows(table, _form(form))
    if len(table.rows) == rows_max:
        note(f"The first {rows_max:,} rows. More: -n")


@command.command("export", examples="streamlog state export delays_per_carrier -o state.jsonl")
@click.argument("pipeline")
@click.argument("store", required=False)
@click.option(
    "-o", "--output", type=click.File("w", lazy=False), default="-", help="Default: stdout"
)
@_where
def export(
    pipeline: str,
    store: str | None,
    output: Any,  # noqa: ANN401  click's files have no type of their own
    state: Path | None,
    cluster: str | None,
    form: str | None,
) -> None:
    """Write all rows, of one store or of all, as JSON lines or CSV."""
    from streamlog.cli.output import note
    from streamlog.cli.state_rows import export_rows

    look = _look(pipeline, state, cluster)
    count = export_rows(look, store, output, as_csv=_form(form) == "csv")
    note(f"{count:,} rows")
