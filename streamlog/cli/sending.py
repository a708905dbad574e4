"""What `produce` does with its records: sends them in order and notes which offsets they got."""

from __future__ import annotations

import os
import sys
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from streamlog.cli.loop import stopped_by_signals
from streamlog.cli.output import note
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streamlog.cli.lines import KeyAndValue, RecordReader
    from streamlog.client.producer.delivery import Delivery
    from streamlog.client.producer.producer import Producer
    from streamlog.records.columns import Headers

READ_BYTES = 64 * 1024
PENDING_MAX = 20_000
"""Records whose fate is not known yet; beyond this the oldest is waited for."""


@dataclass(slots=True)
class Sent:
    """What was appended to one partition; others may have appended in between."""

    first: int
    last: int
    records: int = 0


@dataclass(slots=True)
class Sender:
    """Sends records to a topic and gathers what became of them."""

    producer: Producer
    topic: str
    partition: int | None
    headers: Headers
    sent: dict[int, Sent] = field(default_factory=dict)
    _pending: deque[Delivery] = field(default_factory=deque)

    async def send(self, records: list[KeyAndValue]) -> None:
        """Sends records; waits only when too many are pending."""
        for key, value in records:
            while len(self._pending) >= PENDING_MAX:
                await self._settle_oldest()
            self._pending.append(
                await self.producer.send(
                    self.topic, value, key=key, partition=self.partition, headers=self.headers
                )
            )

    async def settle(self) -> None:
        """Waits until all records are acknowledged; raises why the first failed."""
        await self.producer.flush()
        while self._pending:
            await self._settle_oldest()

    async def _settle_oldest(self) -> None:
        where = await self._pending.popleft().wait()
        sent = self.sent.setdefault(where.partition, Sent(where.offset, where.offset))
        sent.first = min(sent.first, where.offset)
        sent.last = max(sent.last, where.offset)
        sent.records += 1


async def send_lines(sender: Sender, reader: RecordReader) -> None:
    """Sends the lines of stdin until it ends; SIGINT and SIGTERM count as its end."""
    try:
        async with stopped_by_signals():
            async for data in _chunks(sys.stdin.fileno()):
                await sender.send(reader.feed(data))
        await sender.send(reader.finish())
        await sender.settle()
    except (StreamlogError, BaseExceptionGroup):
        acknowledged = sum(sent.records for sent in sender.sent.values())
        note(f"at least {acknowledged} records before the failure were acknowledged")
        raise


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yields what is there to read, without a thread that a signal could not interrupt."""
    while True:
        try:
            await trio.lowlevel.wait_readable(descriptor)
        except PermissionError:
            # A regular file is always readable, and epoll does not take it.
            await trio.lowlevel.checkpoint()
        data = os.read(descriptor, READ_BYTES)
        if not data:
            return
        yield data
