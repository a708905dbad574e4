"""Reads the figures that workers serve, for whoever shows them: as Prometheus would, only rarer.

A worker that does not answer, or answers nonsense, has no figures; that is all that may come of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from streamlog.client.config import parse_address
from streamlog.doors import TcpNetwork
from streamlog.errors import UsageError
from streamlog.processing.worker.metrics import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.doors import Network

TIMEOUT_S = 2.0
BYTES_MAX = 4 << 20
"""A worker with thousands of tasks stays well below."""

_SAMPLE = re.compile(rf"{PREFIX}(\w+)\{{([^}}]*)\}} (\S+)")
_PIPELINE = re.compile(r'(?:^|,)pipeline="((?:[^"\\]|\\.)*)"')


@dataclass(slots=True)
class WorkerFigures:
    """What a worker serves, added up by pipeline."""

    sums: dict[tuple[str, str], float] = field(default_factory=dict)
    """By the metric's name without its prefix, and the pipeline."""

    def sum_of(self, name: str, pipeline: str) -> float:
        """Returns the sum of a metric over a pipeline's tasks; 0 if there is none."""
        return self.sums.get((name, pipeline), 0.0)


def parse_figures(text: str) -> WorkerFigures:
    """Reads an exposition; lines that are none of ours are skipped.

    >>> text = 'streamlog_pipeline_state_rows{pipeline="a",task="x[0]"} 3'
    >>> parse_figures(text).sum_of("state_rows", "a")
    3.0
    """
    figures = WorkerFigures()
    for line in text.splitlines():
        found = _SAMPLE.fullmatch(line)
        pipeline = _PIPELINE.search(found[2]) if found is not None else None
        if found is None or pipeline is None:
            continue
        try:
            value = float(found[3])
        except ValueError:
            continue
        key = found[1], pipeline[1]
        figures.sums[key] = figures.sums.get(key, 0.0) + value
    return figures


async def fetch_all(
    addresses: Iterable[str], network: Network | None = None
) -> dict[str, WorkerFigures]:
    """Asks workers for their figures, all at once; those that do not answer are missing."""
    found: dict[str, WorkerFigures] = {}

    async def fetch(address: str) -> None:
        with trio.move_on_after(TIMEOUT_S):
            try:
                text = await _get(address, network or TcpNetwork())
            except (OSError, trio.BrokenResourceError, UsageError):
                return
            found[address] = parse_figures(text)

    async with trio.open_nursery() as nursery:
        for address in set(addresses):
            nursery.start_soon(fetch, address)
    return found


async def _get(address: str, network: Network) -> str:
    host, port = parse_address(address)
    received = bytearray()
    async with await network.connect(host, port) as stream:
        request = f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        await stream.send_all(request.encode())
        async for part in stream:
            received += part
            if len(received) > BYTES_MAX:
                break
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    return body.decode(errors="replace") if b" 200 " in head.split(b"\r\n", 1)[0] else ""
