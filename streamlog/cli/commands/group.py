"""`streamlog group`: consumer groups, how far behind they are, and moving them.

What moves or deletes something shows what it would do, and does it with `--execute`.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, Group, invocation
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.cli.aims import Target
    from streamlog.cli.output import Table
    from streamlog.client.admin.admin import Admin
    from streamlog.client.admin.values import GroupDescription


@click.group("group", cls=Group)
def command() -> None:
    """List consumer groups, describe their lag, and move them."""


@command.command("list", examples="streamlog group list --format json")
def list_groups() -> None:
    """List the consumer groups and their states; of versions of pipelines, which they are."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import Table, write_table
        from streamlog.cli.seeking import version_of
        from streamlog.cli.standing import who
        from streamlog.processing.replay.registry_topic import read_registry

        async with open_connection(given.settings) as (client, admin):
            groups = await admin.list_groups()
            registry = await read_registry(client)
        table = Table(["GROUP", "STATE", "PROTOCOL-TYPE", "PIPELINE", "VERSION", "ROLE"])
        for group in sorted(groups, key=lambda group: group.group):
            identity = version_of(registry, group.group)
            row = [group.group, group.state, group.protocol_type]
            table.rows.append([*row, *who(identity)])
        write_table(table, as_json=given.is_json)

    run_async(main, verbosity=given.verbosity)


