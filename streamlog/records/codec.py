"""Record batches to columns and back: the hottest loops of the project, compiled by mypyc.

A record within a batch, all numbers but the attributes as zigzag varints:

    length, attributes (one byte, 0), timestamp delta, offset delta,
    key length (-1: null), key, value length (-1: null), value,
    header count, and per header: key length, key, value length (-1: null), value

Everything here is written twice as plainly as it could be, for the compiler: `i64` is a machine
word when compiled and `int` otherwise; the first byte of every varint is handled in place, because
nearly all of them have only one. How records are written is in `encoding`.

Batches come from strangers. A count, length or delta is believed only where the bytes bear it out;
whatever the bytes are, reading them raises `CorruptRecordError` or returns columns whose offsets
increase, and it allocates no more than a fixed multiple of what was allowed.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from streamlog.records.batch import (
    CONTROL_BIT,
    CRC_START,
    HEADER,
    HEADER_SIZE,
    LENGTH_OVERHEAD,
    MAGIC,
    TRANSACTIONAL_BIT,
    BatchHeader,
    Buffer,
    Codec,
    batch_crc,
    iter_headers,
    verify_crc,
)
from streamlog.records.columns import Columns, Headers
from streamlog.records.compression import compress, decompress
from streamlog.records.encoding import encode_records
from streamlog.records.errors import BadColumnsError, BatchTooLargeError, CorruptRecordError
from streamlog.records.varint import read_varint, read_varlong

if TYPE_CHECKING:
    from mypy_extensions import i64

DECODED_BYTES_MAX: Final = 128 * 1024 * 1024
"""What the records of one batch may expand to unless the caller says otherwise; brokers accept a
megabyte of compressed batch by default, and honest data seldom shrinks more than fifty times."""

RECORD_SIZE_MIN: Final = 7
"""Seven fields of one byte each."""

RECORD_COST_BYTES: Final = 128
"""What one decoded record takes beside its bytes: two integers, and a place in four lists."""

BATCH_SIZE_MAX: Final = 0x7FFFFFFF
_I64_MIN: Final = -(1 << 63)
_I64_MAX: Final = (1 << 63) - 1


# Decoding.


def decode_batches(
    buffer: Buffer,
    *,
    fetch_offset: int = 0,
    check_crc: bool = True,
    bytes_max: int = DECODED_BYTES_MAX,
) -> tuple[Columns, int]:
    """Decodes all data records at or above `fetch_offset` of all whole batches.

    Control batches are skipped and a partial tail is ignored. Decoding stops early, after a whole
    batch, once the columns take more than `bytes_max`, so that a response full of well compressed
    batches cannot fill the memory; the offset that is returned says where to go on.

    Returns:
        The columns, and the next offset to fetch: past control batches and past the gaps that
        compaction left. It is `fetch_offset` if nothing could be decoded.

    Raises:
        CorruptRecordError: A batch is damaged, or its offsets go backwards.
    """
    columns = Columns.empty()
    next_offset = fetch_offset
    last_offset = -1
    cost = 0
    for position, header in iter_headers(buffer):
        if cost > bytes_max:
            break
        # First of all: an altered header could make a batch look like one to be skipped.
        if check_crc:
            verify_crc(buffer, position, header)
        _check_offsets(header)
        if header.base_offset <= last_offset:
            raise CorruptRecordError(
                f"a batch at offset {header.base_offset} follows one that ends at {last_offset}"
            )
        last_offset = header.last_offset
        if last_offset < fetch_offset:
            continue
        if not header.is_control:
            decoded = decode_batch(buffer, position, header, bytes_max=bytes_max)
            cost += _cost(decoded)
            if header.base_offset < fetch_offset:
                decoded = decoded.slice(bisect_left(decoded.offsets, fetch_offset))
            if len(columns) == 0:
                columns = decoded
            else:
                columns.extend(decoded)
        next_offset = header.next_offset
    return columns, next_offset


def _cost(columns: Columns) -> int:
    keys: i64 = 0
    for key in columns.keys:
        if key is not None:
            keys += len(key)
    for value in columns.values:
        if value is not None:
            keys += len(value)
    count: i64 = len(columns.values)
    return keys + count * RECORD_COST_BYTES


def decode_batch(
    buffer: Buffer, position: int, header: BatchHeader, *, bytes_max: int = DECODED_BYTES_MAX
) -> Columns:
    """Decodes the records of one whole batch, control batches too; does not look at the CRC.

    Args:
        buffer: What holds the batch.
        position: Where the batch begins.
        header: What `read_header` found there.
        bytes_max: The most that the records may expand to.

    Raises:
        CorruptRecordError: The batch is cut off, its counts lie, or it expands beyond `bytes_max`.
    """
    _check_offsets(header)
    if len(buffer) - position < header.size_bytes:
        raise CorruptRecordError(f"the batch at offset {header.base_offset} is cut off")
    with memoryview(buffer) as view:
        packed = view[position + HEADER_SIZE : position + header.size_bytes]
        body = decompress(header.codec, packed, bytes_max)
        packed.release()
    count = header.record_count
    if count * RECORD_SIZE_MIN > len(body):
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} claims {count} records in {len(body)} bytes"
        )
    try:
        columns = _decode_records(
            body, count, header.base_offset, header.last_offset_delta, header.base_timestamp
        )
    except IndexError:
        raise CorruptRecordError("a record goes on beyond the end of its batch") from None
    except CorruptRecordError as error:
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} is corrupt: {error.message}"
        ) from None
    if header.is_log_append_time:
        columns.timestamps = [header.max_timestamp] * count
    return columns


def _check_offsets(header: BatchHeader) -> None:
    delta = header.last_offset_delta
    if header.base_offset < 0 or delta < 0 or header.base_offset > _I64_MAX - 1 - delta:
        raise CorruptRecordError(
            f"a batch claims offsets from {header.base_offset} to {header.base_offset + delta}"
        )
    if not 0 <= header.record_count <= delta + 1:
        raise CorruptRecordError(
            f"the batch at offset {header.base_offset} claims {header.record_count} records"
            f" in {delta + 1} offsets"
        )


def _decode_records(
    body: bytes, count: i64, base_offset: i64, last_offset_delta: i64, base_timestamp: i64
) -> Columns:
    # Within these the sum with the base is a 64-bit number; beyond them it would wrap.
    delta_min: i64 = _I64_MIN - base_timestamp if base_timestamp < 0 else _I64_MIN
    delta_max: i64 = _I64_MAX - base_timestamp if base_timestamp > 0 else _I64_MAX
    offsets: list[int] = []
    timestamps: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    headers: list[Headers] | None = None
    last_header = _LastHeader()
    size: i64 = len(body)
    position: i64 = 0
    length: i64
    delta: i64
    offset_last: i64 = -1
    index: i64 = 0
    while index < count:
        length, position = read_varint(body, position)
        end: i64 = position + length
        if end > size:
            raise CorruptRecordError(f"record {index} ends beyond the batch")
        position += 1  # The attributes of a record have no meaning yet.
        delta, position = read_varlong(body, position)
        if delta < delta_min or delta > delta_max:
            raise CorruptRecordError(f"record {index} has an impossible timestamp")
        timestamps.append(base_timestamp + delta)
        delta, position = read_varint(body, position)
        if delta <= offset_last or delta > last_offset_delta:
            raise CorruptRecordError(f"record {index} has the impossible offset delta {delta}")
        offset_last = delta
        offsets.append(base_offset + delta)
        length, position = read_varint(body, position)
        if length >= 0:
            keys.append(body[position : position + length])
            position += length
        else:
            keys.append(None)
        length, position = read_varint(body, position)
        if length >= 0:
            values.append(body[position : position + length])
            position += length
        else:
            values.append(None)
        if body[position] == 0:
            position += 1
            if headers is not None:
                headers.append(())
        else:
            if headers is None:
                headers = [()] * index
            found, position = _decode_headers(body, position, end, last_header)
            headers.append(found)
        if position != end:
            raise CorruptRecordError(f"record {index} does not end where its length says")
        index += 1
    if position != size:
        raise CorruptRecordError(f"{size - position} bytes follow the last record")
    return Columns(offsets, timestamps, keys, values, headers)


class _LastHeader:
    """The header that was read last: most records have just one, and its name is always the same.

    What stands before such a header's value (count, name, the value's length) is then one run of
    bytes that can be compared at once.
    """

    __slots__ = ("before", "length", "raw", "text")

    def __init__(self) -> None:
        self.raw: bytes = b""
        self.text: str = ""
        self.before: bytes = b""
        self.length: i64 = 0

    def name_of(self, raw: bytes) -> str:
        """Returns a name as text."""
        if raw != self.raw:
            self.raw = raw
            # As in Java: bytes that are no UTF-8 must not make the partition unreadable.
            self.text = raw.decode("utf-8", "replace")
            self.before = b""
        return self.text


def _decode_headers(body: bytes, position: i64, end: i64, last: _LastHeader) -> tuple[Headers, i64]:
    count: i64
    length: i64
    begin: i64 = position
    value_at: i64 = position + len(last.before)
    if last.before and value_at + last.length == end and body[position:value_at] == last.before:
        return ((last.text, body[value_at:end]),), end
    count, position = read_varint(body, position)
    # A header has at least two bytes, so a larger count is a lie.
    if count < 0 or count > (end - position) >> 1:
        raise CorruptRecordError(f"a record claims {count} headers")
    is_only = count == 1
    found: list[tuple[str, bytes | None]] = []
    while count > 0:
        length, position = read_varint(body, position)
        if length < 0 or length > end - position:
            raise CorruptRecordError("a header's key has an impossible length")
        key = last.name_of(body[position : position + length])
        position += length
        length, position = read_varint(body, position)
        if length > end - position:
            raise CorruptRecordError("a header's value has an impossible length")
        if length < 0:
            found.append((key, None))
        else:
            found.append((key, body[position : position + length]))
            if is_only:
                last.before = body[begin:position]
                last.length = length
            position += length
        count -= 1
    return tuple(found), position


# Encoding.


def encode_batch(
    keys: list[bytes | None],
    values: list[bytes | None],
    timestamps: list[int],
    headers: list[Headers] | None = None,
    *,
    codec: Codec = Codec.NONE,
    base_offset: int = 0,
    leader_epoch: int = -1,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    is_transactional: bool = False,
    is_control: bool = False,
) -> bytearray:
    """Encodes columns of equal length, at least one record, as one batch.

    Returns:
        The batch, owned by the caller, with its CRC; what lies outside the CRC can be stamped.

    Raises:
        BadColumnsError: The columns differ in length, an item has the wrong type, or a timestamp is
            impossible.
        BatchTooLargeError: The batch would not fit the 31 bits of its length.
    """
    _check_columns(keys, values, timestamps, headers)
    try:
        parts, highest = encode_records(keys, values, timestamps, headers)
        if codec is Codec.NONE:
            batch = bytearray().join(parts)
        else:
            batch = bytearray(HEADER_SIZE)
            parts[0] = b""
            batch += compress(codec, b"".join(parts))
    except (TypeError, AttributeError, OverflowError, ValueError) as error:
        raise BadColumnsError(
            f"a record needs keys and values of bytes, timestamps of int, header names of text:"
            f" {error}"
        ) from error
    if len(batch) > BATCH_SIZE_MAX:
        raise BatchTooLargeError(f"a batch of {len(keys)} records would have {len(batch)} bytes")
    attributes: int = codec.value
    if is_transactional:
        attributes |= TRANSACTIONAL_BIT
    if is_control:
        attributes |= CONTROL_BIT
    count = len(keys)
    fields = (count - 1, timestamps[0], highest, producer_id, producer_epoch, base_sequence)
    length = len(batch) - LENGTH_OVERHEAD
    HEADER.pack_into(
        batch, 0, base_offset, length, leader_epoch, MAGIC, 0, attributes, *fields, count
    )
    crc = batch_crc(batch, 0, len(batch))
    batch[CRC_START - 4 : CRC_START] = crc.to_bytes(4, "big")
    return batch


def _check_columns(
    keys: list[bytes | None],
    values: list[bytes | None],
    timestamps: list[int],
    headers: list[Headers] | None,
) -> None:
    count = len(keys)
    if count == 0 or len(values) != count or len(timestamps) != count:
        raise BadColumnsError(
            f"a batch needs as many keys as values and timestamps, and at least one; there are"
            f" {count}, {len(values)} and {len(timestamps)}"
        )
    if headers is not None and len(headers) != count:
        raise BadColumnsError(f"there are {len(headers)} headers for {count} records")
