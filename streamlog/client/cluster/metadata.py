"""What the client knows of the cluster: brokers, topics, partitions and their leaders.

A cache that only `update` changes. It never goes back in time: news of a partition with an older
leader epoch than the one known, from a broker that lags behind, is ignored (KIP-320), unless the
topic is another one of the same name (its id differs).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.client.values import TopicPartition
    from streamlog.wire.messages.metadata import (
        MetadataResponse,
        MetadataResponsePartition,
        MetadataResponseTopic,
    )

NO_LEADER = -1


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where a broker says it is; `node_id` is negative for an address from the configuration."""

    node_id: int
    host: str
    port: int
    rack: str | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition: who leads it, and under which epoch."""

    partition: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    in_sync: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """One topic. `error` is not NONE if the brokers know no more than that."""

    name: str
    topic_id: str
    internal: bool
    partitions: dict[int, PartitionInfo]
    error: ErrorCode = ErrorCode.NONE

    @property
    def partition_count(self) -> int:
        """How many partitions there are, with or without leaders."""
        return len(self.partitions)


class ClusterMetadata:
    """The newest view of the cluster; see the module."""

    def __init__(self) -> None:
        self.brokers: dict[int, BrokerAddress] = {}
        self.controller = NO_LEADER
        self.cluster_id: str | None = None
        self.topics: dict[str, TopicInfo] = {}
        self.version = 0
        """Grows with every update, so that a waiting caller sees that there was one."""

    def update(self, response: MetadataResponse, asked: Iterable[str] | None) -> None:
        """Takes in an answer to a question about the topics `asked` (None: about all)."""
        self.brokers = {
            broker.node_id: BrokerAddress(broker.node_id, broker.host, broker.port, broker.rack)
            for broker in response.brokers
        }
        self.controller = response.controller_id
        self.cluster_id = response.cluster_id
        told = {topic.name: self._topic(topic) for topic in response.topics if topic.name}
        missing = set(self.topics if asked is None else asked) - told.keys()
        for name in missing:
            self.topics.pop(name, None)
        self.topics.update(told)
        self.version += 1

    def _topic(self, topic: MetadataResponseTopic) -> TopicInfo:
        name = topic.name or ""
        topic_id = str(topic.topic_id)
        known = self.topics.get(name)
        if known is not None and known.topic_id != topic_id:
            known = None
        old = {} if known is None else known.partitions
        partitions = {
            each.partition_index: newer(each, old.get(each.partition_index))
            for each in topic.partitions
        }
        return TopicInfo(
            name=name,
            topic_id=topic_id,
            internal=topic.is_internal,
            partitions=partitions,
            error=ErrorCode(topic.error_code),
        )

    def leader(self, partition: TopicPartition) -> PartitionInfo | None:
        """Returns the partition if it has a leader, and the leader's address is known."""
        topic = self.topics.get(partition.topic)
        info = topic.partitions.get(partition.partition) if topic is not None else None
        return info if info is not None and info.leader in self.brokers else None


def newer(told: MetadataResponsePartition, known: PartitionInfo | None) -> PartitionInfo:
    """Returns what is told, or what is known if that is of a newer epoch."""
    if known is not None and -1 < told.leader_epoch < known.leader_epoch:
        return known
    return PartitionInfo(
        partition=told.partition_index,
        leader=told.leader_id,
        leader_epoch=told.leader_epoch,
        replicas=tuple(told.replica_nodes),
        in_sync=tuple(told.isr_nodes),
    )
