"""The position that a record in a repartition topic bears, and the markers between the records.

Every record has a header `streamlog`:

    writer         int32   input topic's number << 16 | partition, of the input that caused it
    epoch          int32   of the owner who wrote it
    sequence       int64   (input offset + shift) << 20, and the number among the input's outputs
    stream time    int64   the writer's, in milliseconds, when the input was processed
    record time    int64   only where it differs: the time by which the record's lateness is judged

The two times differ behind a task that has several writers itself: its own time is the smallest of
theirs, while a record's lateness goes by the time of whoever wrote it first, so that it does not
depend on how the writers' records were mixed.

The sequence is a function of the log alone, so a writer that repeats itself after a crash repeats
its sequences, and the reader drops them. Each input has a block of 2**20 numbers: the first half is
for what it causes itself, the second for what is decided behind it (a drain, silence). An input
that needs more, since it closes a million windows, goes on into the blocks behind its own, and all
later inputs are *shifted* by so many blocks. The shift is part of the writer's checkpoints.

A marker is a record without key and value and with a header `streamlog.marker`: the same fields
(the sequence is that of the last input consumed) and one byte more, its kind: 0 tells stream time,
1 says that the writer has no more to come (drain), 2 that it has read its input to the end and is
silent for now (idle): others do not wait for it.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

import struct
from typing import Final

HEADER: Final = "streamlog"
MARKER_HEADER: Final = "streamlog.marker"

NO_TIME: Final = -(2**62)
"""A writer that has not seen a record has no stream time."""

INDEX_BITS: Final = 20
BLOCK: Final = 1 << INDEX_BITS
"""Numbers of an input that causes no more outputs than most."""
OFFSET_MAX: Final = 1 << 43
"""Of an input, with its shift. Beyond it, sequences do not fit."""
DRAIN_INDEX: Final = 1 << 19
"""Outputs of a drain are numbered from here: the last input before it has used lower numbers."""

PARTITION_BITS: Final = 16

TIME_MARKER: Final = 0
DRAIN_MARKER: Final = 1
IDLE_MARKER: Final = 2

POSITION: Final = struct.Struct(">iiqq")
POSITION_SIZE: Final = 24
TIMED_POSITION: Final = struct.Struct(">iiqqq")
TIMED_POSITION_SIZE: Final = 32
MARKER: Final = struct.Struct(">iiqqB")
MARKER_SIZE: Final = 25


def writer_id(input_index: int, partition: int) -> int:
    """Returns the id of the writer that one partition of one input topic is."""
    assert 0 <= partition < 1 << PARTITION_BITS
    assert 0 <= input_index < 1 << 15
    return input_index << PARTITION_BITS | partition
