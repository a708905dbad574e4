"""What a batch must be to be appended, judged by its header wherever possible.

The header and the CRC decide nearly everything, so a batch is never taken apart for the usual
settings. It is decoded where a setting asks about single records (a compacted topic needs keys,
a bound on old timestamps needs each of them) and where the broker is told to store another
codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.broker.log.config import INT64_MAX
from streamlog.broker.log.errors import AppendError
from streamlog.records.batch import (
    CODEC_MASK,
    HEADER_SIZE,
    Codec,
    iter_headers,
    read_header,
    restamp_append_time,
    verify_crc,
)
from streamlog.records.codec import decode_batch, encode_batch
from streamlog.records.errors import BatchTooLargeError, CorruptRecordError
from streamlog.wire.error_codes import ErrorCode

if TYPE_CHECKING:
    from streamlog.broker.log.config import LogConfig
    from streamlog.broker.log.disk import Buffer
    from streamlog.records.batch import BatchHeader
    from streamlog.records.columns import Columns

DECODED_BYTES_MAX = 128 << 20
"""How large a batch may become when it is decompressed to look at its records."""
RECORD_ERRORS_MAX = 100
"""How many faulty records of one batch are named to its producer."""
_CODECS = {
    "uncompressed": Codec.NONE,
    "gzip": Codec.GZIP,
    "snappy": Codec.SNAPPY,
    "lz4": Codec.LZ4,
    "zstd": Codec.ZSTD,
}


def split_batches(data: Buffer, batches_max: int) -> list[tuple[int, BatchHeader]]:
    """Returns (position, header) of each batch; the bytes must be those of whole batches.

    Raises:
        AppendError: They are not, a checksum does not match, or there are more than allowed.
    """
    if len(data) < HEADER_SIZE:
        if not len(data):
            raise AppendError(ErrorCode.INVALID_RECORD, "there is no record batch")
        raise AppendError(
            ErrorCode.CORRUPT_MESSAGE, f"{len(data)} bytes are too few for a record batch"
        )
    if data[16] < 2:
        raise AppendError(
            ErrorCode.INVALID_RECORD, f"message format {data[16]} is too old; it must be 2"
        )
    try:
        header = read_header(data)
        found = [(0, header)] if header.size_bytes == len(data) else list(iter_headers(data))
        end = found[-1][0] + found[-1][1].size_bytes if found else 0
        if end != len(data):
            raise AppendError(
                ErrorCode.CORRUPT_MESSAGE, f"{len(data) - end} bytes are no whole record batch"
            )
        if len(found) > batches_max:
            raise AppendError(
                ErrorCode.INVALID_RECORD,
                f"{len(found)} record batches for one partition, where {batches_max} may be",
            )
        for position, header in found:
            verify_crc(data, position, header)
    except CorruptRecordError as error:
        raise AppendError(ErrorCode.CORRUPT_MESSAGE, error.message) from None
    return found


def check_header(header: BatchHeader, config: LogConfig, now_ms: int) -> None:
    """Refuses what can be refused without a look at the records.

    Raises:
        AppendError: With the code that Kafka answers.
    """
    if header.size_bytes > config.max_message_bytes:
        raise AppendError(
            ErrorCode.MESSAGE_TOO_LARGE,
            f"the batch has {header.size_bytes} bytes, max.message.bytes is "
            f"{config.max_message_bytes}",
        )
    if header.size_bytes > config.segment_bytes:
        raise AppendError(
            ErrorCode.RECORD_LIST_TOO_LARGE,
            f"the batch has {header.size_bytes} bytes, segment.bytes is {config.segment_bytes}",
        )
    fault = _header_fault(header)
    if fault is not None:
        raise AppendError(ErrorCode.INVALID_RECORD, fault)
    if header.attributes & CODEC_MASK > Codec.ZSTD:
        raise AppendError(
            ErrorCode.UNSUPPORTED_COMPRESSION_TYPE,
            f"nobody knows codec {header.attributes & CODEC_MASK}",
        )
    if header.is_log_append_time:
        raise AppendError(
            ErrorCode.INVALID_TIMESTAMP, "a producer must not claim the time of the append"
        )
    ahead_ms = header.max_timestamp - now_ms
    if not config.is_log_append_time and ahead_ms > config.message_timestamp_after_max_ms:
        raise AppendError(
            ErrorCode.INVALID_TIMESTAMP,
            f"timestamp {header.max_timestamp} is {ahead_ms} ms ahead of the broker's clock, "
            f"message.timestamp.after.max.ms is {config.message_timestamp_after_max_ms}",
        )


def _header_fault(header: BatchHeader) -> str | None:
    if header.base_offset != 0:
        return f"the base offset is {header.base_offset}; a producer must send 0"
    if header.record_count <= 0:
        return f"the batch claims {header.record_count} records"
    if header.record_count != header.last_offset_delta + 1:
        return (
            f"the batch claims {header.record_count} records and "
            f"last offset delta {header.last_offset_delta}"
        )
    if header.is_control:
        return "a producer must not write control batches"
    if header.producer_id >= 0 and (header.base_sequence < 0 or header.producer_epoch < 0):
        return (
            f"producer {header.producer_id} sent epoch {header.producer_epoch} and "
            f"sequence {header.base_sequence}"
        )
    return None


def needs_decoding(header: BatchHeader, config: LogConfig) -> bool:
    """Tells whether a setting asks about single records, or for another codec."""
    if config.is_compacted or config.message_timestamp_before_max_ms != INT64_MAX:
        return True
    wanted = _CODECS.get(config.compression_type)
    return wanted is not None and wanted != header.attributes & CODEC_MASK


def inspect_records(
    data: Buffer, position: int, header: BatchHeader, config: LogConfig, now_ms: int
) -> bytearray | None:
    """Looks at each record; returns the batch in the codec that the topic wants, if it is another.

    Raises:
        AppendError: A record has no key where it needs one, is too old, or is not readable.
    """
    try:
        columns = decode_batch(data, position, header, bytes_max=DECODED_BYTES_MAX)
    except (CorruptRecordError, BatchTooLargeError) as error:
        raise AppendError(ErrorCode.CORRUPT_MESSAGE, error.message) from None
    if config.is_compacted:
        _refuse(
            ErrorCode.INVALID_RECORD,
            "a compacted topic takes no record without a key",
            [index for index, key in enumerate(columns.keys) if key is None],
        )
    if not config.is_log_append_time:
        _check_timestamps(columns, header, config, now_ms)
    wanted = _CODECS.get(config.compression_type)
    if wanted is None or wanted == header.codec:
        return None
    return encode_batch(
        columns.keys,
        columns.values,
        columns.timestamps,
        columns.headers,
        codec=wanted,
        producer_id=header.producer_id,
        producer_epoch=header.producer_epoch,
        base_sequence=header.base_sequence,
        is_transactional=header.is_transactional,
    )


def _check_timestamps(
    columns: Columns, header: BatchHeader, config: LogConfig, now_ms: int
) -> None:
    if max(columns.timestamps) != header.max_timestamp:
        raise AppendError(
            ErrorCode.INVALID_RECORD,
            f"the header's largest timestamp is {header.max_timestamp}, "
            f"the records' is {max(columns.timestamps)}",
        )
    oldest_ms = now_ms - config.message_timestamp_before_max_ms
    _refuse(
        ErrorCode.INVALID_TIMESTAMP,
        f"the timestamp is before {oldest_ms} (message.timestamp.before.max.ms)",
        [index for index, time in enumerate(columns.timestamps) if time < oldest_ms],
    )


def _refuse(code: ErrorCode, message: str, indexes: list[int]) -> None:
    if indexes:
        errors = [(index, message) for index in indexes[:RECORD_ERRORS_MAX]]
        raise AppendError(code, f"{message}: {len(indexes)} records", errors)


def prepare_batch(
    data: bytearray | memoryview,
    position: int,
    header: BatchHeader,
    config: LogConfig,
    now_ms: int,
) -> tuple[bytearray | memoryview, BatchHeader]:
    """Checks a batch and gives it the topic's codec and timestamps.

    Returns the batch's bytes (a part of `data`, patched in place, or a new buffer) and its header.

    Raises:
        AppendError: The batch is refused.
    """
    check_header(header, config, now_ms)
    batch = (
        data if header.size_bytes == len(data) else memoryview(data)[position:][: header.size_bytes]
    )
    changed = False
    if needs_decoding(header, config):
        recoded = inspect_records(data, position, header, config, now_ms)
        if recoded is not None:
            batch, changed = recoded, True
    if config.is_log_append_time:
        restamp_append_time(batch, 0, now_ms)
        changed = True
    if changed:
        header = read_header(batch)
        if header.size_bytes > config.max_message_bytes:
            raise AppendError(
                ErrorCode.MESSAGE_TOO_LARGE,
                f"recompressed, the batch has {header.size_bytes} bytes, max.message.bytes is "
                f"{config.max_message_bytes}",
            )
    return batch, header
