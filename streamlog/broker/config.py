"""The settings of a broker: where it listens, where its data is, what it allows.

A `BrokerConfig` is a plain value; who reads flags, environment and files makes one of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.broker.groups.config import GroupConfig
from streamlog.broker.server.limits import ServerLimits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9092


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """Everything that can be set on one broker; the defaults suit a single node on a laptop."""

    data: Path
    """The folder of logs and metadata; made if it is not there."""
    listen: tuple[tuple[str, int], ...] = ((DEFAULT_HOST, DEFAULT_PORT),)
    """Hosts and ports to bind; port 0 takes a free one."""
    advertise: tuple[str, int] | None = None
    """What clients are told to connect to; by default, the address that they reached us at."""
    node_id: int = 1
    rack: str | None = None
    cluster_id: str | None = None
    """By default made up at the first start and kept in the data folder."""
    partitions_default: int = 1
    """The partitions of a topic that is created without a number (`num.partitions`)."""
    auto_create_topics: bool = True
    """Whether asking for an unknown topic's metadata creates it (`auto.create.topics.enable`)."""
    topic_defaults: Mapping[str, str] = field(default_factory=dict)
    """Topic settings that hold where a topic has none of its own, by Kafka's names."""
    limits: ServerLimits = field(default_factory=ServerLimits)
    groups: GroupConfig = field(default_factory=GroupConfig)
    fetch_bytes_max: int = 55 << 20
    """The largest fetch response, whatever the client allows (`fetch.max.bytes`)."""
    fetch_sessions_max: int = 1000
    """Incremental fetch sessions that are kept (`max.incremental.fetch.session.cache.slots`)."""
    partitions_max: int = 100_000
    """Partitions of all topics together; more are refused with POLICY_VIOLATION."""
