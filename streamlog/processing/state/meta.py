"""What a checkpoint says of a task beside its rows: positions, time, writers, counts.

It is stored with the rows in the same transaction, and is the body of the changelog's marker.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

NO_SEQUENCE: Final = -(2**62)
"""Below all sequences of `repartition.position`."""

Withdrawal: TypeAlias = tuple[int, int]
"""Epoch, sequence: what owners up to this epoch wrote from this sequence on does not count."""

WriterWithdrawal: TypeAlias = tuple[int, int, int]
"""The same of one writer, whose number comes first."""


class WriterMeta(msgspec.Struct, array_like=True, frozen=True):
    """How far a reader of a repartition topic has come with one writer."""

    writer: int
    epoch: int
    sequence: int
    stream_time_ms: int | None
    drained: bool
    marked: int = NO_SEQUENCE
    """The last marker's sequence: what the writer did up to there has been heard of."""
    withdrawn: tuple[Withdrawal, ...] = ()
    """What a rewind took back of what the writer wrote."""
    idle: int = 0
    """As `Writer` has it."""


class InputMeta(msgspec.Struct, array_like=True, frozen=True):
    """How far a task that reads several sources has come with one of them."""

    stream_time_ms: int | None
    idle: bool = False
    pass_until: int = 0
    """If it is idle: up to which count the others may go without it."""


class TaskMeta(msgspec.Struct, kw_only=True, frozen=True):
    """A task at a checkpoint."""

    sequence: int = 0
    epoch: int = 0
    positions: tuple[tuple[str, int, int], ...] = ()
    """Topic, partition, next offset."""
    count: int = 0
    """Of a task that reads several sources: how many records it has taken."""
    inputs: tuple[InputMeta, ...] = ()
    """Of such a task: of each source, in the plan's order."""
    stream_time_ms: int | None = None
    decided: tuple[int, int] = (0, 0)
    """Decisions at the position that had their effect, and the number of their next output."""
    shifts: dict[str, int] = {}
    """By topic that it writes: how far its sequences are shifted; see `repartition.position`."""
    drained: bool = False
    writers: tuple[WriterMeta, ...] = ()
    closed_through: dict[str, int] = {}
    """By step: windows that end here or before are closed."""
    late_records: int = 0
    open_rows: int = 0
    topic_ids: dict[str, str] = {}
    """Of the input topics: a topic that was deleted and made anew has another id."""
    layout: dict[str, str] = {}
    """Of the rows, by step; see `SubTopologyPlan.layout`."""
    timeline: str = ""
    """The id of the last rewind, or nothing."""
    forks: tuple[tuple[str, int], ...] = ()
    """The timelines before it, the last one last, and up to which checkpoint each counts."""
    withdrawn: tuple[WriterWithdrawal, ...] = ()
    """All that rewinds ever took back of what the writers wrote; see `lineage`."""


_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(TaskMeta)


def encode_meta(meta: TaskMeta) -> bytes:
    """Returns the stored form."""
    return _ENCODER.encode(meta)


def decode_meta(data: bytes) -> TaskMeta:
    """Reads the stored form; raises `msgspec.MsgspecError` if it is none."""
    return _DECODER.decode(data)
