"""What the compiled encoders and decoders call: varints, lengths, tagged fields, integer arrays.

A decoder reads a frame that a stranger sent. So every length is compared with the bytes that are
left before anything of that length is made, and every array is charged to a budget first
(`..._BUDGET_UNITS`), because a frame of empty elements would grow fiftyfold as Python objects.
"""

from __future__ import annotations

from struct import Struct

from streamlog.wire.errors import DecodeError, EncodeError

STRING_SIZE_MAX = 32767
"""Kafka's limit for a string, which the compact form would not need."""

REQUEST_BUDGET_UNITS = 2_000_000
"""What one request may hold: an array element costs one unit, and one more per field it has. A unit
stands for some 40 bytes, so no request takes more than about 100 MB beside its frame; a Fetch of
200,000 partitions still fits."""

RESPONSE_BUDGET_UNITS = 8_000_000
"""The same for a response, which a broker sends that the user chose: the metadata of a cluster with
400,000 partitions of three replicas fits."""

_ONE_BYTE = tuple(bytes((value,)) for value in range(128))
_TABLE_COUNT = 64


def varint(value: int) -> bytes:
    """An unsigned varint.

    >>> varint(1).hex(), varint(300).hex()
    ('01', 'ac02')
    """
    if value < 128:
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def compact_string(value: str) -> bytes:
    """Length plus one as a varint, then UTF-8."""
    data = value.encode()
    size = len(data)
    if size < 127:
        return _ONE_BYTE[size + 1] + data
    return varint(string_size(size) + 1) + data


def string_size(size: int) -> int:
    """The size, if a string may have it."""
    if size > STRING_SIZE_MAX:
        raise EncodeError(f"a string of {size} bytes is longer than Kafka's {STRING_SIZE_MAX}")
    return size


def varint_rest(buffer: memoryview, position: int, first: int) -> tuple[int, int]:
    """Finish an unsigned varint whose first byte was above 127.

    Returns:
        The value and the position behind it.
    """
    value = first & 127
    for shift in (7, 14, 21, 28):
        byte = buffer[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            if value >= 1 << 32:
                break
            return value, position
    raise DecodeError("a varint is longer than 32 bits")


def read_varint(buffer: memoryview, position: int) -> tuple[int, int]:
    """Read an unsigned varint; returns it and the position behind it."""
    first = buffer[position]
    if first < 128:
        return first, position + 1
    return varint_rest(buffer, position + 1, first)


def too_long(what: str, size: int, left: int) -> DecodeError:
    """The error for a length that its frame cannot hold."""
    return DecodeError(f"{what} claims {size} where {left} bytes are left")


def too_many(what: str, count: int, left: int) -> DecodeError:
    """The error for a count of elements that the frame cannot hold."""
    return DecodeError(f"{what} claims {count} elements where {left} bytes are left")


def null_refused(what: str) -> DecodeError:
    """The error for a null, or a negative length, where none may be."""
    return DecodeError(f"{what} is null, which this version does not allow")


def over_budget(what: str, count: int) -> DecodeError:
    """The error for an array that would take too much memory."""
    return DecodeError(f"{what} with {count} elements makes the message larger than is allowed")


def wrong_tag_size(what: str) -> DecodeError:
    """The error for a tagged field whose value is not as long as its size says."""
    return DecodeError(f"{what} is not as long as its tag says")


def skip_tags(buffer: memoryview, position: int, count: int, end: int) -> int:
    """Step over `count` tagged fields that nobody here knows; returns the position behind them."""
    for _ in range(count):
        _, position, stop = read_tag(buffer, position, end)
        position = stop
    return position


def read_tag(buffer: memoryview, position: int, end: int) -> tuple[int, int, int]:
    """Read a tagged field's head.

    Returns:
        Its number, where its value starts, and where it ends.
    """
    tag, position = read_varint(buffer, position)
    size, position = read_varint(buffer, position)
    if size > end - position:
        raise too_long("a tagged field", size, end - position)
    return tag, position, position + size


class Integers:
    """Arrays of one integer type; the packers of short ones are kept."""

    __slots__ = ("_format", "_long", "_short", "_table", "size")

    def __init__(self, code: str) -> None:
        self._format = code
        self.size = Struct(f">{code}").size
        self._table = [Struct(f">{count}{code}") for count in range(_TABLE_COUNT)]
        self._short = [Struct(f">B{count}{code}").pack for count in range(_TABLE_COUNT)]
        self._long = [Struct(f">i{count}{code}").pack for count in range(_TABLE_COUNT)]

    def compact(self, values: list[int]) -> bytes:
        """The array with its length plus one as a varint in front."""
        count = len(values)
        if count < _TABLE_COUNT:
            return self._short[count](count + 1, *values)
        return varint(count + 1) + Struct(f">{count}{self._format}").pack(*values)

    def plain(self, values: list[int]) -> bytes:
        """The array with its length as an int32 in front."""
        count = len(values)
        if count < _TABLE_COUNT:
            return self._long[count](count, *values)
        return Struct(f">i{count}{self._format}").pack(count, *values)

    def read(self, buffer: memoryview, position: int, count: int) -> list[int]:
        """Read `count` integers; the caller has checked that they are there."""
        if count < _TABLE_COUNT:
            return list(self._table[count].unpack_from(buffer, position))
        return list(Struct(f">{count}{self._format}").unpack_from(buffer, position))
