"""`--metrics HOST:PORT`: the endpoint that a command opens beside its work, if it was asked to."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from streamlog.cli.addresses import format_address, listen_address
from streamlog.cli.output import note
from streamlog.metrics.endpoint import open_endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlog.metrics.endpoint import Routes


@asynccontextmanager
async def served_metrics(
    address: str | None, routes: Routes, *, quiet: bool = False
) -> AsyncIterator[str | None]:
    """Serves routes while the block runs, and says where; without an address it does nothing.

    Yields the address at which others find it: this machine's name, if it listens on all.
    """
    if address is None:
        await trio.lowlevel.checkpoint()
        yield None
        return
    host, port = listen_address(address)
    async with open_endpoint(host, port, routes) as endpoint:
        if not quiet or port == 0:
            note(f"metrics on http://{format_address(endpoint.host, endpoint.port)}/metrics")
        is_everywhere = endpoint.host in ("0.0.0.0", "::")
        host = socket.gethostname() if is_everywhere else endpoint.host
        yield format_address(host, endpoint.port)
