"""A broker's `/metrics`: under the names for which people have dashboards already.

* `kafka_brokers`, `kafka_topic_partition_*` and `kafka_consumergroup_*` are kafka_exporter's;
* `kafka_server_*`, `kafka_network_*` and `kafka_log_*` are what jmx_exporter's rules make of
  Kafka's own beans;
* `streamlog_broker_*` has what Kafka has no name for.

Counters count since the broker started.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.metrics.exposition import Family, Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.broker.groups.coordinator import GroupStanding
    from streamlog.broker.handlers.services import Services
    from streamlog.broker.log.partition_log import PartitionLog
    from streamlog.broker.server.server import ServerStatistics
    from streamlog.broker.traffic import BrokerTraffic

PLACE = "topic", "partition"


def broker_families(
    services: Services,
    server: ServerStatistics,
    requests_by_api: Mapping[str, int],
    address: tuple[str, int],
) -> list[Family]:
    """Returns everything that a broker tells about itself."""
    logs = {
        (topic.name, partition): log
        for topic in services.topics
        for partition in range(topic.partition_count)
        if (log := services.logs.get(topic.name, partition)) is not None
    }
    services.traffic.forget_all_but({topic for topic, _ in logs})
    ends = {key: log.high_watermark for key, log in logs.items()}
    return [
        *_cluster(services, address),
        *_partitions(logs, services.config.node_id),
        *_groups(services.groups.standings(), ends),
        *_traffic(services.traffic),
        *_kafka_server(services, logs, requests_by_api),
        *_server(services, server),
    ]


def _cluster(services: Services, address: tuple[str, int]) -> Iterable[Family]:
    brokers = Family("kafka_brokers", Kind.GAUGE, "Brokers in the cluster.")
    brokers.add(1)
    info = Family("kafka_broker_info", Kind.GAUGE, "A broker and where it is.")
    info.add(1, id=services.config.node_id, address=f"{address[0]}:{address[1]}")
    counts = Family("kafka_topic_partitions", Kind.GAUGE, "Partitions of a topic.")
    for topic in services.topics:
        counts.add(topic.partition_count, topic=topic.name)
    return brokers, info, counts


def _partitions(logs: Mapping[tuple[str, int], PartitionLog], node_id: int) -> Iterable[Family]:
    prefix = "kafka_topic_partition_"
    current = Family(f"{prefix}current_offset", Kind.GAUGE, "Where a partition ends.")
    oldest = Family(f"{prefix}oldest_offset", Kind.GAUGE, "Where a partition begins.")
    leader = Family(f"{prefix}leader", Kind.GAUGE, "The broker that leads a partition.")
    preferred = Family(f"{prefix}leader_is_preferred", Kind.GAUGE, "1 if the leader is preferred.")
    replicas = Family(f"{prefix}replicas", Kind.GAUGE, "Replicas of a partition.")
    in_sync = Family(f"{prefix}in_sync_replica", Kind.GAUGE, "Replicas in sync.")
    under = Family(
        f"{prefix}under_replicated_partition", Kind.GAUGE, "1 if replicas are not in sync."
    )
    size = Family("kafka_log_log_size", Kind.GAUGE, "Bytes of a partition's log.")
    begin = Family("kafka_log_log_logstartoffset", Kind.GAUGE, "Where a log begins.")
    end = Family("kafka_log_log_logendoffset", Kind.GAUGE, "Where a log ends, flushed or not.")
    segments = Family("kafka_log_log_numlogsegments", Kind.GAUGE, "Segments of a log.")
    for key, log in logs.items():
        where = dict(zip(PLACE, key, strict=True))
        current.add(log.high_watermark, **where)
        oldest.add(log.log_start_offset, **where)
        leader.add(node_id, **where)
        preferred.add(1, **where)
        replicas.add(1, **where)
        in_sync.add(1, **where)
        under.add(0, **where)
        size.add(log.size_bytes, **where)
        begin.add(log.log_start_offset, **where)
        end.add(log.log_end_offset, **where)
        segments.add(len(log.segments), **where)
    return current, oldest, leader, preferred, replicas, in_sync, under, size, begin, end, segments


def _groups(
    standings: Iterable[GroupStanding], ends: Mapping[tuple[str, int], int]
) -> Iterable[Family]:
    prefix = "kafka_consumergroup_"
    current = Family(f"{prefix}current_offset", Kind.GAUGE, "What a group has committed.")
    lag = Family(f"{prefix}lag", Kind.GAUGE, "Offsets between a group's and the end.")
    current_sum = Family(f"{prefix}current_offset_sum", Kind.GAUGE, "Of all of a topic.")
    lag_sum = Family(f"{prefix}lag_sum", Kind.GAUGE, "Of all partitions of a topic.")
    members = Family(f"{prefix}members", Kind.GAUGE, "Members of a group.")
    for group in standings:
        offsets: dict[str, int] = {}
        lags: dict[str, int] = {}
        for (topic, partition), offset in group.offsets.items():
            behind = max(ends.get((topic, partition), offset) - offset, 0)
            where = {"consumergroup": group.group_id, "topic": topic, "partition": partition}
            current.add(offset, **where)
            lag.add(behind, **where)
            offsets[topic] = offsets.get(topic, 0) + offset
            lags[topic] = lags.get(topic, 0) + behind
        for topic, total in offsets.items():
            current_sum.add(total, consumergroup=group.group_id, topic=topic)
            lag_sum.add(lags[topic], consumergroup=group.group_id, topic=topic)
        members.add(group.members, consumergroup=group.group_id)
    return current, lag, current_sum, lag_sum, members


def _traffic(traffic: BrokerTraffic) -> Iterable[Family]:
    """BrokerTopicMetrics: of each topic, and of all without a topic's label."""
    families: list[Family] = []
    topics = traffic.items()
    for bean, field, meaning in (
        ("messagesin", "messages_in", "Records appended."),
        ("bytesin", "bytes_in", "Bytes appended."),
        ("bytesout", "bytes_out", "Bytes fetched."),
        ("totalproducerequests", "produce_requests", "Batches of records appended."),
        ("totalfetchrequests", "fetch_requests", "Fetches of a partition that gave records."),
        ("failedproducerequests", "failed_produce_requests", "Batches refused."),
        ("failedfetchrequests", "failed_fetch_requests", "Fetches of a partition refused."),
    ):
        family = Family(f"kafka_server_brokertopicmetrics_{bean}_total", Kind.COUNTER, meaning)
        family.add(sum(getattr(counters, field) for _, counters in topics))
        for name, counters in topics:
            family.add(getattr(counters, field), topic=name)
        families.append(family)
    return families


