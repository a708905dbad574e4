"""The topics of a cluster: names, ids, partition counts and settings.

They are kept in the coordination store, in nodes named as Kafka names them in ZooKeeper:

    /brokers/topics/<topic>   {"topic_id": "<uuid>", "partition_count": 3}
    /config/topics/<topic>    {"retention.ms": "60000"}

The registry keeps all topics in memory: questions are answered at once, changes return when they
are durable and only then become visible. A topic's id is never used again; a topic that is
deleted and created anew is another topic. Settings are opaque here: whoever takes them from a
client checks them against `streamlog.broker.log.config` first. Names are checked here, on the way
in and when they are read from the store, because a name becomes a directory.

Changes go one at a time and are not interrupted by cancellation: what was checked must still hold
when it is written, and what is in memory must be what is on disk.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import msgspec
import trio

from streamlog.broker.coordination.errors import StoreDamaged, TopicError
from streamlog.broker.coordination.store import (
    Check,
    Create,
    DeleteTree,
    MetadataStore,
    Operation,
    Put,
    Set,
)
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NAME_LENGTH_MAX = 249
"""A directory is named `<topic>-<partition>`, and file names have at most 255 bytes."""

PARTITIONS_MAX = 10_000
"""Per topic. Each partition costs files and memory; ten thousand is more than one broker serves."""

INTERNAL_TOPICS = frozenset({"__consumer_offsets", "__transaction_state", "__cluster_metadata"})
"""Names that Kafka keeps for itself. Nobody may create them here: our groups live in the store."""

_TOPICS = "/brokers/topics"
_CONFIGS = "/config/topics"
_NAME = re.compile(r"[a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic as it is now."""

    name: str
    topic_id: uuid.UUID
    partition_count: int
    configs: Mapping[str, str]
    version: int
    """The version of the topic's node in the store."""


class TopicLookup(Protocol):
    """What those need who only ask whether a partition exists."""

    def partition_count(self, topic: str) -> int | None:
        """Returns how many partitions a topic has, or None if there is no such topic."""


