"""Control records: the markers that end a transaction, written by a broker in batches of their own.

A control batch holds one record. Its key is `version: i16, type: i16` (0 abort, 1 commit, others
belong to brokers among themselves); its value, `version: i16, coordinator epoch: i32`. Consumers
never see it, but it takes up an offset.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

from streamlog.records.errors import CorruptRecordError

_KEY: Final = struct.Struct(">hh")
_VALUE: Final = struct.Struct(">hi")


class ControlType(Enum):
    """What a control record says."""

    ABORT = 0
    COMMIT = 1
    OTHER = -1
    """A kind that consumers skip, such as a leader change."""


def parse_control_key(key: bytes | None) -> ControlType:
    """Reads the key of a control record.

    >>> parse_control_key(control_key(ControlType.COMMIT))
    <ControlType.COMMIT: 1>

    Raises:
        CorruptRecordError: It has no key, or one that is too short.
    """
    if key is None or len(key) < _KEY.size:
        raise CorruptRecordError("a control record needs a key of at least four bytes")
    version, kind = _KEY.unpack_from(key)
    if version < 0:
        raise CorruptRecordError(f"a control record has the impossible version {version}")
    return ControlType(kind) if kind in {0, 1} else ControlType.OTHER


def control_key(kind: ControlType) -> bytes:
    """Returns the key of an abort or commit marker."""
    assert kind is not ControlType.OTHER, "only abort and commit are ours to write"
    return _KEY.pack(0, kind.value)


def control_value(coordinator_epoch: int) -> bytes:
    """Returns the value of an abort or commit marker."""
    return _VALUE.pack(0, coordinator_epoch)
