"""Ids for idempotent producers: unique for ever, handed out of blocks that the store has granted.

One write to the store grants a thousand ids, so that a restart never hands one out twice and a new
producer seldom waits for the disk. The node is Kafka's own, `/latest_producer_id_block`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import trio

from streamlog.broker.coordination.errors import StoreDamaged, VersionConflict
from streamlog.broker.coordination.store import Create, Set

if TYPE_CHECKING:
    from streamlog.broker.coordination.store import MetadataStore

PATH = "/latest_producer_id_block"
BLOCK_SIZE = 1000


class _Block(msgspec.Struct, kw_only=True):
    """The value of the node; the end is in the block, as in Kafka."""

    version: int = 1
    broker: int
    block_start: int
    block_end: int


class ProducerIds:
    """Hands out producer ids.

    Args:
        store: Where blocks are granted.
        node_id: Who takes them.
    """

    def __init__(self, store: MetadataStore, node_id: int) -> None:
        self._store = store
        self._node_id = node_id
        self._next = 0
        self._end = 0
        # A block is asked for once, however many producers start at the same moment.
        self._granting = trio.Lock()

    async def take(self) -> int:
        """Returns an id that nobody had before."""
        if self._next >= self._end:
            async with self._granting:
                while self._next >= self._end:
                    await self._grant()
        producer_id = self._next
        self._next += 1
        return producer_id

    async def _grant(self) -> None:
        node = await self._store.get(PATH)
        start = 0
        if node is not None:
            try:
                start = msgspec.json.decode(node.value, type=_Block).block_end + 1
            except msgspec.DecodeError as error:
                raise StoreDamaged(
                    f"the coordination store's node {PATH} is not a block of producer ids: {error}",
                    hint="Restore the store from a copy",
                ) from error
        block = _Block(broker=self._node_id, block_start=start, block_end=start + BLOCK_SIZE - 1)
        value = msgspec.json.encode(block)
        operation = Create(PATH, value) if node is None else Set(PATH, value, node.version)
        try:
            await self._store.transact([operation])
        except VersionConflict:
            return  # another broker was quicker; the caller reads again
        self._next, self._end = start, start + BLOCK_SIZE
