"""Consumer groups (keys 8 to 16, 42, 47): the group coordinator decides everything.

A JoinGroup or SyncGroup that waits for other members holds up its connection, as in Kafka; clients
use a connection of its own for their coordinator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.groups.find_coordinator import (
    TRANSACTION_KEY,
    CoordinatorAddress,
    find_coordinator,
)
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.delete_groups import DeleteGroupsRequest, DeleteGroupsResponse
    from streamlog.wire.messages.describe_groups import (
        DescribeGroupsRequest,
        DescribeGroupsResponse,
    )
    from streamlog.wire.messages.find_coordinator import (
        FindCoordinatorRequest,
        FindCoordinatorResponse,
    )
    from streamlog.wire.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
    from streamlog.wire.messages.join_group import JoinGroupRequest, JoinGroupResponse
    from streamlog.wire.messages.leave_group import LeaveGroupRequest, LeaveGroupResponse
    from streamlog.wire.messages.list_groups import ListGroupsRequest, ListGroupsResponse
    from streamlog.wire.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
    from streamlog.wire.messages.offset_delete import OffsetDeleteRequest, OffsetDeleteResponse
    from streamlog.wire.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
    from streamlog.wire.messages.sync_group import SyncGroupRequest, SyncGroupResponse

NO_TRANSACTIONS = "this broker serves no transactions; leave transactional.id unset"


def handle_find_coordinator(
    request: FindCoordinatorRequest, context: RequestContext
) -> FindCoordinatorResponse:
    """This broker coordinates all groups; nobody coordinates transactions, and it says so."""
    if request.key_type != TRANSACTION_KEY:
        host, port = context.address
        here = CoordinatorAddress(node_id=context.broker.config.node_id, host=host, port=port)
        return find_coordinator(request, context.version, here)
    response = find_coordinator(request, context.version, None)
    # The one error that makes every client give up at once in place of asking for ever.
    code = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    response.error_code, response.error_message = code, NO_TRANSACTIONS
    for coordinator in response.coordinators:
        coordinator.error_code, coordinator.error_message = code, NO_TRANSACTIONS
    return response


async def handle_join_group(
    request: JoinGroupRequest, context: RequestContext
) -> JoinGroupResponse:
    """Waits until the group has gathered."""
    return await context.broker.groups.join_group(
        request, context.version, context.client_id or "", f"/{context.peer.address}"
    )


async def handle_sync_group(
    request: SyncGroupRequest, context: RequestContext
) -> SyncGroupResponse:
    """Waits until the leader's assignment is stored."""
    return await context.broker.groups.sync_group(request, context.version)


async def handle_heartbeat(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
    """Keeps a member alive."""
    return await context.broker.groups.heartbeat(request, context.version)


async def handle_leave_group(
    request: LeaveGroupRequest, context: RequestContext
) -> LeaveGroupResponse:
    """Removes members."""
    return await context.broker.groups.leave_group(request, context.version)


async def handle_offset_commit(
    request: OffsetCommitRequest, context: RequestContext
) -> OffsetCommitResponse:
    """Stores offsets; they are durable when this returns."""
    return await context.broker.groups.offset_commit(request, context.version)


async def handle_offset_fetch(
    request: OffsetFetchRequest, context: RequestContext
) -> OffsetFetchResponse:
    """Reads committed offsets."""
    return await context.broker.groups.offset_fetch(request, context.version)


async def handle_offset_delete(
    request: OffsetDeleteRequest, context: RequestContext
) -> OffsetDeleteResponse:
    """Forgets committed offsets."""
    return await context.broker.groups.offset_delete(request, context.version)


async def handle_describe_groups(
    request: DescribeGroupsRequest, context: RequestContext
) -> DescribeGroupsResponse:
    """Describes groups and their members."""
    return await context.broker.groups.describe_groups(request, context.version)


async def handle_list_groups(
    request: ListGroupsRequest, context: RequestContext
) -> ListGroupsResponse:
    """Lists all groups."""
    return await context.broker.groups.list_groups(request, context.version)


async def handle_delete_groups(
    request: DeleteGroupsRequest, context: RequestContext
) -> DeleteGroupsResponse:
    """Deletes groups without members."""
    return await context.broker.groups.delete_groups(request, context.version)
