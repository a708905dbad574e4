"""Administration of topics, groups and configuration: one door to what is not records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.admin import groups as group_admin
from streamlog.client.admin import topics as topic_admin
from streamlog.client.admin.values import BrokerDescription, ClusterDescription
from streamlog.client.cluster.coordinators import commit_without_members, fetch_offsets
from streamlog.client.cluster.offsets import list_offsets
from streamlog.client.config import Isolation

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from streamlog.client.admin.values import (
        ConfigEntry,
        GroupDescription,
        GroupListing,
        NewTopic,
        TopicDescription,
    )
    from streamlog.client.client import Client
    from streamlog.client.values import OffsetAndMetadata, OffsetAndTimestamp, TopicPartition


class Admin:
    """Asks the cluster for, and changes, what is not records."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create_topics(
        self, topics: Iterable[NewTopic], *, validate_only: bool = False
    ) -> None:
        """Creates topics; raises `KafkaError` for the first that failed."""
        await topic_admin.create_topics(self._client, topics, validate_only=validate_only)

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Deletes topics."""
        await topic_admin.delete_topics(self._client, names)

    async def create_partitions(self, total_counts: Mapping[str, int]) -> None:
        """Grows topics to these numbers of partitions."""
        await topic_admin.create_partitions(self._client, total_counts)

    async def list_topics(self) -> list[TopicDescription]:
        """Returns all topics, internal ones too."""
        found = await topic_admin.describe_topics(self._client, None)
        return [found[name] for name in sorted(found)]

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicDescription]:
        """Returns the topics of these names; those that do not exist are missing."""
        if not names:
            return {}
        return await topic_admin.describe_topics(self._client, names)

    async def describe_configs(self, topic: str) -> list[ConfigEntry]:
        """Returns a topic's configuration."""
        return await topic_admin.describe_configs(self._client, topic)

    async def alter_configs(self, topic: str, changes: Mapping[str, str | None]) -> None:
        """Sets a topic's configuration entries; None puts one back to its default."""
        await topic_admin.alter_configs(self._client, topic, changes)

    async def delete_records(
        self, before: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Deletes records below offsets (-1: all); returns the new first offsets."""
        return await topic_admin.delete_records(self._client, before)

    async def list_offsets(
        self, wanted: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Looks up offsets: `EARLIEST`, `LATEST` or the first at or after a time in ms."""
        return await list_offsets(self._client, wanted, Isolation.READ_UNCOMMITTED)

    async def list_groups(self) -> list[GroupListing]:
        """Returns the groups of all brokers."""
        return await group_admin.list_groups(self._client)

    async def describe_groups(self, groups: Collection[str]) -> dict[str, GroupDescription]:
        """Returns groups with their members; a group that does not exist has the state "Dead"."""
        return await group_admin.describe_groups(self._client, groups)

    async def group_offsets(
        self, group: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Returns what a group has committed, with the metadata."""
        return await fetch_offsets(self._client, group, partitions)

    async def alter_group_offsets(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Sets a group's offsets; refused while it has members."""
        await commit_without_members(self._client, group, offsets)

    async def delete_group_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Forgets committed offsets."""
        await group_admin.delete_group_offsets(self._client, group, partitions)

    async def delete_groups(self, groups: Iterable[str]) -> None:
        """Deletes groups that have no members."""
        await group_admin.delete_groups(self._client, groups)

    async def describe_cluster(self) -> ClusterDescription:
        """Returns the cluster's id, controller and brokers."""
        client = self._client
        await client.retrying(client.keeper.refresh)
        metadata = client.metadata
        return ClusterDescription(
            cluster_id=metadata.cluster_id,
            controller=metadata.controller,
            brokers=tuple(
                BrokerDescription(each.node_id, each.host, each.port, each.rack)
                for _, each in sorted(metadata.brokers.items())
            ),
        )