@command.command("describe", cls=Command, examples="streamlog group describe delays_per_carrier")
@click.argument("name", metavar="GROUP")
def describe_group(name: str) -> None:
    """Show a group's committed offsets, lag and members."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import Table, write_json, write_table
        from streamlog.cli.seeking import existing_group, note_version

        async with open_connection(given.settings) as (client, admin):
            group = await existing_group(admin, name)
            offsets = await _offsets_table(admin, group)
            await note_version(client, name)
        lag = sum(row[4] for row in offsets.rows if isinstance(row[4], int))
        summary = Table(["GROUP", "STATE", "ASSIGNOR", "COORDINATOR", "MEMBERS", "LAG"])
        summary.rows.append(
            [name, group.state, group.assignor, group.coordinator, len(group.members), lag]
        )
        if given.is_json:
            write_json({**summary.records()[0], "partitions": offsets.records()})
            return
        write_table(summary, as_json=False)
        write_table(offsets, as_json=False)

    run_async(main, verbosity=given.verbosity)


async def _offsets_table(admin: Admin, group: GroupDescription) -> Table:
    from streamlog.cli.output import Table
    from streamlog.client.values import LATEST

    owners = {place: member for member in group.members for place in member.assignment}
    committed = await admin.group_offsets(group.group)
    places = sorted({*committed, *owners})
    # A committed topic may have been deleted since: it has no end, and no lag.
    there = await admin.describe_topics({place.topic for place in places})
    known = [place for place in places if place.topic in there]
    ends = await admin.list_offsets(dict.fromkeys(known, LATEST)) if known else {}
    table = Table(
        [
            *("TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"),
            *("MEMBER-ID", "CLIENT-ID", "HOST"),
        ]
    )
    for place in places:
        offset = committed[place].offset if place in committed else None
        end = found.offset if (found := ends.get(place)) else None
        lag = max(end - offset, 0) if offset is not None and end is not None else None
        owner = owners.get(place)
        member = [owner.member_id, owner.client_id, owner.client_host] if owner else [None] * 3
        table.rows.append([place.topic, place.partition, offset, end, lag, *member])
    return table


@command.command(
    "seek",
    examples="""
    streamlog group seek billing --to start
    streamlog group seek billing --to @2013-07-01T00:00 --topics orders:0,1
    streamlog group seek billing --to -100 --execute
    streamlog group seek audit --to @committed-of:billing --allow-new-topics --execute
    """,
)
@click.argument("name", metavar="GROUP")
@click.option("--to", help="start, end, @T, @-2h, OFFSET, +N, -N, current, @committed-of:GROUP")
@click.option("--to-group", metavar="GROUP", help="The same as --to @committed-of:GROUP")
@click.option("--from-file", "--to-file", "file", metavar="FILE", help="Positions that were kept")
@click.option("--topics", "--topic", multiple=True, metavar="T[:N,N]", help="Only these")
@click.option("--allow-new-topics", is_flag=True, help="Also those the group has not committed")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would move")
@click.option("--to-earliest", "kafka_start", is_flag=True, hidden=True)
@click.option("--to-latest", "kafka_end", is_flag=True, hidden=True)
@click.option("--to-current", "kafka_current", is_flag=True, hidden=True)
@click.option("--to-datetime", "kafka_datetime", hidden=True)
@click.option("--by-duration", "kafka_duration", hidden=True)
@click.option("--shift-by", "kafka_shift", type=int, hidden=True)
@click.option("--to-offset", "kafka_offset", type=click.IntRange(min=0), hidden=True)
@click.option("--all-topics", is_flag=True, hidden=True, expose_value=False)
@click.option("--dry-run", is_flag=True, hidden=True, expose_value=False)
def seek_group(
    name: str,
    topics: tuple[str, ...],
    allow_new_topics: bool,
    execute: bool,
    **aims: str | int | bool | None,
) -> None:
    """Move where a group goes on: to the start, a time, an offset, another group.

    Shows what would move, and moves it with --execute, while the group has no members. Takes the
    options of kafka-consumer-groups --reset-offsets as well: --to-earliest, --to-latest,
    --to-current, --to-datetime, --by-duration, --shift-by, --to-offset.
    """
    target = _target(name, aims)
    _seek(name, target, topics, allow_new_topics, execute)


def _target(name: str, aims: dict[str, str | int | bool | None]) -> Target:
    """The one target that the options name."""
    from streamlog.cli.aims import (
        COMMITTED_OF,
        EXAMPLES,
        Aim,
        Target,
        parse_datetime,
        parse_iso_duration,
        parse_target,
    )
    from streamlog.client.positions import parse_positions

    now_ms = time.time_ns() // 1_000_000
    given = {option: value for option, value in aims.items() if value not in (None, False)}
    if len(given) != 1:
        wrong = (
            "name one target, not several" if given else "it is not said where to move the group"
        )
        raise UsageError(wrong, hint=f"Write --to {EXAMPLES}")
    ((option, value),) = given.items()
    match option:
        case "to":
            return parse_target(str(value), now_ms)
        case "to_group":
            return parse_target(f"{COMMITTED_OF}{value}", now_ms)
        case "file":
            return Target(Aim.POSITIONS, positions=parse_positions(_text_of(str(value)), name))
        case "kafka_datetime":
            return parse_datetime(str(value), now_ms)
        case "kafka_duration":
            return parse_iso_duration(str(value), now_ms)
        case "kafka_shift":
            return Target(Aim.SHIFT, int(value or 0))
        case "kafka_offset":
            return Target(Aim.OFFSET, int(value or 0))
        case _:
            return Target(Aim(option.removeprefix("kafka_")))


def _text_of(file: str) -> str:
    return sys.stdin.read() if file == "-" else Path(file).read_text()


def _seek(
    name: str, target: Target, topics: tuple[str, ...], allow_new_topics: bool, execute: bool
) -> None:
    from streamlog.cli.aims import parse_scope
    from streamlog.cli.loop import run_async

    given = invocation()
    scope = parse_scope(topics)

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import note, write_table
        from streamlog.cli.seeking import (
            check_empty,
            is_pipeline,
            note_version,
            plan_seek,
            who_reads,
        )
        from streamlog.client.values import OffsetAndMetadata

        async with open_connection(given.settings) as (client, admin):
            await note_version(client, name)
            seek = await plan_seek(admin, name, target, scope, allow_new_topics=allow_new_topics)
            (group,) = (await admin.describe_groups([name])).values()
            pipeline = is_pipeline(await admin.group_offsets(name))
            if execute:
                check_empty(group, "its offsets cannot be moved")
                offsets = {place: OffsetAndMetadata(to) for place, to in seek.changes.items()}
                await admin.alter_group_offsets(name, offsets)
        write_table(seek.table(), as_json=given.is_json)
        for text in seek.notes:
            note(text)
        if pipeline:
            note(
                f'"{name}" is a pipeline: its state does not move with its offsets. To move both: '
                f"streamlog rewind {name} --to …"
            )
        if execute:
            note(f'group "{name}": {len(seek.changes)} of {len(seek.moves)} offsets moved')
            return
        if group.members:
            note(f"{who_reads(group)}: it cannot be moved until they have stopped")
        note(
            "Nothing was moved: this is what would. Do it: the same with --execute. "
            f"Keep where it stands: streamlog group export {name} > {name}.csv"
        )

    run_async(main, verbosity=given.verbosity)


@command.command(
    "export",
    examples="""
    streamlog group export billing > billing.csv
    streamlog group export billing --format json
    """,
)
@click.argument("name", metavar="GROUP")
def export_group(name: str) -> None:
    """Write where a group stands, as CSV or JSON; `group import` reads it."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import write_json
        from streamlog.cli.seeking import existing_group
        from streamlog.client.positions import as_json, format_csv

        async with open_connection(given.settings) as (_, admin):
            committed = await admin.group_offsets(name)
            if not committed:
                await existing_group(admin, name)
        positions = {place: at.offset for place, at in committed.items()}
        if given.is_json:
            write_json(as_json(name, positions))
        else:
            click.echo(format_csv(positions), nl=False)

    run_async(main, verbosity=given.verbosity)


