"""`streamlog consume`: print the records of topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation
from streamlog.cli.record_format import VALUE_PER_LINE, compile_format, json_lines
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.cli.consuming import Selection
    from streamlog.cli.record_format import ChunkWriter


@click.command(
    "consume",
    cls=Command,
    examples=r"""
    streamlog consume orders -o -10 -e
    streamlog consume orders -o @-1h:end -J | jq .payload
    streamlog consume orders -f '%p@%o %k %s\n' -n 5
    streamlog consume orders -g billing
    """,
)
@click.argument("topics", nargs=-1, metavar="TOPIC...")
@click.option("-t", "topic_options", multiple=True, metavar="TOPIC", hidden=True)
@click.option(
    "-o",
    "--offset",
    default="start",
    show_default=True,
    help="start, end, :end, +10, -10, 47, 47:99, @-1h:end; see: streamlog help offsets",
)
@click.option("-n", "--num", type=click.IntRange(min=1), help="End after so many records")
@click.option("-e", "--exit", "exit_at_end", is_flag=True, help="End where the topics end now")
@click.option("-g", "--group", help="Read as a member of a group, from where it was")
@click.option("-p", "--partitions", metavar="N,N", help="Only these partitions")
@click.option(
    "-f",
    "--format",
    "record_format",
    help="kcat's %-letters, or json; see: streamlog help formats",
)
@click.option("-J", "--json", "as_json", is_flag=True, help="The same as -f json")
def command(
    topics: tuple[str, ...],
    topic_options: tuple[str, ...],
    offset: str,
    num: int | None,
    exit_at_end: bool,
    group: str | None,
    partitions: str | None,
    record_format: str | None,
    as_json: bool,
) -> None:
    """Print the records of topics, and those that arrive, until Ctrl-C."""
    from streamlog.cli.consuming import Selection

    names = topics + topic_options
    if not names:
        raise UsageError("no topic is named", hint="Name it: streamlog consume TOPIC")
    if as_json and record_format not in (None, "json"):
        raise UsageError("-J and -f exclude each other")
    given = invocation()
    as_json = as_json or record_format == "json" or (record_format is None and given.is_json)
    write = json_lines if as_json else compile_format(record_format or VALUE_PER_LINE)
    selection = Selection(
        topics=names,
        partitions=_numbers(partitions) if partitions else None,
        offsets=offset,
        group=group,
        exit_at_end=exit_at_end,
    )
    if group is not None:
        selection.check_for_group()
    _consume(selection, write, num)


def _numbers(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise UsageError(f"-p {text} is no list of partitions", hint="Write it as -p 0,1,2")
    return tuple(int(part) for part in parts)


def _consume(selection: Selection, write: ChunkWriter, num: int | None) -> None:
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.consuming import Printer, print_selection
        from streamlog.cli.loop import stopped_by_signals

        printer = Printer(write, num)
        async with stopped_by_signals(), open_connection(given.settings) as (client, admin):
            await print_selection(client, admin, selection, printer)

    run_async(main, verbosity=given.verbosity)
