"""Changes of topics: each changes the registry and the logs, in the order that survives a crash.

The registry in the coordination store is the truth. A topic is written there first and gets its
directories after; what a crash left out is made up for at the next start. A topic that goes leaves
the registry first; directories that no topic claims are set aside by the log when it is opened.

Changes happen one at a time: they are rare, and each is two steps that must not mix with another's.
They are not given up half-way when the client that asked for them disconnects.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from streamlog.broker.coordination.errors import TopicError
from streamlog.broker.log.config import LogConfig
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.config import BrokerConfig
    from streamlog.broker.coordination.topics import Topic, TopicRegistry
    from streamlog.broker.groups.service import GroupService
    from streamlog.broker.handlers.fetch_purgatory import FetchPurgatory
    from streamlog.broker.log.manager import LogManager

logger = logging.getLogger("streamlog.broker")


class TopicAdmin:
    """Creates, enlarges, alters and deletes topics.

    Args:
        config: Defaults of new topics, and the bound on partitions.
        topics: The registry.
        logs: The logs.
        groups: Committed offsets go with their topics.
        purgatory: Fetches of a topic that goes are answered.
    """

    def __init__(
        self,
        config: BrokerConfig,
        topics: TopicRegistry,
        logs: LogManager,
        groups: GroupService,
        purgatory: FetchPurgatory,
    ) -> None:
        self._config = config
        self._topics = topics
        self._logs = logs
        self._groups = groups
        self._purgatory = purgatory
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
            with trio.CancelScope(shield=True):
                topic = await self._topics.delete(name)
                gone = [self._logs.get(name, index) for index in range(topic.partition_count)]
                await self._logs.delete(name)
                for log in gone:
                    if log is not None:
                        self._purgatory.note_gone(log)
                await self._groups.forget_topics([name])
        logger.info("deleted topic %s", name)
        return topic

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
