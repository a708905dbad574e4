"""Compression of a batch's records: gzip, snappy, lz4 and zstd, as Kafka's clients frame them.

Compressed bytes come from strangers, and a kilobyte of zeros may say that it is ten gigabytes. So
nothing is expanded before it is known to fit. Each format tells enough without decompressing:

* gzip: zlib stops at a given size by itself;
* snappy: every chunk begins with its size, which may not exceed what its bytes could ever yield;
* lz4 and zstd: a frame is a chain of blocks, each with its size, so one walk along the chain gives
  an upper bound (for blocks of at most 64 KiB to 4 MiB in lz4, 128 KiB in zstd). The same walk sees
  that there is one frame, whole, without a dictionary, and that nothing follows it.

Where the bound does not fit but the truth might, the ceiling itself is the output buffer.

Snappy comes in two shapes. Java's clients write the stream of the xerial library (a magic, two
versions, and chunks that each bear their size), librdkafka writes one bare block; both are read,
the first is written. An lz4 frame is written here too, block by block, because cramjam's own frame
links its blocks, and Java's clients refuse linked blocks. Everything comes back as `bytes` because
the record decoder is compiled for that type.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final

import cramjam

from streamlog.records.batch import Buffer, Codec
from streamlog.records.errors import CorruptRecordError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

GZIP_LEVEL: Final = 6
ZSTD_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31

XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
XERIAL_HEADER: Final = XERIAL_MAGIC + struct.pack(">ii", 1, 1)
XERIAL_BLOCK_SIZE: Final = 32 * 1024
_SNAPPY_RATIO_MAX: Final = 32
"""A copy element of two bytes yields 11 bytes, one of three yields 64; no block beats this."""

_LZ4_MAGIC: Final = 0x184D2204
_LZ4_VERSION: Final = 0x40
_LZ4_RAW_BIT: Final = 0x80000000
_LZ4_HEADER: Final = bytes.fromhex("04224d18604082")
"""Independent blocks of at most 64 KiB, no sizes, no checksums; the last byte is its own hash."""
_LZ4_BLOCK_SIZE: Final = 64 * 1024
_LZ4_END: Final = bytes(4)
_ZSTD_MAGIC: Final = 0xFD2FB528
_ZSTD_BLOCK_SIZE_MAX: Final = 128 * 1024
_ZSTD_RAW, _ZSTD_RLE, _ZSTD_COMPRESSED = 0, 1, 2
_U32: Final = struct.Struct("<I")
_CHUNK_SIZE: Final = struct.Struct(">I")


def compress(codec: Codec, data: Buffer) -> bytes:
    """Compresses the records of a batch.

    >>> bytes(decompress(Codec.SNAPPY, compress(Codec.SNAPPY, b"ab" * 50), 100)) == b"ab" * 50
    True
    """
    if codec is Codec.NONE:
        return bytes(data)
    if codec is Codec.GZIP:
        deflate = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
        return deflate.compress(data) + deflate.flush()
    if codec is Codec.SNAPPY:
        return _compress_xerial(data)
    if codec is Codec.LZ4:
        return _compress_lz4(data)
    return bytes(cramjam.zstd.compress(data, level=ZSTD_LEVEL))


def decompress(codec: Codec, data: Buffer, bytes_max: int) -> bytes:
    """Expands the records of a batch to at most `bytes_max` bytes.

    Raises:
        CorruptRecordError: The data is not one whole frame of the codec, or it would be larger.
    """
    if codec is Codec.NONE:
        if len(data) > bytes_max:
            raise _too_large(codec, bytes_max)
        return bytes(data)
    try:
        return _DECOMPRESSORS[codec](data, bytes_max)
    except (cramjam.DecompressionError, zlib.error, struct.error, IndexError) as error:
        raise CorruptRecordError(
            f"{len(data)} bytes of {codec.name.lower()} data cannot be expanded: {error}"
        ) from None


def _too_large(codec: Codec, bytes_max: int) -> CorruptRecordError:
    return CorruptRecordError(
        f"{codec.name.lower()} data expands to more than the {bytes_max} bytes allowed"
    )


def _decompress_gzip(data: Buffer, bytes_max: int) -> bytes:
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    # One byte more than allowed tells "exactly full" from "too large"; zero would mean no limit.
    expanded = inflate.decompress(data, bytes_max + 1)
    if len(expanded) > bytes_max:
        raise _too_large(Codec.GZIP, bytes_max)
    if not inflate.eof:
        raise CorruptRecordError("gzip data is cut off")
    if inflate.unused_data:
        raise CorruptRecordError(f"{len(inflate.unused_data)} bytes follow the gzip data")
    return expanded


def _compress_xerial(data: Buffer) -> bytes:
    parts = [XERIAL_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), XERIAL_BLOCK_SIZE):
            # cramjam wants the buffer's owner, so each block is copied; it is small.
            block = bytes(
                cramjam.snappy.compress_raw(bytes(view[start : start + XERIAL_BLOCK_SIZE]))
            )
            parts.append(_CHUNK_SIZE.pack(len(block)))
            parts.append(block)
    return b"".join(parts)


def _compress_lz4(data: Buffer) -> bytes:
    parts = [_LZ4_HEADER]
    with memoryview(data) as view:
        for start in range(0, len(view), _LZ4_BLOCK_SIZE):
            raw = bytes(view[start : start + _LZ4_BLOCK_SIZE])
            block = bytes(cramjam.lz4.compress_block(raw, store_size=False))
            if len(block) < len(raw):
                parts.append(_U32.pack(len(block)))
                parts.append(block)
            else:
                parts.append(_U32.pack(len(raw) | _LZ4_RAW_BIT))
                parts.append(raw)
    parts.append(_LZ4_END)
    return b"".join(parts)


def _decompress_snappy(data: Buffer, bytes_max: int) -> bytes:
    view = memoryview(data)
    if bytes(view[: len(XERIAL_MAGIC)]) != XERIAL_MAGIC:
        return _decompress_block(view, bytes_max, bytes_max)
    # The two versions after the magic have never been other than 1, and Java does not look either.
    position = len(XERIAL_HEADER)
    if len(view) < position:
        raise CorruptRecordError("snappy data is cut off within its header")
    parts: list[bytes] = []
    room = bytes_max
    while position < len(view):
        (size,) = _CHUNK_SIZE.unpack_from(view, position)
        position += _CHUNK_SIZE.size
        if size > len(view) - position:
            raise CorruptRecordError(f"a snappy chunk of {size} bytes is cut off")
        part = _decompress_block(view[position : position + size], room, bytes_max)
        parts.append(part)
        room -= len(part)
        position += size
    return b"".join(parts)


def _decompress_block(block: memoryview, room: int, bytes_max: int) -> bytes:
    owned = bytes(block)
    size: int = cramjam.snappy.decompress_raw_len(owned)
    if size > room:
        raise _too_large(Codec.SNAPPY, bytes_max)
    if size > _SNAPPY_RATIO_MAX * len(owned):
        raise CorruptRecordError(f"a snappy block of {len(owned)} bytes claims to be {size}")
    # An empty block has no bytes but its size, and cramjam refuses it.
    return bytes(cramjam.snappy.decompress_raw(owned)) if size else _empty_block(owned)


def _empty_block(block: bytes) -> bytes:
    if block != b"\x00":
        raise CorruptRecordError("an empty snappy block bears data")
    return b""


def _decompress_lz4(data: Buffer, bytes_max: int) -> bytes:
    bound = lz4_size_bound(memoryview(data))
    return _expand(Codec.LZ4, cramjam.lz4, data, bound, bytes_max)


def _decompress_zstd(data: Buffer, bytes_max: int) -> bytes:
    bound = zstd_size_bound(memoryview(data))
    return _expand(Codec.ZSTD, cramjam.zstd, data, bound, bytes_max)


def _expand(codec: Codec, library: ModuleType, data: Buffer, bound: int, bytes_max: int) -> bytes:
    if bound <= bytes_max:
        return bytes(library.decompress(data))
    room = bytearray(bytes_max)
    try:
        size = library.decompress_into(data, room)
    except cramjam.DecompressionError as error:
        if "failed to write" in str(error):
            raise _too_large(codec, bytes_max) from None
        raise
    with memoryview(room) as view:
        return bytes(view[:size])


def lz4_size_bound(view: memoryview) -> int:
    """Walks over one lz4 frame and returns the most that it can expand to.

    Raises:
        CorruptRecordError: It is not exactly one whole frame, or it needs a dictionary.
    """
    if len(view) < 7 or _U32.unpack_from(view)[0] != _LZ4_MAGIC:
        raise CorruptRecordError("lz4 data does not begin with a frame")
    flags, block_code = view[4], view[5] >> 4 & 7
    if flags & 0xC0 != _LZ4_VERSION or flags & 0x01 or block_code < 4:
        raise CorruptRecordError("the lz4 frame has an unknown version or needs a dictionary")
    position = 7 + (8 if flags & 0x08 else 0)
    block_size_max = 1 << (2 * block_code + 8)
    block_tail = 4 if flags & 0x10 else 0
    bound = 0
    while True:
        (size,) = _U32.unpack_from(view, position)
        position += _U32.size
        if size == 0:
            break
        stored = size & ~_LZ4_RAW_BIT
        bound += stored if size & _LZ4_RAW_BIT else block_size_max
        position += stored + block_tail
    position += 4 if flags & 0x04 else 0
    _check_end("lz4", position, len(view))
    return bound


def zstd_size_bound(view: memoryview) -> int:
    """Walks over one zstd frame and returns the most that it can expand to.

    Raises:
        CorruptRecordError: It is not exactly one whole frame, or it needs a dictionary.
    """
    if len(view) < 6 or _U32.unpack_from(view)[0] != _ZSTD_MAGIC:
        raise CorruptRecordError("zstd data does not begin with a frame")
    descriptor = view[4]
    is_single_segment = descriptor & 0x20 != 0
    if descriptor & 0x08 or descriptor & 0x03:
        raise CorruptRecordError("the zstd frame has a reserved bit or needs a dictionary")
    size_bytes = (1 if is_single_segment else 0, 2, 4, 8)[descriptor >> 6]
    position = 5 + (0 if is_single_segment else 1) + size_bytes
    bound = 0
    is_last = False
    while not is_last:
        head = view[position] | view[position + 1] << 8 | view[position + 2] << 16
        is_last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        if kind > _ZSTD_COMPRESSED or size > _ZSTD_BLOCK_SIZE_MAX:
            raise CorruptRecordError("the zstd frame has an impossible block")
        bound += _ZSTD_BLOCK_SIZE_MAX if kind == _ZSTD_COMPRESSED else size
        position += 3 + (1 if kind == _ZSTD_RLE else size)
    position += 4 if descriptor & 0x04 else 0
    _check_end("zstd", position, len(view))
    return bound


def _check_end(name: str, position: int, size: int) -> None:
    if position > size:
        raise CorruptRecordError(f"{name} data is cut off: {position - size} bytes are missing")
    if position < size:
        raise CorruptRecordError(f"{size - position} bytes follow the {name} frame")


_DECOMPRESSORS: Final[dict[Codec, Callable[[Buffer, int], bytes]]] = {
    Codec.GZIP: _decompress_gzip,
    Codec.SNAPPY: _decompress_snappy,
    Codec.LZ4: _decompress_lz4,
    Codec.ZSTD: _decompress_zstd,
}
