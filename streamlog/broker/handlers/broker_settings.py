"""A broker's settings under Kafka's names, for DescribeConfigs; all are read-only.

Tools ask a broker for a handful of these before they do something; what is not listed here has no
counterpart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.broker.groups.config import GroupConfig
    from streamlog.broker.handlers.services import Services

_STRING, _INT, _LONG, _BOOLEAN = 2, 3, 5, 1
MINUTE_MS = 60_000


def broker_settings(broker: Services) -> Mapping[str, tuple[str, int]]:
    """Returns (value, Kafka's number of its type) by name."""
    config, groups = broker.config, broker.config.groups
    limits = config.limits
    listeners = ",".join(f"PLAINTEXT://{host}:{port}" for host, port in config.listen)
    advertised = (
        f"PLAINTEXT://{config.advertise[0]}:{config.advertise[1]}"
        if config.advertise
        else listeners
    )
    return {
        "advertised.listeners": (advertised, _STRING),
        "auto.create.topics.enable": (str(config.auto_create_topics).lower(), _BOOLEAN),
        "broker.id": (str(config.node_id), _INT),
        "broker.rack": (config.rack or "", _STRING),
        "connections.max.idle.ms": (str(int(limits.idle_timeout_s * 1000)), _LONG),
        "default.replication.factor": ("1", _INT),
        "delete.topic.enable": ("true", _BOOLEAN),
        "fetch.max.bytes": (str(config.fetch_bytes_max), _INT),
        **_group_settings(groups),
        "listeners": (listeners, _STRING),
        "log.dirs": (str(config.data), _STRING),
        "max.connections": (str(limits.connections_max), _INT),
        "max.connections.per.ip": (str(limits.connections_per_address_max), _INT),
        "max.incremental.fetch.session.cache.slots": (str(config.fetch_sessions_max), _INT),
        "node.id": (str(config.node_id), _INT),
        "num.partitions": (str(config.partitions_default), _INT),
        "queued.max.request.bytes": (str(limits.memory_bytes_max), _LONG),
        "socket.request.max.bytes": (str(limits.request_bytes_max), _INT),
    }


def _group_settings(groups: GroupConfig) -> Mapping[str, tuple[str, int]]:
    return {
        "group.initial.rebalance.delay.ms": (str(groups.initial_rebalance_delay_ms), _INT),
        "group.max.session.timeout.ms": (str(groups.session_timeout_max_ms), _INT),
        "group.max.size": (str(groups.group_size_max), _INT),
        "group.min.session.timeout.ms": (str(groups.session_timeout_min_ms), _INT),
        "offset.metadata.max.bytes": (str(groups.offset_metadata_bytes_max), _INT),
        "offsets.retention.minutes": (str(groups.offsets_retention_ms // MINUTE_MS), _INT),
    }
