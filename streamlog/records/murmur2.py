"""The hash by which Kafka's Java clients choose a partition for a key: 32-bit MurmurHash2.

Every client that wants equal keys in equal partitions must compute the same number, so this is
arithmetic of Java's `int`: 32 bits that wrap, negative from the 31st bit on. The module is written
in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mypy_extensions import i64

SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_POSITIVE_MASK: Final = 0x7FFFFFFF


def _hash(data: bytes) -> i64:
    size: i64 = len(data)
    seed: i64 = SEED
    m: i64 = _M
    mask: i64 = _MASK
    h: i64 = (seed ^ size) & mask
    whole: i64 = size & ~3
    position: i64 = 0
    k: i64
    while position < whole:
        k = (
            data[position]
            | data[position + 1] << 8
            | data[position + 2] << 16
            | data[position + 3] << 24
        )
        k = (k * m) & mask
        k ^= k >> 24
        k = (k * m) & mask
        h = ((h * m) & mask) ^ k
        position += 4
    rest: i64 = size - whole
    if rest == 3:
        h ^= data[whole + 2] << 16
    if rest >= 2:
        h ^= data[whole + 1] << 8
    if rest >= 1:
        h ^= data[whole]
        h = (h * m) & mask
    h ^= h >> 13
    h = (h * m) & mask
    return h ^ (h >> 15)


def murmur2(data: bytes) -> int:
    """Returns the hash as Java's signed `int`.

    >>> murmur2(b"foobar")
    -790332482
    """
    h = _hash(data)
    return h - 0x100000000 if h > _POSITIVE_MASK else h


def partition_of(key: bytes, partition_count: int) -> int:
    """Returns the partition to which Java's default partitioner sends `key`.

    The sign bit is dropped, not the sign changed: that is Kafka's `toPositive`.
    """
    return (_hash(key) & _POSITIVE_MASK) % partition_count
