"""`streamlog dlq`: dead letters, listed, shown, sent back and dropped.

What sends or drops something shows what it would do, and does it with `--execute`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Group, Invocation, invocation
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from streamlog.cli.dead_letters import Extent
    from streamlog.client.client import Client
    from streamlog.client.values import TopicPartition
    from streamlog.processing.failures.returning import Letter, Return

SHOWN = 5
RETRY_MAX = 10_000
"""Letters held in memory at once; the rest is sent by the next call."""


@click.group("dlq", cls=Group)
def command() -> None:
    """List and show dead letters, send them back, drop them."""


@command.command("list", examples="streamlog dlq list totals")
@click.argument("name", metavar="PIPELINE|TOPIC")
def list_letters(name: str) -> None:
    """Count a pipeline's dead letters by where they stood and what was raised."""
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.dead_letters import Summary, find_letters, read_letters
        from streamlog.cli.output import note, write_table

        summary = Summary()
        async with open_connection(given.settings) as (client, _):
            extent = await find_letters(client, name)

            def take(letter: Letter) -> bool:
                summary.add(letter, pending=letter.offset >= extent.sent[letter.place])
                return True

            await read_letters(client, extent.first, extent.end, take)
        write_table(summary.table(), as_json=given.is_json)
        if summary.pending.total():
            note(
                f"See them: streamlog dlq show {name}. After the fix, send them back: "
                f"streamlog dlq retry {name}"
            )

    run_async(main, verbosity=given.verbosity)


@command.command(
    "show",
    examples="""
    streamlog dlq show totals
    streamlog dlq show totals -p 0 -o 12 -n 1 -v
    streamlog dlq show totals --all -n 1000 --format json
    """,
)
@click.argument("name", metavar="PIPELINE|TOPIC")
@click.option("-n", "--num", type=click.IntRange(min=1), default=SHOWN, show_default=True)
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Of the dead letters")
@click.option("-o", "--offset", type=click.IntRange(min=0), help="The first one there, with -p")
@click.option("--all", "show_all", is_flag=True, help="Also those that were sent back")
def show_letters(
    name: str, num: int, partition: int | None, offset: int | None, show_all: bool
) -> None:
    """Show dead letters with what went wrong; -v with the stack trace."""
    from streamlog.cli.loop import run_async

    if offset is not None and partition is None:
        raise UsageError("-o needs -p: each partition has offsets of its own")
    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.dead_letters import find_letters, first_letters
        from streamlog.cli.output import note, write_json

        async with open_connection(given.settings) as (client, _):
            extent = await find_letters(client, name)
            begin = dict(extent.first if show_all else extent.sent)
            if partition is not None:
                begin = {p: at for p, at in begin.items() if p.partition == partition}
            if offset is not None:
                begin = {p: max(offset, extent.first[p]) for p in begin}
            letters = await first_letters(client, extent, begin, num)
        if given.is_json:
            write_json([_as_json(letter) for letter in letters])
            return
        click.echo("\n".join(_as_text(letter, given) for letter in letters), nl=bool(letters))
        left = sum(max(extent.end[place] - at, 0) for place, at in begin.items()) - len(letters)
        if left > 0:
            note(f"{left} more: -n {left + len(letters)}")

    run_async(main, verbosity=given.verbosity)


def _as_text(letter: Letter, given: Invocation) -> str:
    cause = letter.cause
    lines = [f"{letter.place} at offset {letter.offset}"]
    if cause is not None:
        lines.append(f"  record     {cause.topic}[{cause.partition}] at offset {cause.offset}")
        if cause.step:
            at = f" ({cause.location})" if cause.location else ""
            lines.append(f"  step       {cause.step}{at} of {cause.pipeline}, task {cause.task}")
        if cause.behind is not None:
            lines.append(f"  behind     offset {cause.behind}, which failed: order is kept")
        else:
            lines.append(f"  exception  {cause.exception_class}: {cause.exception_message}")
        times = f", sent back {letter.times_sent} times" if letter.times_sent else ""
        lines.append(f"  set aside  {cause.time}, attempts {cause.attempts}{times}")
        if cause.left_bytes is not None:
            lines.append(f"  value      {cause.left_bytes:,} bytes, left where the record stands")
    moment = datetime.fromtimestamp(letter.timestamp_ms / 1000, UTC)
    lines.append(f"  timestamp  {moment.isoformat(timespec='milliseconds')}")
    lines.append(f"  key        {_printable(letter.key)}")
    if cause is None or cause.left_bytes is None:
        lines.append(f"  value      {_printable(letter.value)}")
    lines += [f"  header     {name}: {_printable(data)}" for name, data in letter.own_headers]
    if given.verbosity and cause is not None and cause.exception_stacktrace:
        lines += [f"    {line}" for line in cause.exception_stacktrace.rstrip().splitlines()]
    return "\n".join(lines) + "\n"


def _printable(data: bytes | None) -> str:
    if data is None:
        return "-"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return repr(data)
    return text if text.isprintable() else repr(text)


def _as_json(letter: Letter) -> dict[str, object]:
    from streamlog.processing.failures.dead_letters import Cause

    cause = letter.cause
    told = {} if cause is None else {name: getattr(cause, name) for name in Cause.__struct_fields__}
    return {
        "partition": letter.place.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp_ms,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "value": None if letter.value is None else letter.value.decode("utf-8", "replace"),
        "headers": [
            [name, None if data is None else data.decode("utf-8", "replace")]
            for name, data in letter.own_headers
        ],
        "error": told or None,
        "times_sent": letter.times_sent,
    }


