"""CreateTopics (key 19): topics with partitions and settings; `validate_only` only checks.

Each topic succeeds or fails alone. This is one broker, so a replication factor other than 1 (or -1,
the default) is refused, and an explicit assignment may only name this broker.

Version notes: 4 partitions and replicas of -1; 5 flexible, answers with the settings; 7 topic id.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from streamlog.broker.coordination.errors import TopicError
from streamlog.broker.handlers.topic_settings import SETTING_SOURCES, effective_settings
from streamlog.broker.log.errors import InvalidConfigError
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.create_topics import (
    CreatableTopicConfigs,
    CreatableTopicResult,
    CreateTopicsResponse,
)
from streamlog.wire.schema import UUID_ZERO

if TYPE_CHECKING:
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.create_topics import CreatableTopic, CreateTopicsRequest

BROKER_DEFAULT = -1


async def handle_create_topics(
    request: CreateTopicsRequest, context: RequestContext
) -> CreateTopicsResponse:
    """Creates every topic that is named once."""
    counts = Counter(topic.name for topic in request.topics)
    results = []
    for topic in {topic.name: topic for topic in request.topics}.values():
        if counts[topic.name] > 1:
            code, message = ErrorCode.INVALID_REQUEST, "The request names this topic twice."
            results.append(_refusal(topic.name, code, message))
            continue
        try:
            results.append(await _create(topic, context, validate_only=request.validate_only))
        except (TopicError, InvalidConfigError) as error:
            results.append(_refusal(topic.name, error.code, str(error)))
        except StorageError as error:
            results.append(_refusal(topic.name, ErrorCode.KAFKA_STORAGE_ERROR, str(error)))
    return CreateTopicsResponse(topics=results)


async def _create(
    wanted: CreatableTopic, context: RequestContext, *, validate_only: bool
) -> CreatableTopicResult:
    broker = context.broker
    partition_count = _partition_count(wanted, context)
    settings: dict[str, str] = {}
    for item in wanted.configs:
        if item.value is None:
            raise TopicError(
                ErrorCode.INVALID_CONFIG, f"Null value not supported for topic config {item.name}"
            )
        settings[item.name] = item.value
    topic_id = UUID_ZERO
    if validate_only:
        broker.topic_admin.check_new(wanted.name, partition_count)
        broker.topic_admin.log_config(settings)
    else:
        created = await broker.topic_admin.create(wanted.name, partition_count, settings)
        topic_id = created.topic_id
    return CreatableTopicResult(
        name=wanted.name,
        topic_id=topic_id,
        error_message=None,
        num_partitions=partition_count,
        replication_factor=1,
        configs=[
            CreatableTopicConfigs(
                name=setting.name,
                value=setting.value,
                config_source=SETTING_SOURCES[setting.source],
            )
            for setting in effective_settings(settings, broker.config.topic_defaults)
        ],
    )


def _partition_count(wanted: CreatableTopic, context: RequestContext) -> int:
    config = context.broker.config
    if wanted.assignments:
        if wanted.num_partitions != BROKER_DEFAULT or wanted.replication_factor != BROKER_DEFAULT:
            raise TopicError(
                ErrorCode.INVALID_REQUEST,
                "Both partitions or replication factor and an assignment of replicas are given.",
            )
        indexes = sorted(item.partition_index for item in wanted.assignments)
        if indexes != list(range(len(indexes))):
            raise TopicError(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                "The assignment must name the partitions 0, 1, 2 and so on, each once.",
            )
        check_assignment([item.broker_ids for item in wanted.assignments], config.node_id)
        return len(indexes)
    if wanted.replication_factor not in (1, BROKER_DEFAULT):
        raise TopicError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"Replication factor is {wanted.replication_factor}, but there is one broker.",
        )
    if wanted.num_partitions == BROKER_DEFAULT:
        return config.partitions_default
    return wanted.num_partitions


def check_assignment(broker_ids: list[list[int]], node_id: int) -> None:
    """Raises `TopicError` unless every partition is assigned to the one broker."""
    if any(ids != [node_id] for ids in broker_ids):
        raise TopicError(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Every partition must be assigned to broker {node_id}, the only one.",
        )


def _refusal(name: str, code: ErrorCode, message: str) -> CreatableTopicResult:
    return CreatableTopicResult(name=name, error_code=code, error_message=message)
