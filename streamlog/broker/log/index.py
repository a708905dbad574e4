"""The two indexes of a segment, as values in memory and as Kafka's bytes.

Offset index: pairs (relative offset, position), 8 bytes big-endian each. An entry is made for the
batch that follows at least `index.interval.bytes` of log; it names the *last* offset of that batch
and the position at which the batch begins. A lookup finds the last entry at or below an offset, and
a scan goes on from its position.

Time index: pairs (timestamp, relative offset), 12 bytes each: the largest timestamp so far and the
last offset of the first batch that has it. Timestamps and offsets only grow, even if the records'
timestamps go back and forth, so the first entry at or above a time bounds where to begin to look.

Neither is the truth: the log is. An index that cannot be right is rebuilt from its segment.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from operator import ge

OFFSET_ENTRY_SIZE = 8
TIME_ENTRY_SIZE = 12
NO_TIMESTAMP = -1
_TIME_ENTRY = struct.Struct(">qi")
_SWAP = sys.byteorder == "little"


class IndexDamageError(ValueError):
    """The bytes cannot be an index of that segment."""


class OffsetIndex:
    """Where batches begin. O(log n) lookups; 8 bytes an entry."""

    __slots__ = ("base_offset", "positions", "relative_offsets")

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self.relative_offsets = array("I")
        self.positions = array("I")

    def __len__(self) -> int:
        return len(self.positions)

    def append(self, offset_last: int, position: int) -> None:
        """Notes that the batch which ends at `offset_last` begins at `position`."""
        relative = offset_last - self.base_offset
        assert not self.relative_offsets or relative > self.relative_offsets[-1]
        assert not self.positions or position > self.positions[-1]
        self.relative_offsets.append(relative)
        self.positions.append(position)

    def entry_below(self, offset: int) -> tuple[int, int]:
        """Returns (position, last offset of the batch there) from which a scan meets `offset`.

        Position 0 has no entry; its offset is -1.
        """
        slot = bisect_right(self.relative_offsets, max(0, offset - self.base_offset)) - 1
        if slot < 0:
            return 0, -1
        return self.positions[slot], self.base_offset + self.relative_offsets[slot]

    def position_at_or_before(self, position: int) -> int:
        """Returns the last batch boundary known at or before a position, or 0."""
        slot = bisect_right(self.positions, position) - 1
        return self.positions[slot] if slot >= 0 else 0

    def truncate(self, size: int) -> None:
        """Forgets the batches that begin at or beyond `size` bytes of log."""
        slot = bisect_left(self.positions, size)
        del self.positions[slot:]
        del self.relative_offsets[slot:]

    def encode(self, start: int = 0) -> bytes:
        """Returns the entries from number `start` on, as they stand in the file."""
        both = array("I", bytes(OFFSET_ENTRY_SIZE * (len(self.positions) - start)))
        both[0::2] = self.relative_offsets[start:]
        both[1::2] = self.positions[start:]
        if _SWAP:
            both.byteswap()
        return both.tobytes()

    @classmethod
    def decode(cls, data: bytes, base_offset: int, log_size: int) -> OffsetIndex:
        """Reads an index file; zeros at its end (preallocated, never written) are left out.

        Raises:
            IndexDamageError: It is torn, out of order, or points beyond the log.
        """
        if len(data) % OFFSET_ENTRY_SIZE:
            raise IndexDamageError(f"{len(data)} bytes are no whole number of entries")
        both = array("I", data)
        if _SWAP:
            both.byteswap()
        # No entry holds a zero: the first batch of a segment, at position 0, never gets one.
        while both and both[-1] == 0:
            both.pop()
        if len(both) % 2:
            raise IndexDamageError("an entry points to position 0")
        index = cls(base_offset)
        index.relative_offsets, index.positions = both[0::2], both[1::2]
        for column in (index.relative_offsets, index.positions):
            if any(map(ge, column, column[1:])):
                raise IndexDamageError("entries do not grow")
        if index.positions and index.positions[-1] >= log_size:
            raise IndexDamageError(f"an entry points to {index.positions[-1]} of {log_size} bytes")
        return index


class TimeIndex:
    """Since which offset a timestamp has been reached. O(log n) lookups."""

    __slots__ = ("base_offset", "offsets", "timestamps")

    def __init__(self, base_offset: int) -> None:
        self.base_offset = base_offset
        self.timestamps = array("q")
        self.offsets = array("q")

    def __len__(self) -> int:
        return len(self.timestamps)

    def append(self, timestamp_ms: int, offset: int) -> None:
        """Notes a new largest timestamp; one that is not larger is passed over, as Kafka does."""
        if timestamp_ms > self.largest[0]:
            self.timestamps.append(timestamp_ms)
            self.offsets.append(offset)

    @property
    def largest(self) -> tuple[int, int]:
        """The largest timestamp and the offset that bears it; `NO_TIMESTAMP` if there is none."""
        if not self.timestamps:
            return NO_TIMESTAMP, self.base_offset
        return self.timestamps[-1], self.offsets[-1]

    def offset_below(self, timestamp_ms: int) -> int:
        """Returns an offset from which a scan meets the first record at or above a time."""
        slot = bisect_left(self.timestamps, timestamp_ms) - 1
        return self.offsets[slot] if slot >= 0 else self.base_offset

    def truncate(self, offset_end: int) -> None:
        """Forgets entries at or beyond an offset."""
        slot = bisect_left(self.offsets, offset_end)
        del self.timestamps[slot:]
        del self.offsets[slot:]

    def encode(self, start: int = 0) -> bytes:
        """Returns the entries from number `start` on, as they stand in the file."""
        base = self.base_offset
        pairs = zip(self.timestamps[start:], self.offsets[start:], strict=True)
        return b"".join(_TIME_ENTRY.pack(time, offset - base) for time, offset in pairs)

    @classmethod
    def decode(cls, data: bytes, base_offset: int) -> TimeIndex:
        """Reads an index file; zeros at its end are left out.

        Raises:
            IndexDamageError: It is torn or out of order.
        """
        if len(data) % TIME_ENTRY_SIZE:
            raise IndexDamageError(f"{len(data)} bytes are no whole number of entries")
        index = cls(base_offset)
        for number, (time, relative) in enumerate(_TIME_ENTRY.iter_unpack(data)):
            if number and time == 0 and relative == 0:
                break
            if relative < 0 or (number and time <= index.timestamps[-1]):
                raise IndexDamageError("entries do not grow")
            if number and base_offset + relative < index.offsets[-1]:
                raise IndexDamageError("entries do not grow")
            index.timestamps.append(time)
            index.offsets.append(base_offset + relative)
        if len(index) == 1 and index.largest == (0, base_offset) and len(data) > TIME_ENTRY_SIZE:
            return cls(base_offset)  # preallocated and never written
        return index
