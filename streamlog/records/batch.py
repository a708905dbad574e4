"""The header of a record batch (format v2): read it, check it, and patch what a broker may patch.

A batch is 61 bytes of header and then its records, compressed or not. All numbers are big-endian.

| at | field | type | note |
| --- | --- | --- | --- |
| 0 | base offset | i64 | set by the broker; outside the CRC |
| 8 | batch length | i32 | bytes after this field, so the batch has 12 more |
| 12 | partition leader epoch | i32 | set by the broker; outside the CRC |
| 16 | magic | i8 | 2 |
| 17 | CRC | u32 | CRC-32C of everything from the attributes to the end |
| 21 | attributes | i16 | bits 0-2 codec, 3 append time, 4 transaction, 5 control, 6 horizon |
| 23 | last offset delta | i32 | last offset less base offset |
| 27 | base timestamp | i64 | records say their timestamps relative to it |
| 35 | max timestamp | i64 | with append time, the timestamp of every record |
| 43 | producer id | i64 | -1: none |
| 51 | producer epoch | i16 | |
| 53 | base sequence | i32 | of the first record; counts on by one per record and wraps to 0 |
| 57 | record count | i32 | less than last offset delta + 1 after compaction, even 0 |

What a broker does with a batch needs nothing but the header: the base offset and the leader epoch
lie outside the CRC so that both can be written into the producer's own bytes. Reading a header
refuses only what makes it impossible to step over the batch (a length that cannot be, another
format); whether counts and offsets make sense is for those who use them.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from fastcrc import crc32

from streamlog.records.errors import CorruptRecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

Buffer: TypeAlias = bytes | bytearray | memoryview

HEADER_SIZE: Final = 61
MAGIC: Final = 2
LENGTH_OVERHEAD: Final = 12
"""Bytes of a batch that its length field does not count."""
CRC_START: Final = 21
"""Where the part of a batch begins that the CRC covers."""
SEQUENCE_MASK: Final = 0x7FFFFFFF

CODEC_MASK: Final = 0x07
APPEND_TIME_BIT: Final = 0x08
TRANSACTIONAL_BIT: Final = 0x10
CONTROL_BIT: Final = 0x20
DELETE_HORIZON_BIT: Final = 0x40

HEADER: Final = struct.Struct(">qiibIhiqqqhii")
MAGIC_POSITION: Final = 16
MAX_TIMESTAMP_POSITION: Final = 35
_LENGTH: Final = struct.Struct(">i")
_OFFSET: Final = struct.Struct(">q")
_CRC: Final = struct.Struct(">I")
_ATTRIBUTES: Final = struct.Struct(">h")


class Codec(IntEnum):
    """How the records of a batch are compressed."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class BatchHeader(NamedTuple):
    """The 61 bytes before the records, in their order; a tuple because it is read per batch."""

    base_offset: int
    batch_length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size_bytes(self) -> int:
        """The size of the whole batch."""
        return self.batch_length + LENGTH_OVERHEAD

    @property
    def codec(self) -> Codec:
        """How the records are compressed; `CorruptRecordError` if nobody knows the codec."""
        number = self.attributes & CODEC_MASK
        if number > Codec.ZSTD:
            raise CorruptRecordError(
                f"the batch at offset {self.base_offset} is compressed with unknown codec {number}"
            )
        return Codec(number)

    @property
    def is_log_append_time(self) -> bool:
        """Whether every record's timestamp is the broker's time of appending, `max_timestamp`."""
        return self.attributes & APPEND_TIME_BIT != 0

    @property
    def is_transactional(self) -> bool:
        """Whether the batch belongs to a transaction."""
        return self.attributes & TRANSACTIONAL_BIT != 0

    @property
    def is_control(self) -> bool:
        """Whether the batch is a transaction marker, not data."""
        return self.attributes & CONTROL_BIT != 0

    @property
    def has_delete_horizon(self) -> bool:
        """Whether the base timestamp says when the cleaner may drop tombstones (KIP-534)."""
        return self.attributes & DELETE_HORIZON_BIT != 0

    @property
    def last_offset(self) -> int:
        """The offset of the last record, also of one that compaction took away."""
        return self.base_offset + self.last_offset_delta

    @property
    def next_offset(self) -> int:
        """The first offset after the batch."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """The sequence of the last record, wrapped from 2147483647 to 0; -1 without a producer."""
        if self.base_sequence < 0:
            return -1
        return (self.base_sequence + self.last_offset_delta) & SEQUENCE_MASK


def read_header(buffer: Buffer, position: int = 0) -> BatchHeader:
    """Reads the batch header at `position`; the batch itself may be cut off.

    Raises:
        CorruptRecordError: There are not enough bytes, or they are no batch of format v2.
    """
    if position < 0 or len(buffer) - position < HEADER_SIZE:
        raise CorruptRecordError(
            f"{len(buffer) - position} bytes at {position} are too few for a batch header"
            f" of {HEADER_SIZE}"
        )
    header = BatchHeader._make(HEADER.unpack_from(buffer, position))
    if header.magic != MAGIC:
        raise CorruptRecordError(
            f"the batch at byte {position} has format v{header.magic}, only v{MAGIC} can be read"
        )
    if header.batch_length < HEADER_SIZE - LENGTH_OVERHEAD:
        raise CorruptRecordError(
            f"the batch at byte {position} claims {header.batch_length} bytes, less than its header"
        )
    return header


def iter_headers(buffer: Buffer) -> Iterator[tuple[int, BatchHeader]]:
    """Yields (position, header) of every whole batch and stops before a partial tail.

    Brokers cut a fetch response at a byte limit, so a partial last batch is normal.

    Raises:
        CorruptRecordError: What stands at a batch's place is no batch of format v2.
    """
    position = 0
    size = len(buffer)
    while size - position >= HEADER_SIZE:
        header = read_header(buffer, position)
        end = position + header.size_bytes
        if end > size:
            return
        yield position, header
        position = end


def batch_crc(buffer: Buffer, position: int, size_bytes: int) -> int:
    """Computes the CRC-32C of the batch of `size_bytes` at `position`."""
    with memoryview(buffer) as view:
        return crc32.iscsi(view[position + CRC_START : position + size_bytes])


def verify_crc(buffer: Buffer, position: int, header: BatchHeader) -> None:
    """Checks that the batch is whole and its bytes are those that its producer summed up.

    Raises:
        CorruptRecordError: The batch is cut off, or a bit of it changed.
    """
    if len(buffer) - position < header.size_bytes:
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} has {header.size_bytes} bytes,"
            f" only {len(buffer) - position} are there"
        )
    found = batch_crc(buffer, position, header.size_bytes)
    if found != header.crc:
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} has CRC {found:#010x},"
            f" its header says {header.crc:#010x}"
        )


def stamp(
    buffer: bytearray | memoryview, position: int, base_offset: int, leader_epoch: int
) -> None:
    """Writes the base offset and the leader epoch in place; the CRC does not cover them."""
    _OFFSET.pack_into(buffer, position, base_offset)
    _LENGTH.pack_into(buffer, position + LENGTH_OVERHEAD, leader_epoch)


def restamp_append_time(buffer: bytearray | memoryview, position: int, now_ms: int) -> None:
    """Makes `now_ms` the timestamp of every record of a whole batch, and computes its CRC anew."""
    header = read_header(buffer, position)
    assert len(buffer) - position >= header.size_bytes, "the batch is cut off"
    _ATTRIBUTES.pack_into(buffer, position + CRC_START, header.attributes | APPEND_TIME_BIT)
    _OFFSET.pack_into(buffer, position + MAX_TIMESTAMP_POSITION, now_ms)
    crc = batch_crc(buffer, position, header.size_bytes)
    _CRC.pack_into(buffer, position + MAGIC_POSITION + 1, crc)