def _kafka_server(
    services: Services,
    logs: Mapping[tuple[str, int], PartitionLog],
    requests_by_api: Mapping[str, int],
) -> Iterable[Family]:
    offline = len(services.logs.failures) + sum(log.offline is not None for log in logs.values())
    for name, value, meaning in (
        ("replicamanager_partitioncount", len(logs), "Partitions here."),
        ("replicamanager_leadercount", len(logs), "Partitions that this broker leads."),
        ("replicamanager_underreplicatedpartitions", 0, "Partitions with replicas not in sync."),
        ("replicamanager_underminisrpartitioncount", 0, "Partitions that take no acks=all."),
        ("replicamanager_atminisrpartitioncount", 0, "Partitions that can lose no replica."),
        ("replicamanager_offlinereplicacount", offline, "Partitions that cannot be used."),
        (
            "delayedoperationpurgatory_purgatorysize",
            len(services.purgatory),
            "Fetches that wait for records.",
        ),
    ):
        family = Family(f"kafka_server_{name}", Kind.GAUGE, meaning)
        family.add(value)
        yield family
    active = Family(
        "kafka_controller_kafkacontroller_activecontrollercount", Kind.GAUGE, "Controllers here."
    )
    active.add(1)
    yield active
    down = Family(
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        Kind.GAUGE,
        "Partitions that nobody leads.",
    )
    down.add(offline)
    yield down
    requests = Family(
        "kafka_network_requestmetrics_requests_total", Kind.COUNTER, "Requests handled."
    )
    for name, count in sorted(requests_by_api.items()):
        requests.add(count, request=name.title().replace("_", ""))
    yield requests


def _server(services: Services, server: ServerStatistics) -> Iterable[Family]:
    flush = services.logs.statistics().flush
    for name, kind, value, meaning in (
        ("connections", Kind.GAUGE, server.connections, "Open connections."),
        (
            "connections_accepted_total",
            Kind.COUNTER,
            server.connections_accepted_total,
            "Connections that were let in.",
        ),
        (
            "connections_refused_total",
            Kind.COUNTER,
            server.connections_refused_total,
            "Connections over the limits.",
        ),
        (
            "connections_broken_total",
            Kind.COUNTER,
            server.connections_broken_total,
            "Connections that were cut for what they sent.",
        ),
        ("received_bytes_total", Kind.COUNTER, server.received_bytes_total, "Bytes received."),
        ("sent_bytes_total", Kind.COUNTER, server.sent_bytes_total, "Bytes sent."),
        (
            "request_memory_bytes",
            Kind.GAUGE,
            server.request_memory_bytes,
            "Memory of requests under way.",
        ),
        ("open_files", Kind.GAUGE, services.logs.statistics().open_files, "Open files of logs."),
        ("flushes_total", Kind.COUNTER, flush.rounds, "Rounds of flushing to disk."),
        ("flush_seconds", Kind.GAUGE, flush.seconds_last, "How long the last flush took."),
    ):
        family = Family(f"streamlog_broker_{name}", kind, meaning)
        family.add(value)
        yield family
