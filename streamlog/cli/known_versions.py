"""Asks the brokers which version of a pipeline is live, for commands that look at a disk alone.

Such a command works without a broker as well. Then it takes names as they are, and says so where
there is more than one version that could be meant.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from streamlog.cli.connection import open_connection
from streamlog.cli.output import note
from streamlog.config import BROKERS_DEFAULT
from streamlog.errors import UnreachableError
from streamlog.processing.replay.registry import Registry
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.replay.versions import Identity, identify, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.config import Settings

PROBE_TIMEOUT_S = 1.0
"""For a broker on this machine that nobody has named."""


@dataclass(frozen=True, slots=True)
class KnownVersions:
    """What one cluster knows of versions."""

    cluster: str | None = None
    """Nothing if no broker has answered."""
    registry: Registry = field(default_factory=Registry)

    def identify(self, folder: Path) -> Identity | None:
        """Returns whose state is in a folder, if that is known."""
        known = folder.parent.name == self.cluster
        return identify(self.registry, folder.name) if known else None

    def resolve(self, typed: str) -> Identity:
        """Returns whom people mean."""
        return resolve(self.registry, typed)


async def ask_versions(settings: Settings) -> KnownVersions:
    """Asks the brokers that were named, or one at the usual address if there is any."""
    if settings.brokers is None and not await _somebody_listens():
        return KnownVersions()
    try:
        async with open_connection(settings) as (client, admin):
            cluster = (await admin.describe_cluster()).cluster_id or "unnamed-cluster"
            return KnownVersions(cluster, await read_registry(client))
    except UnreachableError as error:
        if settings.brokers is not None:
            note(f"{error.message}: pipelines are named as their folders are")
        return KnownVersions()


async def _somebody_listens() -> bool:
    host, _, port = BROKERS_DEFAULT[0].rpartition(":")
    with trio.move_on_after(PROBE_TIMEOUT_S):
        try:
            stream = await trio.open_tcp_stream(host, int(port))
        except OSError:
            return False
        await stream.aclose()
        return True
    return False