@command.command(
    "import",
    examples="""
    streamlog group import billing billing.csv --execute
    streamlog group export billing | streamlog group import audit - --execute
    """,
)
@click.argument("name", metavar="GROUP")
@click.argument("file", metavar="FILE")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would move")
def import_group(name: str, file: str, execute: bool) -> None:
    """Move a group, or make one, to positions from a file (- is stdin).

    The file holds CSV as `group export` or Kafka's --export writes it, the lines of rpk's
    --to-file, or exported JSON.
    """
    _seek(name, _target(name, {"file": file}), (), True, execute)


@command.command("delete", examples="streamlog group delete billing --execute")
@click.argument("names", nargs=-1, required=True, metavar="GROUP...")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would go")
def delete_group(names: tuple[str, ...], execute: bool) -> None:
    """Delete groups without members, and with them where they stand."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import Table, note, write_table
        from streamlog.cli.seeking import (
            check_empty,
            existing_group,
            is_pipeline,
            note_version,
        )

        table = Table(["GROUP", "STATE", "MEMBERS", "OFFSETS"])
        async with open_connection(given.settings) as (client, admin):
            pipelines = []
            for name in names:
                await note_version(client, name)
                group = await existing_group(admin, name)
                committed = await admin.group_offsets(name)
                table.rows.append([name, group.state, len(group.members), len(committed)])
                pipelines += [name] if is_pipeline(committed) else []
                if execute:
                    check_empty(group, "it cannot be deleted")
            if execute:
                await admin.delete_groups(names)
            internal = await _internal_topics(admin, pipelines)
        write_table(table, as_json=given.is_json)
        for name, topics in internal.items():
            note(
                f'"{name}" is a pipeline: its state knows where it stands and stays. To have it '
                f"begin anew, delete that too: streamlog topic delete {' '.join(topics)} --execute"
            )
        command = f"streamlog group delete {' '.join(names)} --execute"
        note("deleted" if execute else f"Nothing was deleted: this is what would. Do it: {command}")

    run_async(main, verbosity=given.verbosity)


async def _internal_topics(admin: Admin, pipelines: list[str]) -> dict[str, list[str]]:
    """The topics in which pipelines keep their state and what is between their steps."""
    if not pipelines:
        return {}
    topics = [topic.name for topic in await admin.list_topics()]
    return {
        name: [
            topic
            for topic in topics
            if topic.startswith(f"{name}.") and topic.endswith((".changelog", ".repartition"))
        ]
        for name in pipelines
    }
