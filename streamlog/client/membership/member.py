"""A member of a consumer group: joins, keeps in touch, and tells which partitions are its own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from streamlog.client.client import Client
    from streamlog.client.config import GroupConfig
    from streamlog.client.values import OffsetAndMetadata, TopicPartition


class RebalanceListener(Protocol):
    """What a member tells about its partitions, one call at a time, from the member's own task."""

    async def on_assigned(self, partitions: frozenset[TopicPartition]) -> None:
        """These partitions are now this member's (in addition to those it has)."""

    async def on_revoked(self, partitions: frozenset[TopicPartition]) -> None:
        """These go to others once this returns: commit now, it is still allowed."""

    async def on_lost(self, partitions: frozenset[TopicPartition]) -> None:
        """These may be others' already: drop what is not committed."""


class GroupMember:
    """A member of a group; made by `open_group_member`."""

    @property
    def member_id(self) -> str:
        """The id that the group gave; empty before the first join."""
        raise AssertionError

    @property
    def generation(self) -> int:
        """The group's generation that this member is part of; -1 if none."""
        raise AssertionError

    @property
    def owned(self) -> frozenset[TopicPartition]:
        """The partitions that are this member's."""
        raise AssertionError

    async def wait_joined(self) -> None:
        """Waits until the member has its first assignment (which may be empty)."""
        raise AssertionError

    async def commit(self, offsets: Mapping[TopicPartition, OffsetAndMetadata]) -> None:
        """Commits offsets, fenced by generation: raises `CommitRefusedError` if it is outdated."""
        raise AssertionError

    async def committed(
        self, partitions: Iterable[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata | None]:
        """Returns the group's committed offsets; None where there is none."""
        raise AssertionError

    def request_rejoin(self) -> None:
        """Asks for a rebalance."""
        raise AssertionError


@asynccontextmanager
async def open_group_member(
    client: Client, config: GroupConfig, listener: RebalanceListener
) -> AsyncIterator[GroupMember]:
    """Joins a group and stays in it until the block ends.

    At the end `on_revoked` is called with what is owned, then the group is left (a static member
    stays on its list).
    """
    yield GroupMember()
