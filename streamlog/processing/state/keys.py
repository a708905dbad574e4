"""How a window's rows are named in the local state, so that closing a window is a scan of a prefix.

    store id   4 bytes   hash of the step's name: an edit elsewhere does not renumber anything
    end        8 bytes   end of the window, big-endian, sign flipped, so that bytes order as time
    kind       1 byte    0 no key, 1 the key itself, 2 a long key's digest
    key                  its bytes; of a long key 32 bytes of BLAKE2b

LMDB's keys have at most 511 bytes. A row whose key is longer than what fits is named by the key's
digest and keeps the key beside its value. The order of keys inside a window has no meaning here;
results are sorted when they come out.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import Final

DECISIONS_ID: Final = b"\xff\xff\xff\xff"
"""In place of a step's id: rows of `worker.decisions`, which a rewind does not undo."""
KEY_SIZE_MAX: Final = 400
"""Larger keys are named by their digest; leaves room for the history's prefix as well."""
STORE_ID_SIZE: Final = 4
PREFIX_SIZE: Final = 12

_END: Final = struct.Struct(">Q")
_KEY_SIZE: Final = struct.Struct(">I")
_SIGN: Final = 1 << 63

_NO_KEY: Final = b"\x00"
_SHORT: Final = b"\x01"
_LONG: Final = b"\x02"


def store_id(name: str) -> bytes:
    """Returns the id of a step's rows."""
    return blake2b(name.encode(), digest_size=STORE_ID_SIZE).digest()


def window_prefix(store: bytes, end_ms: int) -> bytes:
    """Returns what the names of all rows of a window begin with."""
    return store + _END.pack(end_ms + _SIGN)


def end_of(name: bytes) -> int:
    """Returns the end of the window of a row's name, or of the prefix of one."""
    end: int = _END.unpack_from(name, STORE_ID_SIZE)[0]
    return end - _SIGN


def row_name(prefix: bytes, key: bytes | None) -> bytes:
    """Returns a row's name."""
    if key is None:
        return prefix + _NO_KEY
    if len(key) <= KEY_SIZE_MAX:
        return prefix + _SHORT + key
    return prefix + _LONG + blake2b(key, digest_size=32).digest()


def row_value(key: bytes | None, row: bytes) -> bytes:
    """Returns what is stored of a row: a long key goes with it."""
    if key is None or len(key) <= KEY_SIZE_MAX:
        return row
    return _KEY_SIZE.pack(len(key)) + key + row


def split_row(name: bytes, value: bytes) -> tuple[bytes | None, bytes]:
    """Returns a stored row's key and contents."""
    kind = name[PREFIX_SIZE : PREFIX_SIZE + 1]
    if kind == _NO_KEY:
        return None, value
    if kind == _SHORT:
        return name[PREFIX_SIZE + 1 :], value
    size: int = _KEY_SIZE.unpack_from(value)[0]
    return value[4 : 4 + size], value[4 + size :]
