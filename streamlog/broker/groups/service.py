"""The trio shell of the group coordinator (signatures; see the modules beside it)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from streamlog.errors import RefusedError

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Iterable

    from streamlog.broker.coordination.store import MetadataStore
    from streamlog.broker.coordination.topics import TopicLookup
    from streamlog.broker.groups.config import GroupConfig
    from streamlog.doors import Clock
    from streamlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
    from streamlog.wire.messages.describe_groups import (
        DescribeGroupsRequest,
        DescribeGroupsResponse,
    )
    from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
    from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
    from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
    from streamlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
    from streamlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
    from streamlog.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
    from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
    from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse


@asynccontextmanager
async def open_group_service(
    store: MetadataStore,
    clock: Clock,
    config: GroupConfig,
    *,
    topics: TopicLookup,
    rng: random.Random | None = None,
) -> AsyncIterator[GroupService]:
    """Loads all groups and serves them until the block is left."""
    raise RefusedError("the group coordinator is not there yet")
    yield GroupService()


class GroupService:
    """One method per request; each returns the response that goes to the client."""

    async def join_group(
        self, request: JoinGroupRequest, version: int, client_id: str, client_host: str
    ) -> JoinGroupResponse:
        """JoinGroup 0-9: waits until the group has gathered."""
        raise RefusedError("the group coordinator is not there yet")

    async def sync_group(self, request: SyncGroupRequest, version: int) -> SyncGroupResponse:
        """SyncGroup 0-5: waits until the leader's assignment is stored."""
        raise RefusedError("the group coordinator is not there yet")

    async def heartbeat(self, request: HeartbeatRequest, version: int) -> HeartbeatResponse:
        """Heartbeat 0-4."""
        raise RefusedError("the group coordinator is not there yet")

    async def leave_group(self, request: LeaveGroupRequest, version: int) -> LeaveGroupResponse:
        """LeaveGroup 0-5."""
        raise RefusedError("the group coordinator is not there yet")

    async def offset_commit(
        self, request: OffsetCommitRequest, version: int
    ) -> OffsetCommitResponse:
        """OffsetCommit 2-8: returns when the offsets are durable."""
        raise RefusedError("the group coordinator is not there yet")

    async def offset_fetch(self, request: OffsetFetchRequest, version: int) -> OffsetFetchResponse:
        """OffsetFetch 1-8."""
        raise RefusedError("the group coordinator is not there yet")

    async def offset_delete(
        self, request: OffsetDeleteRequest, version: int
    ) -> OffsetDeleteResponse:
        """OffsetDelete 0."""
        raise RefusedError("the group coordinator is not there yet")

    async def describe_groups(
        self, request: DescribeGroupsRequest, version: int
    ) -> DescribeGroupsResponse:
        """DescribeGroups 0-5."""
        raise RefusedError("the group coordinator is not there yet")

    async def list_groups(self, request: ListGroupsRequest, version: int) -> ListGroupsResponse:
        """ListGroups 0-5."""
        raise RefusedError("the group coordinator is not there yet")

    async def delete_groups(
        self, request: DeleteGroupsRequest, version: int
    ) -> DeleteGroupsResponse:
        """DeleteGroups 0-2."""
        raise RefusedError("the group coordinator is not there yet")

    async def forget_topics(self, names: Iterable[str]) -> None:
        """Removes all groups' offsets of topics that were deleted."""
        raise RefusedError("the group coordinator is not there yet")
