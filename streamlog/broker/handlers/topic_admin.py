"""Changes of topics: each changes the registry and the logs, in the order that survives a crash.

The registry in the coordination store is the truth. A topic is written there first and gets its
directories after; what a crash left out is made up for at the next start. A topic that goes leaves
the registry first, and a note of it stays in the store until its directories are gone.

Changes happen one at a time: they are rare, and each is two steps that must not mix with another's.
They are not given up half-way when the client that asked for them disconnects.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from uuid import UUID

import trio

from streamlog.broker.coordination.errors import TopicError
from streamlog.broker.coordination.store import DeleteTree, Put
from streamlog.broker.log.config import LogConfig
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.config import BrokerConfig
    from streamlog.broker.coordination.store import MetadataStore
    from streamlog.broker.coordination.topics import Topic, TopicRegistry
    from streamlog.broker.groups.service import GroupService
    from streamlog.broker.log.manager import LogManager

logger = logging.getLogger("streamlog.broker")

DELETIONS = "/admin/delete_topics"
"""Topics whose deletion has begun: by id, their names."""

KEPT_FOR_EVER = {"retention.ms": "-1", "retention.bytes": "-1"}


class TopicAdmin:
    """Creates, enlarges, alters and deletes topics.

    Args:
        config: Defaults of new topics, and the bound on partitions.
        store: Where unfinished deletions are noted.
        topics: The registry.
        logs: The logs.
        groups: Committed offsets go with their topics.
    """

    def __init__(
        self,
        config: BrokerConfig,
        store: MetadataStore,
        topics: TopicRegistry,
        logs: LogManager,
        groups: GroupService,
    ) -> None:
        self._config = config
        self._store = store
        self._topics = topics
        self._logs = logs
        self._groups = groups
        self._changing = trio.Lock()
        self.defaults = LogConfig.from_mapping(config.topic_defaults)

    def log_config(self, settings: Mapping[str, str | None]) -> LogConfig:
        """Returns what settings come to over the defaults; raises `InvalidConfigError`."""
        return LogConfig.from_mapping(settings, base=self.defaults)

    def check_new(self, name: str, partition_count: int) -> None:
        """Raises `TopicError` if `create` would."""
        self._topics.check_new(name, partition_count)
        self._check_room(partition_count)

    async def create(self, name: str, partition_count: int, settings: Mapping[str, str]) -> Topic:
        """Creates a topic; it can be written to when this returns.

        Raises:
            TopicError: The name or the number of partitions cannot be.
            InvalidConfigError: A setting is wrong.
            StorageError: The disk failed or is full; the topic does not exist.
        """
        config = self.log_config(settings)
        async with self._changing:
            self.check_new(name, partition_count)
            with trio.CancelScope(shield=True):
                topic = await self._topics.create(name, partition_count, settings)
                try:
                    await self._logs.create(name, topic.topic_id, partition_count, config)
                except BaseException:
                    await self._topics.delete(name)
                    raise
        logger.info("created topic %s with %d partitions", name, partition_count)
        return topic

    async def ensure(self, name: str) -> Topic:
        """Returns a topic, created with the broker's defaults if it is not there."""
        try:
            return await self.create(name, self._config.partitions_default, {})
        except TopicError as error:
            topic = self._topics.get(name)
            if error.code is ErrorCode.TOPIC_ALREADY_EXISTS and topic is not None:
                return topic  # somebody else was quicker
            raise

    async def delete(self, name: str) -> Topic:
        """Deletes a topic with its records and the offsets that groups committed for it."""
        async with self._changing:
            topic = self._topics.get(name)
            if topic is None:
                raise TopicError(
                    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic '{name}' does not exist."
                )
            with trio.CancelScope(shield=True):
                await self._finish_deletion(name, topic.topic_id)
        logger.info("deleted topic %s", name)
        return topic

    async def _finish_deletion(self, name: str, topic_id: UUID) -> None:
        """Does what is left of a deletion; the intent is on disk before anything else changes."""
        intent = f"{DELETIONS}/{topic_id}"
        await self._store.transact([Put(intent, name.encode())])
        topic = self._topics.get(name)
        if topic is not None and topic.topic_id == topic_id:
            await self._topics.delete(name)
        if self._logs.topics().get(name) == topic_id:
            await self._logs.delete(name)
        await self._groups.forget_topics([name])
        await self._store.transact([DeleteTree(intent)])

    async def restore(self) -> None:
        """Makes registry and logs agree after a start: finishes what a crash interrupted."""
        for topic_id in await self._store.children(DELETIONS):
            intent = await self._store.get(f"{DELETIONS}/{topic_id}")
            if intent is not None:
                await self._finish_deletion(intent.value.decode(), UUID(topic_id))
        if self._topics.is_new:
            await self._take_over()
        for name in self._logs.topics():
            if name not in self._topics:
                logger.warning(
                    "the data folder has partitions of %s, a topic that does not exist; their "
                    "directories are kept as *-stray and not served",
                    name,
                )
                await self._logs.set_aside(name)
        present = self._logs.topics()
        for topic in self._topics:
            missing = [
                index
                for index in range(topic.partition_count)
                if self._logs.get(topic.name, index) is None
                and (topic.name, index) not in self._logs.failures
            ]
            if missing or present.get(topic.name, topic.topic_id) != topic.topic_id:
                logger.warning("topic %s: partitions %s begin empty", topic.name, missing)
                config = self.log_config(topic.configs)
                await self._logs.create(topic.name, topic.topic_id, topic.partition_count, config)

    async def _take_over(self) -> None:
        """Registers the topics of a folder whose store is new: it was lost, or never was ours.

        Their settings are not known, so nothing of them is deleted until somebody sets a limit.
        """
        found = await self._logs.found_topics()
        for topic in await self._topics.take_over(found, KEPT_FOR_EVER):
            self._logs.set_config(topic.name, self.log_config(topic.configs))
            logger.warning(
                "topic %s with %d partitions is taken over from the data folder; its settings are "
                "the defaults, and its records are kept until you set retention.ms",
                topic.name,
                topic.partition_count,
            )

    def check_growth(self, name: str, partition_count: int) -> Topic:
        """Raises `TopicError` if `add_partitions` would; returns the topic as it is."""
        topic = self._topics.check_growth(name, partition_count)
        self._check_room(partition_count - topic.partition_count)
        return topic

    async def add_partitions(self, name: str, partition_count: int) -> None:
        """Raises a topic's number of partitions."""
        async with self._changing:
            self.check_growth(name, partition_count)
            with trio.CancelScope(shield=True):
                topic = await self._topics.add_partitions(name, partition_count)
                config = self.log_config(topic.configs)
                await self._logs.create(name, topic.topic_id, partition_count, config)

    async def alter(self, name: str, settings: Mapping[str, str]) -> None:
        """Replaces a topic's settings; they hold for the next append."""
        config = self.log_config(settings)
        async with self._changing:
            with trio.CancelScope(shield=True):
                await self._topics.alter_configs(name, settings)
                self._logs.set_config(name, config)

    def _check_room(self, partition_count: int) -> None:
        existing = sum(topic.partition_count for topic in self._topics)
        if existing + partition_count > self._config.partitions_max:
            raise TopicError(
                ErrorCode.POLICY_VIOLATION,
                f"This broker has {existing} partitions and serves at most "
                f"{self._config.partitions_max}.",
            )
