"""What `send` and `send_columns` return: something to wait on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.client.values import RangeMetadata, RecordMetadata

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.client.producer.fate import Fate
    from streamlog.client.values import TopicPartition
    from streamlog.errors import StreamlogError


async def wait_changed(fate: Fate) -> None:
    """Waits until a fate is done or split."""
    event = trio.Event()
    fate.watch(event.set)
    await event.wait()


async def wait_settled(fate: Fate) -> None:
    """Waits until a fate, and all that it was split into, is done."""
    while not all(leaf.is_done for leaf in fate.leaves()):
        for leaf in fate.leaves():
            await wait_changed(leaf)


class Delivery:
    """The fate of one record."""

    __slots__ = ("_fate", "_index", "_on_raise", "_partition", "_timestamp_ms")

    def __init__(
        self,
        partition: TopicPartition,
        fate: Fate,
        index: int,
        timestamp_ms: int,
        on_raise: Callable[[StreamlogError], None],
    ) -> None:
        self._partition = partition
        self._fate = fate
        self._index = index
        self._timestamp_ms = timestamp_ms
        self._on_raise = on_raise

    @property
    def is_done(self) -> bool:
        """Whether `wait` would return at once."""
        return self._fate.locate(self._index)[0].is_done

    async def wait(self) -> RecordMetadata:
        """Waits until the record is acknowledged; raises why it failed."""
        while True:
            fate, index = self._fate.locate(self._index)
            if fate.is_done:
                break
            await wait_changed(fate)
        if fate.error is not None:
            self._on_raise(fate.error)
            raise fate.error
        return RecordMetadata(
            topic=self._partition.topic,
            partition=self._partition.partition,
            offset=fate.base_offset + index if fate.base_offset >= 0 else -1,
            timestamp_ms=fate.append_time_ms if fate.append_time_ms >= 0 else self._timestamp_ms,
        )


class RangeDelivery:
    """The fate of one `send_columns`."""

    __slots__ = ("_fates", "_on_raise", "_partition")

    def __init__(
        self,
        partition: TopicPartition,
        fates: Sequence[Fate],
        on_raise: Callable[[StreamlogError], None],
    ) -> None:
        self._partition = partition
        self._fates = fates
        self._on_raise = on_raise

    async def wait(self) -> RangeMetadata:
        """Waits until all of it is acknowledged; raises why the first part failed."""
        for fate in self._fates:
            await wait_settled(fate)
        leaves = [leaf for fate in self._fates for leaf in fate.leaves()]
        for leaf in leaves:
            if leaf.error is not None:
                self._on_raise(leaf.error)
                raise leaf.error
        first, last = leaves[0], leaves[-1]
        known = first.base_offset >= 0 and last.base_offset >= 0
        return RangeMetadata(
            topic=self._partition.topic,
            partition=self._partition.partition,
            base_offset=first.base_offset if known else -1,
            last_offset=last.base_offset + last.count - 1 if known else -1,
        )
