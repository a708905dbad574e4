"""A server like `streamlog server`, with bounds that a test need not wait long for.

Run: limited_server.py --data DIR --listen HOST:PORT NAME=VALUE...; names are those of
`ServerLimits`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamlog.broker.broker import open_broker
from streamlog.broker.config import BrokerConfig
from streamlog.broker.server.limits import ServerLimits
from streamlog.cli.loop import run_async, stop_asked_by_signals


async def serve(data: Path, listen: str, limits: ServerLimits) -> None:
    host, port = listen.split(":")
    config = BrokerConfig(data=data, listen=((host, int(port)),), limits=limits)
    async with stop_asked_by_signals() as stop, open_broker(config) as broker:
        print(f"ready on {broker.host}:{broker.port}", file=sys.stderr, flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("limits", nargs="*")
    given = parser.parse_args()
    pairs = dict(pair.split("=") for pair in given.limits)
    limits = ServerLimits(
        **{
            name: float(text) if "." in text else int(text)  # type: ignore[arg-type]
            for name, text in pairs.items()
        }
    )
    run_async(lambda: serve(given.data, given.listen, limits))


if __name__ == "__main__":
    main()
