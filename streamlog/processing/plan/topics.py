"""A topic that a pipeline creates if it is missing: its partitions and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

KEPT = {
    "retention.ms": "-1",
    "segment.ms": str(100 * 365 * 24 * 3_600_000),
    "message.timestamp.after.max.ms": str(2**63 - 1),
}
"""Event times are often older than any retention, so what a pipeline creates is kept for ever.

Brokers also roll a segment when a record's time is `segment.ms` past its first one's: a year of
events would make fifty small files of each partition. Size alone rolls these. And brokers refuse
records from the future: the result of a window that is drained before its end is one, and so is
whatever follows from an event whose time is ahead of the clock.
"""

COMPACTED = {"cleanup.policy": "compact", "retention.ms": "-1"}
"""A changelog: only the newest value of each key matters."""

COMPACTED_OUTPUT = {**KEPT, "cleanup.policy": "compact"}
"""A table for others to read: only each key's newest value matters; its times are events'."""

DEAD_LETTERS = {**KEPT, "max.message.bytes": str(4 * 1024 * 1024)}
"""Records that failed, and why: somewhat larger than they were where they stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic as the pipeline wants it."""

    name: str
    partition_count: int
    configs: Mapping[str, str]
    fixed: bool
    """Whether the number of partitions must be this one, also if the topic exists already."""
