"""`streamlog topic`: create, list, describe and delete topics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Group, Invocation, invocation
from streamlog.errors import RefusedError, UsageError

TOPIC_CONFIG = "DYNAMIC_TOPIC_CONFIG"
"""The source of what was set for this topic, not inherited."""

if TYPE_CHECKING:
    from streamlog.client.admin.admin import Admin
    from streamlog.client.admin.values import TopicDescription
    from streamlog.client.values import TopicPartition


@click.group("topic", cls=Group)
def command() -> None:
    """Create, list, describe and delete topics."""


@command.command(
    "create",
    examples="""
    streamlog topic create orders -p 4
    streamlog topic create prices -p 4 -c retention.ms=86400000
    """,
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-p", "--partitions", type=click.IntRange(min=1), help="Default: the broker's")
@click.option("-r", "--replicas", type=click.IntRange(min=1), help="Default: the broker's")
@click.option("-c", "--config", "configs", multiple=True, metavar="K=V", help="Kafka's settings")
@click.option("--if-not-exists", is_flag=True, help="Leave alone those that are there")
def create(
    names: tuple[str, ...],
    partitions: int | None,
    replicas: int | None,
    configs: tuple[str, ...],
    if_not_exists: bool,
) -> None:
    """Create topics."""
    from streamlog.cli.loop import run_async
    from streamlog.cli.output import note
    from streamlog.client.admin.values import NewTopic

    settings = dict(_pair(config) for config in configs)
    wanted = [NewTopic(name, partitions or -1, replicas or -1, settings) for name in names]
    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection

        async with open_connection(given.settings) as (_, admin):
            there = await admin.describe_topics(names)
            if there and not if_not_exists:
                existing = next(iter(there.values()))
                raise RefusedError(
                    f'topic "{existing.name}" exists already, with '
                    f"{len(existing.partitions)} partitions",
                    hint="To leave it as it is: --if-not-exists",
                )
            await admin.create_topics([topic for topic in wanted if topic.name not in there])
            for name in names:
                note(f'topic "{name}" {"was there already" if name in there else "created"}')

    run_async(main, verbosity=given.verbosity)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"-c {text} has no value", hint=f"Write it as -c {text}=VALUE")
    return name, value


@command.command("list", examples="streamlog topic list --format json")
@click.option("--internal", is_flag=True, help="Also those that Kafka keeps for itself")
def list_topics(internal: bool) -> None:
    """List the topics with their partitions and replicas."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.output import Table, write_table

        async with open_connection(given.settings) as (_, admin):
            topics = await admin.list_topics()
        table = Table(["NAME", "PARTITIONS", "REPLICAS"])
        for topic in sorted(topics, key=lambda topic: topic.name):
            if internal or not topic.internal:
                replicas = max((len(p.replicas) for p in topic.partitions), default=0)
                table.rows.append([topic.name, len(topic.partitions), replicas])
        write_table(table, as_json=given.is_json)

    run_async(main, verbosity=given.verbosity)


@command.command("describe", examples="streamlog topic describe orders")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def describe(names: tuple[str, ...]) -> None:
    """Show a topic's partitions with their offsets, and its settings."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import existing_topics, open_connection

        async with open_connection(given.settings) as (_, admin):
            for topic in await existing_topics(admin, names):
                await _describe_one(admin, topic, given)

    run_async(main, verbosity=given.verbosity)


async def _describe_one(admin: Admin, topic: TopicDescription, given: Invocation) -> None:
    from streamlog.cli.output import Table, write_json, write_table

    starts, ends = await _extents(admin, topic)
    partitions = Table(["PARTITION", "LEADER", "REPLICAS", "IN-SYNC", "START", "END", "RECORDS"])
    for p, start, end in zip(topic.partitions, starts.values(), ends.values(), strict=True):
        replicas, in_sync = ([str(node) for node in nodes] for nodes in (p.replicas, p.in_sync))
        partitions.rows.append([p.partition, p.leader, replicas, in_sync, start, end, end - start])
    configs = Table(["SETTING", "VALUE", "SOURCE"])
    for entry in await admin.describe_configs(topic.name):
        if given.verbosity or entry.source == TOPIC_CONFIG:
            configs.rows.append([entry.name, entry.value, entry.source])
    if given.is_json:
        write_json(
            {
                "name": topic.name,
                "topic_id": topic.topic_id,
                "partitions": partitions.records(),
                "configs": configs.records(),
            }
        )
        return
    summary = Table(["NAME", "PARTITIONS", "RECORDS", "TOPIC-ID"])
    records = sum(ends.values()) - sum(starts.values())
    summary.rows.append([topic.name, len(topic.partitions), records, topic.topic_id])
    for table in (summary, partitions, configs):
        if table.rows:
            write_table(table, as_json=False)


async def _extents(
    admin: Admin, topic: TopicDescription
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    from streamlog.client.values import EARLIEST, LATEST, TopicPartition

    places = [TopicPartition(topic.name, p.partition) for p in topic.partitions]
    starts = await admin.list_offsets(dict.fromkeys(places, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(places, LATEST))
    return (
        {place: found.offset if (found := starts[place]) else 0 for place in places},
        {place: found.offset if (found := ends[place]) else 0 for place in places},
    )


@command.command("delete", examples="streamlog topic delete orders --execute")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--execute", is_flag=True, help="Do it; without this, only say what would go")
def delete(names: tuple[str, ...], execute: bool) -> None:
    """Delete topics and all their records."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import existing_topics, open_connection
        from streamlog.cli.output import Table, note, write_table

        async with open_connection(given.settings) as (_, admin):
            table = Table(["NAME", "PARTITIONS", "RECORDS"])
            see = "See them all: streamlog topic list"
            for topic in await existing_topics(admin, names, see):
                starts, ends = await _extents(admin, topic)
                records = sum(ends.values()) - sum(starts.values())
                table.rows.append([topic.name, len(topic.partitions), records])
            if execute:
                await admin.delete_topics(names)
        write_table(table, as_json=given.is_json)
        if execute:
            note("deleted")
        else:
            note(
                "Nothing was deleted: this is what would go. "
                f"Delete it: streamlog topic delete {' '.join(names)} --execute"
            )

    run_async(main, verbosity=given.verbosity)
