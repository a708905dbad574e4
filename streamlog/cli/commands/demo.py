"""`streamlog demo`: a broker, data and pipelines in one go."""

from __future__ import annotations

from pathlib import Path

import click

from streamlog.cli.command import Command, invocation


@click.command(
    "demo",
    cls=Command,
    examples="""
    streamlog demo
    streamlog demo --exit --format json
    streamlog demo -X brokers=kafka:9092
    """,
)
@click.option("--exit", "exit_at_end", is_flag=True, help="End when all is processed")
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the data (default: streamlog/demo in the user's state folder)",
)
@click.option(
    "--listen", metavar="HOST:PORT", help="Default: 127.0.0.1:9092, or a free port if it is taken"
)
@click.option(
    "--partitions", type=click.IntRange(min=1), help="Of the topics it creates (default: 4)"
)
def command(
    exit_at_end: bool, data: Path | None, listen: str | None, partitions: int | None
) -> None:
    """See it work: a year of flights through two pipelines, on an embedded broker."""
    from streamlog.cli.loop import run_async
    from streamlog.cli.output import note

    note("streamlog demo: all flights that left New York City in 2013")
    given = invocation()

    async def main() -> int:
        from streamlog.cli.addresses import listen_address
        from streamlog.cli.demo.demo import DemoRequest, run_demo

        request = DemoRequest(
            exit_at_end=exit_at_end,
            data=data,
            listen=listen_address(listen) if listen else None,
            partitions=partitions,
            as_json=given.is_json,
        )
        return await run_demo(request, given.settings)

    if code := run_async(main, verbosity=given.verbosity):
        raise click.exceptions.Exit(code)
