"""Keeps the metadata fresh: one task asks, everybody else asks it.

Many notice at once that a leader has moved; one question serves them all. A caller who needs news
gets the answer to a question that was asked after its call, for an older one may be what was wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.errors import StreamlogError
from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from streamlog.client.backoff import Backoff
    from streamlog.client.cluster.metadata import ClusterMetadata
    from streamlog.wire.messages.metadata import MetadataResponse


class MetadataKeeper:
    """See the module.

    Args:
        metadata: What to keep fresh.
        ask: Sends the question to any broker.
        age_max_ms: Asks at least this often.
        backoff: Between failed questions.
    """

    def __init__(
        self,
        metadata: ClusterMetadata,
        ask: Callable[[MetadataRequest], Awaitable[MetadataResponse]],
        age_max_ms: float,
        backoff: Backoff,
    ) -> None:
        self._metadata = metadata
        self._ask = ask
        self._age_max_ms = age_max_ms
        self._backoff = backoff
        self._topics: dict[str, bool] = {}
        self._begun = 0
        self._ended = 0
        self._error: StreamlogError | None = None
        self._wake = trio.Event()
        self._news = trio.Event()

    def track(self, topics: Iterable[str], *, create: bool = False) -> None:
        """Adds topics to the question; `create` lets the broker create them if it does that."""
        for topic in topics:
            self._topics[topic] = create

    def untrack(self, topic: str) -> None:
        """Takes a topic out of the question, e.g. because it does not exist."""
        self._topics.pop(topic, None)

    def request(self) -> None:
        """Asks for news without waiting for it."""
        self._wake.set()

    async def refresh(self) -> None:
        """Waits for news; raises what the question failed with."""
        wanted = self._begun + 1
        while self._ended < wanted:
            self._wake.set()
            await self._news.wait()
        if self._error is not None:
            raise self._error

    async def run(self) -> None:
        """Asks when woken, and when the metadata is old."""
        while True:
            with trio.move_on_after(self._age_max_ms / 1000):
                await self._wake.wait()
            self._wake = trio.Event()
            self._begun += 1
            try:
                await self._update()
                self._error = None
                self._backoff.reset()
            except StreamlogError as error:
                self._error = error
            self._ended = self._begun
            self._news.set()
            self._news = trio.Event()
            if self._error is not None:
                await trio.sleep(self._backoff.next_ms() / 1000)

    async def _update(self) -> None:
        asked = sorted(self._topics)
        request = MetadataRequest(
            topics=[MetadataRequestTopic(name=topic) for topic in asked],
            allow_auto_topic_creation=any(self._topics.values()),
        )
        self._metadata.update(await self._ask(request), asked)
