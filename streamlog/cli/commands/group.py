"""`streamlog group`: list consumer groups, describe their members and how far behind they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, Group, invocation

if TYPE_CHECKING:
    from streamlog.cli.output import Table
    from streamlog.client.admin.admin import Admin
    from streamlog.client.admin.values import GroupDescription


@click.group("group", cls=Group)
def command() -> None:
    """List consumer groups, describe their members and lag."""


@command.command("list", examples="streamlog group list --format json")
def list_groups() -> None:
    """List the consumer groups and their states."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import Table, write_table

        async with open_connection(given.settings) as (_, admin):
            groups = await admin.list_groups()
        table = Table(["GROUP", "STATE", "PROTOCOL-TYPE"])
        for group in sorted(groups, key=lambda group: group.group):
            table.rows.append([group.group, group.state, group.protocol_type])
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

        async with open_connection(given.settings) as (_, admin):
            group = await _existing_group(admin, name)
            offsets = await _offsets_table(admin, group)
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


async def _existing_group(admin: Admin, name: str) -> GroupDescription:
    """Returns a group.

    Raises:
        NotFoundError: If there is none of this name.
    """
    from streamlog.config import did_you_mean
    from streamlog.errors import NotFoundError

    known = [group.group for group in await admin.list_groups()]
    if name not in known:
        nearest = did_you_mean(name, known)
        raise NotFoundError(
            f'group "{name}" does not exist', hint=nearest or "See them: streamlog group list"
        )
    return (await admin.describe_groups([name]))[name]


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
