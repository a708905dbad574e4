"""A broker inside the command, for who has named none: `run`, `demo` and `server` open it here."""

from __future__ import annotations

import errno
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamlog.broker.broker import open_broker
from streamlog.broker.config import DEFAULT_HOST, DEFAULT_PORT, BrokerConfig
from streamlog.broker.groups.config import GroupConfig
from streamlog.config import state_folder
from streamlog.errors import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from streamlog.broker.broker import Broker
    from streamlog.config import Settings


def data_folder(data: Path | None, settings: Settings) -> Path:
    """Returns where an embedded or started broker keeps its log."""
    return data or settings.path("data.dir") or state_folder() / "data"


def free_address() -> tuple[str, int]:
    """Returns the usual address, or one with a free port if somebody has that."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the broker's listener does: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((DEFAULT_HOST, DEFAULT_PORT))
        except OSError:
            return DEFAULT_HOST, 0
    return DEFAULT_HOST, DEFAULT_PORT


def embedded_config(data: Path, listen: tuple[str, int]) -> BrokerConfig:
    """Returns the configuration of a broker for this command's own use.

    Its groups do not wait for more members to come: workers that start together find each other
    anyway, and somebody looks at the screen.
    """
    return BrokerConfig(
        data=data, listen=(listen,), groups=GroupConfig(initial_rebalance_delay_ms=0)
    )


@asynccontextmanager
async def open_server(config: BrokerConfig) -> AsyncIterator[Broker]:
    """Opens a broker; a port that is taken is said with what to do."""
    try:
        async with open_broker(config) as broker:
            yield broker
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        host, port = config.listen[0]
        raise RefusedError(
            f"cannot listen on {host}:{port}: {(error.strerror or 'refused').lower()}",
            hint=f"Choose another: --listen {host}:0 takes a free port",
        ) from error


@asynccontextmanager
async def brokers_or_embedded(
    settings: Settings, data: Path | None
) -> AsyncIterator[tuple[str, ...]]:
    """Yields the brokers that were named, or a broker of our own on the data folder."""
    if settings.brokers is not None:
        yield settings.brokers
        return
    folder = data_folder(data, settings)
    async with open_server(embedded_config(folder, free_address())) as broker:
        yield (f"{broker.host}:{broker.port}",)
