"""Columns to the records of a batch, as `codec` describes them; compiled with it.

The parts of all records are collected in one list, for `bytes.join` to put together at once. What a
part costs is its place in that list more than its bytes, so the constant bytes around a record's
length are one part with it, and what changes seldom is not made anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlog.records.batch import HEADER_SIZE
from streamlog.records.errors import BadColumnsError
from streamlog.records.varint import TABLE_SIZE, encode_varint, short_varint, zigzag_varint

if TYPE_CHECKING:
    from mypy_extensions import i64

    from streamlog.records.columns import Headers

_TIMESTAMP_MAX: Final = (1 << 62) - 1
"""The difference of two timestamps fits 64 bits too."""

_SHORT: Final = 1 << 26
"""Whose zigzag form is short."""
_HEADS: Final[list[bytes]] = [short_varint(size) + b"\x00" for size in range(TABLE_SIZE >> 1)]
"""By a record's size: that, and its attributes."""
_HEADS_BEHIND: Final[list[bytes]] = [b"\x00" + head for head in _HEADS]
"""The same behind a record that has no headers."""


def encode_records(
    keys: list[bytes | None],
    values: list[bytes | None],
    timestamps: list[int],
    headers: list[Headers] | None,
) -> tuple[list[bytes], int]:
    """Returns the parts of a batch, an empty header and the records, and the highest timestamp."""
    limit: i64 = TABLE_SIZE
    highest = _highest(timestamps)
    base_timestamp: i64 = timestamps[0]
    parts: list[bytes] = [bytes(HEADER_SIZE)]
    heads: list[bytes] = _HEADS
    last = _LastHeader()
    count: i64 = len(keys)
    index: i64 = 0
    number: i64
    size: i64
    while index < count:
        timestamp_part = _delta(timestamps[index] - base_timestamp)
        offset_part = short_varint(index)
        size = 2 + len(timestamp_part) + len(offset_part)
        key = keys[index]
        key_part = b"\x01"
        if key is not None:
            number = len(key)
            key_part = short_varint(number)
            size += number
        value = values[index]
        value_part = b"\x01"
        if value is not None:
            number = len(value)
            value_part = short_varint(number)
            size += number
        size += len(key_part) + len(value_part)
        has_headers = False
        if headers is not None:
            row = headers[index]
            if row:
                has_headers = True
                last.take(row)
                # One byte was for the count of no headers.
                size += len(last.before) + len(last.value) - 1
        if size << 1 < limit:
            parts.append(heads[size])
        else:
            if heads is _HEADS_BEHIND:
                parts.append(b"\x00")
            parts.append(zigzag_varint(size << 1) + b"\x00")
        parts.append(timestamp_part)
        parts.append(offset_part)
        parts.append(key_part)
        if key is not None:
            parts.append(key)
        parts.append(value_part)
        if value is not None:
            parts.append(value)
        if has_headers:
            parts.append(last.before)
            parts.append(last.value)
            heads = _HEADS
        else:
            heads = _HEADS_BEHIND
        index += 1
    if heads is _HEADS_BEHIND:
        parts.append(b"\x00")
    return parts, highest


def _highest(timestamps: list[int]) -> int:
    """Returns the highest timestamp, if all are possible."""
    lowest: i64 = timestamps[0]
    highest: i64 = lowest
    number: i64
    for number in timestamps:
        if number > highest:
            highest = number
        elif number < lowest:
            lowest = number
    if lowest < -_TIMESTAMP_MAX or highest > _TIMESTAMP_MAX:
        raise BadColumnsError("a timestamp does not fit; it must be milliseconds since 1970")
    return highest


def _delta(number: i64) -> bytes:
    """Encodes a number of 64 bits, which may be negative, and is most likely small."""
    if -_SHORT < number < _SHORT:
        return zigzag_varint((number << 1) ^ (number >> 63))
    return encode_varint(number)


class _LastHeader:
    """The header that was written last: most records have just one, and only its value differs.

    Attributes:
        before: Of the record's headers, all that stands before `value`.
        value: What stands last.
    """

    __slots__ = ("_field", "_name", "_size", "before", "value")

    def __init__(self) -> None:
        self.before: bytes = b""
        self.value: bytes = b""
        self._name: str = ""
        self._field: bytes = b"\x00"
        self._size: i64 = -1

    def take(self, row: Headers) -> None:
        """Encodes a record's headers, of which there is one at least."""
        if len(row) == 1:
            name, value = row[0]
            if value is not None:
                if name != self._name:
                    self._rename(name)
                size: i64 = len(value)
                if size != self._size:
                    self._size = size
                    self.before = b"\x02" + self._field + short_varint(size)
                self.value = value
                return
        self._size = -1
        self.before = short_varint(len(row))
        parts: list[bytes] = []
        for name, value in row:
            if name != self._name:
                self._rename(name)
            parts.append(self._field)
            if value is None:
                parts.append(b"\x01")
            else:
                parts.append(short_varint(len(value)))
                parts.append(value)
        self.value = b"".join(parts)

    def _rename(self, name: str) -> None:
        raw = name.encode()
        self._field = short_varint(len(raw)) + raw
        self._name = name
        self._size = -1
