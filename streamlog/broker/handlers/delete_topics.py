"""DeleteTopics (key 20): by name, from version 6 on also by id.

A deleted topic is gone at once: nobody can read or write it, and a new one of the same name has
another id. Its space is freed a little later.

Version notes: 4 flexible; 5 error message; 6 topics by name or id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.coordination.errors import TopicError
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.delete_topics import (
    DeletableTopicResult,
    DeleteTopicsResponse,
    DeleteTopicState,
)
from streamlog.wire.schema import UUID_ZERO

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.delete_topics import DeleteTopicsRequest

BY_ID_VERSION_MIN = 6


async def handle_delete_topics(
    request: DeleteTopicsRequest, context: RequestContext
) -> DeleteTopicsResponse:
    """Deletes every topic that is named."""
    wanted = (
        request.topics
        if context.version >= BY_ID_VERSION_MIN
        else [DeleteTopicState(name=name) for name in request.topic_names]
    )
    return DeleteTopicsResponse(responses=[await _delete(item, context) for item in wanted])


async def _delete(wanted: DeleteTopicState, context: RequestContext) -> DeletableTopicResult:
    name = wanted.name
    if (name is None) == (wanted.topic_id == UUID_ZERO):
        return DeletableTopicResult(
            name=name,
            topic_id=wanted.topic_id,
            error_code=ErrorCode.INVALID_REQUEST,
            error_message="A topic must be given by its name or by its id.",
        )
    if name is None:
        topic = context.broker.topics.by_id(wanted.topic_id)
        if topic is None:
            return DeletableTopicResult(
                name=None,
                topic_id=wanted.topic_id,
                error_code=ErrorCode.UNKNOWN_TOPIC_ID,
                error_message="No topic has this id.",
            )
        name = topic.name
    try:
        deleted = await context.broker.topic_admin.delete(name)
    except TopicError as error:
        return DeletableTopicResult(name=name, error_code=error.code, error_message=str(error))
    except StorageError as error:
        code = ErrorCode.KAFKA_STORAGE_ERROR
        return DeletableTopicResult(name=name, error_code=code, error_message=str(error))
    return DeletableTopicResult(name=name, topic_id=deleted.topic_id)
