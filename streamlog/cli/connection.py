"""From settings to an open client, and from names that a user typed to topics that exist."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.config import BROKERS_DEFAULT, did_you_mean
from streamlog.errors import NotFoundError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamlog.client.admin.values import TopicDescription
    from streamlog.client.client import Client
    from streamlog.config import Settings

BOOTSTRAP_TIMEOUT_MS = 2_000
"""Somebody waits at the terminal: long enough for a broker that is just starting."""


def client_config(settings: Settings, brokers: tuple[str, ...] | None = None) -> ClientConfig:
    """Returns the client's configuration; `brokers` stand above those of the settings."""
    default = ClientConfig(brokers=BROKERS_DEFAULT)
    return ClientConfig(
        brokers=brokers or settings.brokers or BROKERS_DEFAULT,
        client_id=settings.text("client.id") or default.client_id,
        request_timeout_ms=settings.number("request.timeout.ms") or default.request_timeout_ms,
        bootstrap_timeout_ms=BOOTSTRAP_TIMEOUT_MS,
        connect_timeout_ms=settings.number("connect.timeout.ms") or default.connect_timeout_ms,
    )


@asynccontextmanager
async def open_connection(
    settings: Settings, brokers: tuple[str, ...] | None = None
) -> AsyncIterator[tuple[Client, Admin]]:
    """Opens a client and its administration.

    Raises:
        UnreachableError: If no broker answers; the message says how to start one.
    """
    config = client_config(settings, brokers)
    try:
        async with open_client(config) as client:
            yield client, Admin(client)
    except UnreachableError as error:
        if type(error) is not UnreachableError:
            # Somebody answers, but no Kafka broker: that error knows better what to do.
            raise
        raise UnreachableError(
            error.message,
            hint="Start one here: streamlog server. Or name another: -X brokers=HOST:PORT",
        ) from error


async def existing_topics(
    admin: Admin, names: Sequence[str], way_out: str = "Create it: streamlog topic create {}"
) -> list[TopicDescription]:
    """Returns the topics of these names, in their order; `way_out` is what to do without one.

    Raises:
        NotFoundError: If one does not exist; the message names the nearest that does.
    """
    found = await admin.describe_topics(names)
    missing = [name for name in names if name not in found]
    if missing:
        known = [topic.name for topic in await admin.list_topics()]
        raise NotFoundError(
            f'topic "{missing[0]}" does not exist',
            hint=(nearest + " " if (nearest := did_you_mean(missing[0], known)) else "")
            + way_out.format(missing[0]),
        )
    return [found[name] for name in names]
