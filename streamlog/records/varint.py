"""Zigzag varints: seven bits a byte, the lowest first, and the sign in the lowest bit of all.

What reads them trusts nobody: more bytes or bits than a number can have are refused, and the end of
the buffer is an `IndexError`. The module is compiled by mypyc with `codec`, whose loops use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlog.records.errors import CorruptRecordError

if TYPE_CHECKING:
    from mypy_extensions import i64


def read_varint(body: bytes, position: i64) -> tuple[i64, i64]:
    """Reads a zigzag varint of at most 32 bits; returns (value, where the next field begins)."""
    value: i64 = 0
    shift: i64 = 0
    while True:
        byte: i64 = body[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 28:
            raise CorruptRecordError("a varint has more than five bytes")
    if value > 0xFFFFFFFF:
        raise CorruptRecordError("a varint has more than 32 bits")
    return (value >> 1) ^ -(value & 1), position


def read_varlong(body: bytes, position: i64) -> tuple[i64, i64]:
    """Reads a zigzag varint of at most 64 bits; the tenth byte bears only the highest of them."""
    # The lowest bit is the sign; kept apart, the other 63 fit a signed word.
    byte: i64 = body[position]
    position += 1
    sign: i64 = byte & 1
    value: i64 = (byte & 0x7F) >> 1
    shift: i64 = 6
    while byte >= 0x80:
        byte = body[position]
        position += 1
        if shift > 55 and (shift > 62 or byte > 1):
            raise CorruptRecordError("a varint has more than 64 bits")
        value |= (byte & 0x7F) << shift
        shift += 7
    return value ^ -sign, position


def encode_varint(value: i64) -> bytes:
    """Encodes a number of at most 64 bits as a zigzag varint."""
    # The lowest bit is the sign; kept apart, the other 63 fit a signed word.
    sign: i64 = 1 if value < 0 else 0
    rest: i64 = value ^ -sign
    byte: i64 = (rest & 0x3F) << 1 | sign
    rest >>= 6
    encoded: list[int] = []
    while rest > 0:
        encoded.append(byte | 0x80)
        byte = rest & 0x7F
        rest >>= 7
    encoded.append(byte)
    return bytes(encoded)


TABLE_SIZE: Final = 1 << 14
"""Numbers whose zigzag form is below it have at most two bytes, which come from a table."""
ZIGZAGS: Final[list[bytes]] = [encode_varint((z >> 1) ^ -(z & 1)) for z in range(TABLE_SIZE)]
"""By zigzag form: of a number from 0 on its double, of a negative one its double less one."""
_CONTINUED: Final[list[bytes]] = [bytes([z & 0x7F | 0x80, z >> 7 | 0x80]) for z in range(1 << 14)]
"""By 14 bits: the two bytes in which others follow."""


def zigzag_varint(zigzag: i64) -> bytes:
    """Encodes a number in zigzag form, of at most 63 bits."""
    if zigzag < TABLE_SIZE:
        return ZIGZAGS[zigzag]
    if zigzag < TABLE_SIZE << 14:
        return _CONTINUED[zigzag & 0x3FFF] + ZIGZAGS[zigzag >> 14]
    return encode_varint((zigzag >> 1) ^ -(zigzag & 1))


def short_varint(number: i64) -> bytes:
    """Encodes a number that is not negative, and most likely small."""
    return zigzag_varint(number << 1)
