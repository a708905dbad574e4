"""CreatePartitions (key 37): raises a topic's number of partitions; it never falls.

Keys move to other partitions when the number changes; that is the caller's business.

Version notes: 2 flexible.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from streamlog.broker.coordination.errors import TopicError
from streamlog.broker.handlers.create_topics import check_assignment
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.create_partitions import (
    CreatePartitionsResponse,
    CreatePartitionsTopicResult,
)

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.create_partitions import (
        CreatePartitionsRequest,
        CreatePartitionsTopic,
    )


async def handle_create_partitions(
    request: CreatePartitionsRequest, context: RequestContext
) -> CreatePartitionsResponse:
    """Enlarges every topic that is named once."""
    counts = Counter(topic.name for topic in request.topics)
    results = []
    for topic in {topic.name: topic for topic in request.topics}.values():
        result = CreatePartitionsTopicResult(name=topic.name)
        results.append(result)
        try:
            if counts[topic.name] > 1:
                raise TopicError(ErrorCode.INVALID_REQUEST, "The request names this topic twice.")
            _check(topic, context)
            if not request.validate_only:
                await context.broker.topic_admin.add_partitions(topic.name, topic.count)
        except TopicError as error:
            result.error_code, result.error_message = error.code, str(error)
        except StorageError as error:
            code = ErrorCode.KAFKA_STORAGE_ERROR
            result.error_code, result.error_message = code, str(error)
    return CreatePartitionsResponse(results=results)


def _check(wanted: CreatePartitionsTopic, context: RequestContext) -> None:
    topic = context.broker.topic_admin.check_growth(wanted.name, wanted.count)
    if wanted.assignments is None or not wanted.assignments:
        return
    added = wanted.count - topic.partition_count
    if len(wanted.assignments) != added:
        raise TopicError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"{added} partitions are added, but {len(wanted.assignments)} are assigned.",
        )
    check_assignment(
        [item.broker_ids for item in wanted.assignments], context.broker.config.node_id
    )
