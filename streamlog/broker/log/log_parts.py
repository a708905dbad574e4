"""The plain values around a partition: what an append answers, what opening a directory yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import uuid

    from streamlog.broker.log.epochs import LeaderEpochs
    from streamlog.broker.log.producers import ProducerStates
    from streamlog.broker.log.segment import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendInfo:
    """Where a batch is in the log, as the Produce response tells it."""

    base_offset: int
    last_offset: int
    log_append_time_ms: int
    """The broker's timestamp, or -1 if the records keep their own."""
    log_start_offset: int
    duplicate: bool = False
    """Whether the batch had been appended before; the offsets are those of then."""


@dataclass(slots=True, kw_only=True)
class LogParts:
    """What opening a partition's directory yields (see `recovery`)."""

    directory: str
    topic_id: uuid.UUID | None
    segments: list[Segment]
    log_start_offset: int
    log_end_offset: int
    producers: ProducerStates
    epochs: LeaderEpochs
    settled: bool = False
    """Whether the directory says all this already, so that closing need not write it again."""
