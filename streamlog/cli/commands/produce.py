"""`streamlog produce`: each line of stdin becomes a record of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.cli.lines import RecordReader

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@click.command(
    "produce",
    cls=Command,
    examples="""
    seq 5 | streamlog produce numbers
    printf 'c-1:{"price": 3}' | streamlog produce orders -K :
    streamlog produce orders -k c-1 -H source=shop -z zstd < orders.jsonl
    """,
)
@click.argument("topic", required=False)
@click.option("-t", "topic_option", metavar="TOPIC", hidden=True)
@click.option("-k", "--key", help="Key of every record")
@click.option("-K", "--key-delimiter", metavar="TEXT", help="Splits a line into key and value")
@click.option("-H", "--header", "headers", multiple=True, metavar="N=V", help="Header; repeatable")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Default: by the key's hash")
@click.option("-z", "--compression", type=click.Choice(CODECS), default="none")
@click.option("-Z", "--tombstone", is_flag=True, help="An empty value is null")
def command(
    topic: str | None,
    topic_option: str | None,
    key: str | None,
    key_delimiter: str | None,
    headers: tuple[str, ...],
    partition: int | None,
    compression: str,
    tombstone: bool,
) -> None:
    """Send each line of stdin to TOPIC; print which offsets they got."""
    from streamlog.cli.lines import RecordReader

    name = topic or topic_option
    if name is None:
        raise UsageError("no topic is named", hint="Name it: streamlog produce TOPIC")
    if key is not None and key_delimiter is not None:
        raise UsageError("a key for all (-k) and a key of each line (-K) exclude each other")
    reader = RecordReader(
        key=key.encode() if key is not None else None,
        key_delimiter=key_delimiter.encode() if key_delimiter else None,
        empty_is_null=tombstone,
    )
    _produce(name, reader, tuple(map(_header, headers)), partition, compression)


def _header(text: str) -> tuple[str, bytes | None]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"-H {text} has no value", hint=f"Write it as -H {text}=VALUE")
    return name, value.encode()


def _produce(
    topic: str,
    reader: RecordReader,
    headers: tuple[tuple[str, bytes | None], ...],
    partition: int | None,
    compression: str,
) -> None:
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import existing_topics, open_connection
        from streamlog.cli.output import Table, write_table
        from streamlog.cli.sending import Sender, send_lines
        from streamlog.client.config import Compression, ProducerConfig
        from streamlog.client.producer.producer import open_producer
        from streamlog.errors import NotFoundError

        config = ProducerConfig(compression=Compression(compression))
        async with open_connection(given.settings) as (client, admin):
            (found,) = await existing_topics(admin, [topic])
            if partition is not None and partition >= len(found.partitions):
                raise NotFoundError(
                    f'topic "{topic}" has no partition {partition}, '
                    f"only 0 to {len(found.partitions) - 1}"
                )
            async with open_producer(client, config) as producer:
                sender = Sender(producer, topic, partition, headers)
                await send_lines(sender, reader)
        table = Table(["TOPIC", "PARTITION", "FIRST", "LAST", "RECORDS"])
        for number, sent in sorted(sender.sent.items()):
            table.rows.append([topic, number, sent.first, sent.last, sent.records])
        write_table(table, as_json=given.is_json)

    run_async(main, verbosity=given.verbosity)