class TopicRegistry:
    """All topics; load one with `TopicRegistry.load(store)`.

    Args:
        store: Where topics are kept.
        new_id: Makes topic ids; a simulation passes its own.
    """

    def __init__(self, store: MetadataStore, new_id: Callable[[], uuid.UUID] = uuid.uuid4) -> None:
        self._store = store
        self._new_id = new_id
        self._topics: dict[str, Topic] = {}
        self._by_id: dict[uuid.UUID, Topic] = {}
        self._turn = trio.Lock()
        self.is_new = True
        """Whether the store had never held a topic when it was loaded."""

    @classmethod
    async def load(
        cls, store: MetadataStore, new_id: Callable[[], uuid.UUID] = uuid.uuid4
    ) -> TopicRegistry:
        """Reads all topics from the store.

        Raises:
            StoreDamaged: A node does not hold what a topic's node holds.
        """
        registry = cls(store, new_id)
        nodes = await store.tree(_TOPICS)
        settings = await store.tree(_CONFIGS)
        registry.is_new = not nodes
        for path, node in nodes.items():
            name = path.removeprefix(_TOPICS + "/")
            if path == _TOPICS:
                continue
            configs = settings.get(f"{_CONFIGS}/{name}")
            try:
                check_topic_name(name)
                stored = msgspec.json.decode(node.value, type=_StoredTopic)
                read = msgspec.json.decode(configs.value, type=dict[str, str]) if configs else {}
            except (TopicError, msgspec.DecodeError) as error:
                raise StoreDamaged(
                    f"the coordination store's node {path} is not a topic's: {error}",
                    hint="Restore the store from a copy",
                ) from error
            registry._keep(_topic(name, stored, read, node.version))
        return registry

    def get(self, name: str) -> Topic | None:
        """Returns a topic by its name."""
        return self._topics.get(name)

    def by_id(self, topic_id: uuid.UUID) -> Topic | None:
        """Returns a topic by its id."""
        return self._by_id.get(topic_id)

    def partition_count(self, topic: str) -> int | None:
        """Returns how many partitions a topic has, or None if there is no such topic."""
        found = self._topics.get(topic)
        return None if found is None else found.partition_count

    def __contains__(self, name: str) -> bool:
        return name in self._topics

    def __iter__(self) -> Iterator[Topic]:
        """Goes through all topics in the order of their names."""
        return iter([self._topics[name] for name in sorted(self._topics)])

    def __len__(self) -> int:
        return len(self._topics)

    def check_new(self, name: str, partition_count: int) -> None:
        """Raises what `create` would raise; for requests that only want to be checked."""
        check_topic_name(name)
        if name in INTERNAL_TOPICS:
            raise TopicError(
                ErrorCode.INVALID_TOPIC_EXCEPTION, f"{name} is a name that Kafka keeps for itself"
            )
        if name in self._topics:
            raise TopicError(ErrorCode.TOPIC_ALREADY_EXISTS, f"Topic '{name}' already exists.")
        twin = self._twin_of(name)
        if twin is not None:
            raise TopicError(
                ErrorCode.INVALID_TOPIC_EXCEPTION,
                f"Topic '{name}' collides with existing topic '{twin}': metrics cannot tell "
                "dots from underscores",
            )
        _check_partition_count(partition_count)

    async def create(
        self, name: str, partition_count: int, configs: Mapping[str, str] | None = None
    ) -> Topic:
        """Makes a topic with a new id.

        Raises:
            TopicError: INVALID_TOPIC_EXCEPTION, TOPIC_ALREADY_EXISTS or INVALID_PARTITIONS.
            VersionConflict: Another broker created the topic meanwhile.
        """
        async with self._turn:
            self.check_new(name, partition_count)
            stored = _StoredTopic(topic_id=self._new_id(), partition_count=partition_count)
            settings = dict(configs or {})
            await self._write(
                Create(f"{_TOPICS}/{name}", msgspec.json.encode(stored)),
                Put(f"{_CONFIGS}/{name}", msgspec.json.encode(settings)),
            )
            return self._keep(_topic(name, stored, settings, 0))

    async def take_over(
        self, found: Mapping[str, tuple[int, uuid.UUID | None]], configs: Mapping[str, str]
    ) -> list[Topic]:
        """Registers topics that exist already, all in one step; returns those that can be.

        Args:
            found: By name, the number of partitions and the id, if it is known.
            configs: The settings of all of them.
        """
        async with self._turn:
            steps: list[Operation] = []
            taken: list[Topic] = []
            for name, (partition_count, topic_id) in found.items():
                try:
                    self.check_new(name, partition_count)
                except TopicError:
                    continue
                stored = _StoredTopic(
                    topic_id=topic_id or self._new_id(), partition_count=partition_count
                )
                steps.append(Create(f"{_TOPICS}/{name}", msgspec.json.encode(stored)))
                steps.append(Put(f"{_CONFIGS}/{name}", msgspec.json.encode(configs)))
                taken.append(_topic(name, stored, configs, 0))
            if steps:
                await self._write(*steps)
            return [self._keep(topic) for topic in taken]

    async def delete(self, name: str) -> Topic:
        """Removes a topic and returns what it was.

        Raises:
            TopicError: UNKNOWN_TOPIC_OR_PARTITION.
        """
        async with self._turn:
            topic = self._known(name)
            await self._write(DeleteTree(f"{_TOPICS}/{name}"), DeleteTree(f"{_CONFIGS}/{name}"))
            del self._topics[name]
            del self._by_id[topic.topic_id]
            return topic

    async def add_partitions(self, name: str, partition_count: int) -> Topic:
        """Raises a topic's number of partitions to `partition_count`.

        Raises:
            TopicError: UNKNOWN_TOPIC_OR_PARTITION or INVALID_PARTITIONS.
            VersionConflict: Another broker changed the topic meanwhile.
        """
        async with self._turn:
            topic = self.check_growth(name, partition_count)
            stored = _StoredTopic(topic_id=topic.topic_id, partition_count=partition_count)
            value = msgspec.json.encode(stored)
            await self._write(Set(f"{_TOPICS}/{name}", value, topic.version))
            grown = replace(topic, partition_count=partition_count, version=topic.version + 1)
            return self._keep(grown)

    def check_growth(self, name: str, partition_count: int) -> Topic:
        """Raises what `add_partitions` would raise; returns the topic as it is."""
        topic = self._known(name)
        if partition_count <= topic.partition_count:
            raise TopicError(
                ErrorCode.INVALID_PARTITIONS,
                f"Topic currently has {topic.partition_count} partitions, which is higher than or "
                f"equal to the requested {partition_count}.",
            )
        _check_partition_count(partition_count)
        return topic

    async def alter_configs(self, name: str, configs: Mapping[str, str]) -> Topic:
        """Replaces a topic's settings; those not named go back to their defaults.

        Raises:
            TopicError: UNKNOWN_TOPIC_OR_PARTITION.
            VersionConflict: Another broker changed the topic meanwhile.
        """
        async with self._turn:
            topic = self._known(name)
            settings = dict(configs)
            await self._write(
                Check(f"{_TOPICS}/{name}", topic.version),
                Put(f"{_CONFIGS}/{name}", msgspec.json.encode(settings)),
            )
            return self._keep(replace(topic, configs=MappingProxyType(settings)))

    async def _write(self, *operations: Operation) -> None:
        # Shielded, because memory has to follow what was written; the disk is what bounds it.
        with trio.CancelScope(shield=True):
            await self._store.transact(operations)

    def _known(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            raise TopicError(
                ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"Topic '{name}' does not exist."
            )
        return topic

    def _keep(self, topic: Topic) -> Topic:
        self._topics[topic.name] = topic
        self._by_id[topic.topic_id] = topic
        return topic

    def _twin_of(self, name: str) -> str | None:
        if "." not in name and "_" not in name:
            return None
        plain = name.replace(".", "_")
        return next((other for other in self._topics if other.replace(".", "_") == plain), None)


class _StoredTopic(msgspec.Struct, kw_only=True):
    """The value of a topic's node."""

    topic_id: uuid.UUID
    partition_count: int


def check_topic_name(name: str) -> None:
    """Raises `TopicError` unless Kafka allows the name, in Kafka's words.

    >>> check_topic_name("flights.v2")
    """
    reason = None
    if not name:
        reason = "the empty string is not allowed"
    elif name in (".", ".."):
        reason = "'.' or '..' is not allowed"
    elif len(name) > NAME_LENGTH_MAX:
        reason = (
            f"the length of '{name[:40]}…' is longer than the max allowed length {NAME_LENGTH_MAX}"
        )
    elif _NAME.fullmatch(name) is None:
        reason = (
            f"{name!r} contains one or more characters other than ASCII alphanumerics, "
            "'.', '_' and '-'"
        )
    if reason:
        raise TopicError(ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {reason}")


def _check_partition_count(partition_count: int) -> None:
    if not 1 <= partition_count <= PARTITIONS_MAX:
        raise TopicError(
            ErrorCode.INVALID_PARTITIONS,
            f"Number of partitions was set to {partition_count}; it must be from 1 to "
            f"{PARTITIONS_MAX}.",
        )


def _topic(name: str, stored: _StoredTopic, configs: Mapping[str, str], version: int) -> Topic:
    return Topic(
        name=name,
        topic_id=stored.topic_id,
        partition_count=stored.partition_count,
        configs=MappingProxyType(dict(configs)),
        version=version,
    )
