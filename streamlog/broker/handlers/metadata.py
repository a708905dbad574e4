"""Metadata (key 3): the brokers, and the topics with their partitions and leaders.

A topic that is asked for by name and does not exist is created when both sides allow it (the client
from version 4 on, implicitly before), and the answer has it already. The one broker's address is
what this client reached it at, unless an address is configured: so a client on another host, in a
container or on the loopback each gets an address that works for it.

Version notes: 0 empty list means all topics, from 1 null does; 4 allow_auto_topic_creation; 7
leader epoch; 9 flexible; 10 topic ids; 12 topics asked for by id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.coordination.errors import TopicError
from streamlog.broker.coordination.topics import INTERNAL_TOPICS, check_topic_name
from streamlog.errors import StorageError
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.messages.metadata import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from streamlog.wire.schema import UUID_ZERO

if TYPE_CHECKING:
    from streamlog.broker.coordination.topics import Topic
    from streamlog.broker.handlers.services import RequestContext
    from streamlog.wire.messages.metadata import MetadataRequest, MetadataRequestTopic


async def handle_metadata(request: MetadataRequest, context: RequestContext) -> MetadataResponse:
    """Describes the cluster and the topics that were asked for, creating missing ones."""
    broker = context.broker
    host, port = context.address
    wanted = request.topics
    if wanted is None or (context.version == 0 and not wanted):
        topics = [_describe(topic, context) for topic in broker.topics]
    else:
        may_create = request.allow_auto_topic_creation and broker.config.auto_create_topics
        distinct = {(item.name, item.topic_id): item for item in wanted}
        topics = [await _find(item, context, may_create=may_create) for item in distinct.values()]
    return MetadataResponse(
        brokers=[
            MetadataResponseBroker(
                node_id=broker.config.node_id, host=host, port=port, rack=broker.config.rack
            )
        ],
        cluster_id=broker.cluster_id,
        controller_id=broker.config.node_id,
        topics=topics,
    )


async def _find(
    wanted: MetadataRequestTopic, context: RequestContext, *, may_create: bool
) -> MetadataResponseTopic:
    topics = context.broker.topics
    if wanted.name is None or wanted.topic_id != UUID_ZERO:
        by_id = topics.by_id(wanted.topic_id)
        if by_id is not None:
            return _describe(by_id, context)
        return MetadataResponseTopic(
            error_code=ErrorCode.UNKNOWN_TOPIC_ID, name=wanted.name, topic_id=wanted.topic_id
        )
    topic = topics.get(wanted.name)
    if topic is not None:
        return _describe(topic, context)
    try:
        check_topic_name(wanted.name)
        if not may_create or wanted.name in INTERNAL_TOPICS:
            code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            return MetadataResponseTopic(error_code=code, name=wanted.name)
        created = await context.broker.topic_admin.ensure(wanted.name)
        return _describe(created, context)
    except TopicError as error:
        return MetadataResponseTopic(error_code=error.code, name=wanted.name)
    except StorageError:
        return MetadataResponseTopic(error_code=ErrorCode.KAFKA_STORAGE_ERROR, name=wanted.name)


def _describe(topic: Topic, context: RequestContext) -> MetadataResponseTopic:
    node_id = context.broker.config.node_id
    replicas = [node_id]
    get = context.broker.logs.get
    partitions = []
    for index in range(topic.partition_count):
        log = get(topic.name, index)
        if log is None:
            partitions.append(
                MetadataResponsePartition(
                    error_code=ErrorCode.LEADER_NOT_AVAILABLE,
                    partition_index=index,
                    leader_id=-1,
                    replica_nodes=replicas,
                    offline_replicas=replicas,
                )
            )
            continue
        partitions.append(
            MetadataResponsePartition(
                partition_index=index,
                leader_id=node_id,
                leader_epoch=log.leader_epoch,
                replica_nodes=replicas,
                isr_nodes=replicas,
            )
        )
    return MetadataResponseTopic(name=topic.name, topic_id=topic.topic_id, partitions=partitions)