@command.command(
    "retry",
    examples="""
    streamlog dlq retry totals
    streamlog dlq retry totals --limit 1 --execute
    """,
)
@click.argument("name", metavar="PIPELINE|TOPIC")
@click.option("--limit", type=click.IntRange(1, RETRY_MAX), default=RETRY_MAX, help="At most")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would go")
def retry_letters(name: str, limit: int, execute: bool) -> None:
    """Send dead letters back to where they came from, in the order in which they stood there.

    The pipeline takes each of them once, however often it is sent; other pipelines leave it out.
    What was sent is remembered: the next retry goes on behind it.
    """
    from streamlog.cli.loop import run_async

    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.dead_letters import (
            check_destinations,
            check_reader,
            find_letters,
            first_letters,
            send_back,
            table_of,
        )
        from streamlog.cli.output import write_table
        from streamlog.client.producer.producer import open_producer
        from streamlog.processing.failures.returning import plan_return

        async with open_connection(given.settings) as (client, admin):
            extent = await find_letters(client, name)
            check_reader(extent)
            letters = await first_letters(client, extent, extent.sent, limit)
            back = plan_return(letters)
            await check_destinations(admin, back)
            if execute and letters:
                async with open_producer(client) as producer:
                    await send_back(producer, admin, extent, back)
        write_table(table_of(back), as_json=given.is_json)
        pending = sum(extent.end[place] - at for place, at in extent.sent.items())
        _say_what_was_sent(back, pending - len(letters), name, execute)

    run_async(main, verbosity=given.verbosity)


def _say_what_was_sent(back: Return, left: int, name: str, execute: bool) -> None:
    from streamlog.cli.output import note
    from streamlog.processing.failures.returning import records

    for text in back.notes:
        note(text)
    if not back.upto:
        note("There is nothing to send back")
    elif execute:
        more = f"; {left} are left, for the next call" if left else ""
        note(f"{records(back.count)} sent back{more}")
    else:
        note(f"Nothing was sent: this is what would. Do it: streamlog dlq retry {name} --execute")


@command.command(
    "drop",
    examples="""
    streamlog dlq drop totals --retried --execute
    streamlog dlq drop totals -p 0 --to 12
    streamlog dlq drop totals --all
    """,
)
@click.argument("name", metavar="PIPELINE|TOPIC")
@click.option("--retried", is_flag=True, help="Those that were sent back")
@click.option("--all", "drop_all", is_flag=True, help="All that there are now")
@click.option("--to", type=click.IntRange(min=0), help="Those below this offset, with -p")
@click.option("-p", "--partition", type=click.IntRange(min=0), help="Of the dead letters")
@click.option("--execute", is_flag=True, help="Do it; without this, only show what would go")
def drop_letters(
    name: str, retried: bool, drop_all: bool, to: int | None, partition: int | None, execute: bool
) -> None:
    """Delete dead letters, oldest first; keys that they hold are let go."""
    from streamlog.cli.loop import run_async

    if retried + drop_all + (to is not None) != 1:
        raise UsageError(
            "say which to drop", hint="There are --retried, --all and -p N --to OFFSET"
        )
    if to is not None and partition is None:
        raise UsageError("--to needs -p: each partition has offsets of its own")
    given = invocation()

    async def main() -> None:
        from streamlog.cli.connection import open_connection
        from streamlog.cli.dead_letters import find_letters
        from streamlog.cli.output import Table, note, write_table

        table = Table(["TOPIC", "PARTITION", "FROM", "TO", "LETTERS", "PENDING"])
        async with open_connection(given.settings) as (client, admin):
            extent = await find_letters(client, name)
            until = {
                place: extent.sent[place]
                if retried
                else (extent.end[place] if to is None else min(to, extent.end[place]))
                for place in extent.first
                if partition is None or place.partition == partition
            }
            for place, at in sorted(until.items()):
                first, sent = extent.first[place], extent.sent[place]
                counts = (max(at - first, 0), max(at - sent, 0))
                table.rows.append([*place, first, max(at, first), *counts])
            if execute:
                await _let_go(client, extent, until)
                gone = {place: at for place, at in until.items() if at > extent.first[place]}
                if gone:
                    await admin.delete_records(gone)
        write_table(table, as_json=given.is_json)
        note("dropped" if execute else "Nothing was dropped: this is what would. Add --execute")

    run_async(main, verbosity=given.verbosity)


async def _let_go(client: Client, extent: Extent, until: dict[TopicPartition, int]) -> None:
    """Tells the pipeline that records for which it holds keys will not come back."""
    from streamlog.cli.dead_letters import read_letters, remember, send_back
    from streamlog.client.admin.admin import Admin
    from streamlog.client.producer.producer import open_producer
    from streamlog.processing.failures.returning import plan_return

    admin = Admin(client)
    letters: list[Letter] = []

    def take(letter: Letter) -> bool:
        if letter.cause is not None and letter.cause.order:
            letters.append(letter)
        return True

    await read_letters(client, {place: extent.sent[place] for place in until}, until, take)
    held = plan_return(letters)
    there = await admin.describe_topics({place.topic for place in held.letters})
    held.letters = {place: each for place, each in held.letters.items() if place.topic in there}
    if held.letters:
        async with open_producer(client) as producer:
            await send_back(producer, admin, extent, held, dropped=True)
    await remember(admin, extent, until)
