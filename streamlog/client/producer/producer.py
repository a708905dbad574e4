"""The producer: sends records in batches and says what became of each."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamlog.client.config import ProducerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from streamlog.client.client import Client
    from streamlog.client.values import RangeMetadata, RecordMetadata
    from streamlog.records.columns import Headers


class Delivery:
    """The fate of one record."""

    async def wait(self) -> RecordMetadata:
        """Waits until the record is acknowledged; raises why it failed."""
        raise AssertionError


class RangeDelivery:
    """The fate of one `send_columns`."""

    async def wait(self) -> RangeMetadata:
        """Waits until all of it is acknowledged; raises why the first part failed."""
        raise AssertionError


class Producer:
    """Sends records; made by `open_producer`."""

    async def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Headers = (),
    ) -> Delivery:
        """Puts a record into a batch; waits only while the buffer is full."""
        raise AssertionError

    async def send_columns(
        self,
        topic: str,
        partition: int,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        timestamps: Sequence[int],
        headers: Sequence[Headers] | None = None,
        *,
        atomic: bool = False,
    ) -> RangeDelivery:
        """Puts records straight into batches of one partition, in order.

        With `atomic`, all of them go into one record batch or `BatchTooLargeError` is raised.
        """
        raise AssertionError

    async def flush(self) -> None:
        """Waits until all that was sent is acknowledged; raises the first failure since last time."""
        raise AssertionError


@asynccontextmanager
async def open_producer(
    client: Client, config: ProducerConfig | None = None
) -> AsyncIterator[Producer]:
    """Opens a producer; leaving it normally flushes, leaving it by an exception does not."""
    yield Producer()
