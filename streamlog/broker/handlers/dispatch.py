"""From a frame to a handler and back: decodes the request, calls the handler, encodes its answer.

`HANDLERS` is the table of what the broker serves; `streamlog.wire.api` says in which versions. An
API or a version that is not served closes the connection, as Kafka does, since nobody knows what
form an answer would have; only ApiVersions has one that every client can read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from streamlog.broker.handlers.api_versions import handle_api_versions
from streamlog.broker.handlers.configs import (
    handle_alter_configs,
    handle_describe_configs,
    handle_incremental_alter_configs,
)
from streamlog.broker.handlers.create_partitions import handle_create_partitions
from streamlog.broker.handlers.create_topics import handle_create_topics
from streamlog.broker.handlers.delete_records import handle_delete_records
from streamlog.broker.handlers.delete_topics import handle_delete_topics
from streamlog.broker.handlers.describe_cluster import handle_describe_cluster
from streamlog.broker.handlers.describe_log_dirs import handle_describe_log_dirs
from streamlog.broker.handlers.fetch import handle_fetch
from streamlog.broker.handlers.groups import (
    handle_delete_groups,
    handle_describe_groups,
    handle_find_coordinator,
    handle_heartbeat,
    handle_join_group,
    handle_leave_group,
    handle_list_groups,
    handle_offset_commit,
    handle_offset_delete,
    handle_offset_fetch,
    handle_sync_group,
)
from streamlog.broker.handlers.init_producer_id import handle_init_producer_id
from streamlog.broker.handlers.list_offsets import handle_list_offsets
from streamlog.broker.handlers.metadata import handle_metadata
from streamlog.broker.handlers.offset_for_leader_epoch import handle_offset_for_leader_epoch
from streamlog.broker.handlers.produce import handle_produce
from streamlog.broker.handlers.services import Answer, FetchAnswer, Later, RequestContext
from streamlog.broker.server.reply import CloseConnectionError, Deferred
from streamlog.wire.api import ApiKey
from streamlog.wire.errors import UnsupportedVersionError
from streamlog.wire.fetch_response import encode_fetch_response
from streamlog.wire.framing import (
    decode_request,
    encode_response,
    unsupported_api_versions_response,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.handlers.services import Services
    from streamlog.broker.server.reply import Parts, Peer, Reply
    from streamlog.wire.framing import RequestHeader
    from streamlog.wire.schema import Response

# The table brings each handler the request of its own class; no one type can say that.
Handler = Callable[[Any, RequestContext], Answer | Coroutine[None, None, Answer]]

HANDLERS: Mapping[ApiKey, Handler] = {
    ApiKey.PRODUCE: handle_produce,
    ApiKey.FETCH: handle_fetch,
    ApiKey.LIST_OFFSETS: handle_list_offsets,
    ApiKey.METADATA: handle_metadata,
    ApiKey.OFFSET_COMMIT: handle_offset_commit,
    ApiKey.OFFSET_FETCH: handle_offset_fetch,
    ApiKey.FIND_COORDINATOR: handle_find_coordinator,
    ApiKey.JOIN_GROUP: handle_join_group,
    ApiKey.HEARTBEAT: handle_heartbeat,
    ApiKey.LEAVE_GROUP: handle_leave_group,
    ApiKey.SYNC_GROUP: handle_sync_group,
    ApiKey.DESCRIBE_GROUPS: handle_describe_groups,
    ApiKey.LIST_GROUPS: handle_list_groups,
    ApiKey.API_VERSIONS: handle_api_versions,
    ApiKey.CREATE_TOPICS: handle_create_topics,
    ApiKey.DELETE_TOPICS: handle_delete_topics,
    ApiKey.DELETE_RECORDS: handle_delete_records,
    ApiKey.INIT_PRODUCER_ID: handle_init_producer_id,
    ApiKey.OFFSET_FOR_LEADER_EPOCH: handle_offset_for_leader_epoch,
    ApiKey.DESCRIBE_CONFIGS: handle_describe_configs,
    ApiKey.ALTER_CONFIGS: handle_alter_configs,
    ApiKey.DESCRIBE_LOG_DIRS: handle_describe_log_dirs,
    ApiKey.CREATE_PARTITIONS: handle_create_partitions,
    ApiKey.DELETE_GROUPS: handle_delete_groups,
    ApiKey.INCREMENTAL_ALTER_CONFIGS: handle_incremental_alter_configs,
    ApiKey.OFFSET_DELETE: handle_offset_delete,
    ApiKey.DESCRIBE_CLUSTER: handle_describe_cluster,
}


class Dispatcher:
    """Handles the frames of all connections.

    Args:
        broker: What the handlers work with.
    """

    def __init__(self, broker: Services) -> None:
        self._broker = broker
        self.requests_by_api: Counter[ApiKey] = Counter()

    async def handle(self, frame: memoryview, peer: Peer) -> Reply:
        """Handles one request.

        Raises:
            CloseConnectionError: Nothing could be answered.
            DecodeError: It is not a request.
        """
        try:
            header, request = decode_request(frame)
        except UnsupportedVersionError as error:
            if error.api_key == ApiKey.API_VERSIONS:
                return [unsupported_api_versions_response(error.correlation_id)]
            raise
        handler = HANDLERS.get(header.api_key)
        if handler is None:
            raise CloseConnectionError(f"{header.api_key.name} is not served")
        self.requests_by_api[header.api_key] += 1
        context = RequestContext(self._broker, header.api_version, header.client_id, peer)
        answer = handler(request, context)
        if isinstance(answer, Coroutine):
            answer = await answer
        if isinstance(answer, Later):
            return _deferred(header, answer)
        return None if answer is None else _encode(header, answer)


def _deferred(header: RequestHeader, later: Later) -> Deferred:
    async def complete() -> Parts | None:
        answer = await later.complete()
        return None if answer is None else _encode(header, answer)

    return Deferred(complete)


def _encode(header: RequestHeader, answer: Response | FetchAnswer) -> Parts:
    if isinstance(answer, FetchAnswer):
        return encode_fetch_response(header, answer.response, answer.slices)
    return [encode_response(header, answer)]
