"""Administration of topics, groups and configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from streamlog.client.admin.values import (
        ClusterDescription,
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
        raise AssertionError

    async def delete_topics(self, names: Iterable[str]) -> None:
        """Deletes topics."""
        raise AssertionError

    async def create_partitions(self, total_counts: Mapping[str, int]) -> None:
        """Grows topics to these numbers of partitions."""
        raise AssertionError

    async def list_topics(self) -> list[TopicDescription]:
        """Returns all topics, internal ones too."""
        raise AssertionError

    async def describe_topics(self, names: Collection[str]) -> dict[str, TopicDescription]:
        """Returns the topics of these names; those that do not exist are missing."""
        raise AssertionError

    async def describe_configs(self, topic: str) -> list[ConfigEntry]:
        """Returns a topic's configuration."""
        raise AssertionError

    async def alter_configs(self, topic: str, changes: Mapping[str, str | None]) -> None:
        """Sets a topic's configuration entries; None puts one back to its default."""
        raise AssertionError

    async def delete_records(
        self, before: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Deletes records below offsets (-1: all); returns the new first offsets."""
        raise AssertionError

    async def list_offsets(
        self, wanted: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, OffsetAndTimestamp | None]:
        """Looks up offsets: `EARLIEST`, `LATEST` or the first at or after a time in ms."""
        raise AssertionError

    async def list_groups(self) -> list[GroupListing]:
        """Returns the groups of all brokers."""
        raise AssertionError

    async def describe_groups(self, groups: Collection[str]) -> dict[str, GroupDescription]:
        """Returns groups with their members; a group that does not exist has the state "Dead"."""
        raise AssertionError

    async def group_offsets(
        self, group: str, partitions: Iterable[TopicPartition] | None = None
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        """Returns what a group has committed, with the metadata."""
        raise AssertionError

    async def alter_group_offsets(
        self, group: str, offsets: Mapping[TopicPartition, OffsetAndMetadata]
    ) -> None:
        """Sets a group's offsets; refused while it has members."""
        raise AssertionError

    async def delete_group_offsets(self, group: str, partitions: Iterable[TopicPartition]) -> None:
        """Forgets committed offsets."""
        raise AssertionError

    async def delete_groups(self, groups: Iterable[str]) -> None:
        """Deletes groups that have no members."""
        raise AssertionError

    async def describe_cluster(self) -> ClusterDescription:
        """Returns the cluster's id, controller and brokers."""
        raise AssertionError
