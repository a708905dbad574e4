"""Settings of the group coordinator, with Kafka's defaults where Kafka has the setting."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupConfig:
    """What a group may be and how long things are kept."""

    session_timeout_min_ms: int = 6_000
    """group.min.session.timeout.ms"""
    session_timeout_max_ms: int = 1_800_000
    """group.max.session.timeout.ms"""
    initial_rebalance_delay_ms: int = 3_000
    """group.initial.rebalance.delay.ms: how long an empty group waits for more members to come."""
    group_size_max: int = 10_000
    """group.max.size. Kafka's default is no limit; ids handed out but not used count apart."""
    offset_metadata_bytes_max: int = 4_096
    """offset.metadata.max.bytes"""
    offsets_retention_ms: int = 7 * DAY_MS
    """offsets.retention.minutes"""
    retention_check_interval_ms: int = 600_000
    """offsets.retention.check.interval.ms"""
    new_member_join_timeout_ms: int = 300_000
    """How long a member that has never been answered may wait for its first answer."""
    groups_max: int = 100_000
    """Groups at a time; a request that would make one more is refused."""
    parked_max: int = 100_000
    """Joins and syncs that may wait at a time; one more is refused."""
