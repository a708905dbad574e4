"""`streamlog server`: a broker in the foreground."""

from __future__ import annotations

from pathlib import Path

import click

from streamlog.cli.command import Command, invocation

INITIAL_REBALANCE_DELAY_MS = 500
"""How long an empty group waits for more members; Kafka's three seconds are for large fleets."""


@click.command(
    "server",
    cls=Command,
    examples="""
    streamlog server
    streamlog server --data /var/lib/streamlog --listen 0.0.0.0:9092 --advertise kafka:9092
    streamlog server --metrics 127.0.0.1:9308
    """,
)
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the log (default: streamlog/data in the user's state folder)",
)
@click.option(
    "--listen",
    multiple=True,
    metavar="HOST:PORT",
    default=["127.0.0.1:9092"],
    show_default=True,
    help="Address to listen on; may be given several times; port 0 takes a free one",
)
@click.option("--advertise", metavar="HOST:PORT", help="Address that clients are told")
@click.option(
    "--partitions",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Partitions of topics that are created without a number",
)
@click.option("--metrics", metavar="HOST:PORT", help="Serve /metrics and /healthz here")
def command(
    data: Path | None,
    listen: tuple[str, ...],
    advertise: str | None,
    partitions: int,
    metrics: str | None,
) -> None:
    """Run a broker that speaks Kafka's protocol, until SIGINT or SIGTERM."""
    from streamlog.cli.loop import run_async, stop_asked_by_signals

    given = invocation()

    async def main() -> None:
        from streamlog.broker.config import BrokerConfig
        from streamlog.broker.groups.config import GroupConfig
        from streamlog.cli.addresses import listen_address
        from streamlog.cli.embedded import data_folder, open_server
        from streamlog.cli.output import note
        from streamlog.cli.systemd import READY, STOPPING, notify
        from streamlog.cli.watched import served_metrics
        from streamlog.client.config import parse_address
        from streamlog.metrics.routes import routes

        folder = data_folder(data, given.settings)
        config = BrokerConfig(
            data=folder,
            listen=tuple(listen_address(text) for text in listen),
            advertise=parse_address(advertise) if advertise else None,
            partitions_default=partitions,
            groups=GroupConfig(initial_rebalance_delay_ms=INITIAL_REBALANCE_DELAY_MS),
        )
        async with stop_asked_by_signals() as stop, open_server(config) as broker:
            for host, port in broker.addresses:
                note(f"broker ready on {host}:{port}, data in {folder}")
            paths = routes(broker.families, broker.why_ill, lambda: None)
            async with served_metrics(metrics, paths):
                notify(READY)
                await stop.wait()
                notify(STOPPING)

    run_async(main, verbosity=given.verbosity)
