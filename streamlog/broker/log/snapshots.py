"""Producer snapshots: Kafka's `.snapshot` files, so that a restart need not read the whole log.

`<offset>.snapshot` holds the state of all producers as it was when the log ended at that offset:
version (i16, 1), CRC-32C of what follows (u32), a count (i32), and per producer its id, epoch, last
sequence, last offset, offset delta, timestamp, coordinator epoch and the first offset of its open
transaction. Only the last batch of a producer is in it; the other four are read back from the log.

A file is written under another name and renamed. Its CRC tells whether it is whole, and without
it the state is rebuilt from an older one and the log.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import fastcrc

from streamlog.broker.log.disk import join, read_file
from streamlog.broker.log.names import SNAPSHOT, TEMPORARY, offset_name, parse_offset_name
from streamlog.broker.log.producers import (
    NO_SEQUENCE,
    SEQUENCES,
    ProducedBatch,
    ProducerEntry,
    ProducerStates,
)

if TYPE_CHECKING:
    from streamlog.broker.log.disk import Disk, DiskFile

_VERSION = 1
_HEAD = struct.Struct(">hIi")
_ENTRY = struct.Struct(">qhiqiqiq")
_CRC_END = 6


class SnapshotDamageError(ValueError):
    """The bytes are not a whole snapshot of a known version."""


def encode_snapshot(states: ProducerStates) -> bytes:
    """Returns the bytes of a snapshot."""
    parts = [b""]
    for producer_id, entry in states.entries.items():
        last = entry.batches[-1] if entry.batches else None
        parts.append(
            _ENTRY.pack(
                producer_id,
                entry.epoch,
                last.last_sequence if last else NO_SEQUENCE,
                last.last_offset if last else -1,
                last.offset_delta if last else 0,
                entry.last_ms,
                entry.coordinator_epoch,
                entry.txn_first_offset,
            )
        )
    body = struct.pack(">i", len(states)) + b"".join(parts)
    return struct.pack(">hI", _VERSION, fastcrc.crc32.iscsi(body)) + body


def decode_snapshot(data: bytes) -> ProducerStates:
    """Reads a snapshot.

    Raises:
        SnapshotDamageError: It is torn, flipped or of a version that is not known.
    """
    if len(data) < _HEAD.size:
        raise SnapshotDamageError(f"{len(data)} bytes are too few")
    version, crc, count = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise SnapshotDamageError(f"version {version} is not known")
    if fastcrc.crc32.iscsi(data[_CRC_END:]) != crc:
        raise SnapshotDamageError("the checksum does not match")
    if len(data) != _HEAD.size + count * _ENTRY.size:
        raise SnapshotDamageError(f"{count} producers do not fit {len(data)} bytes")
    states = ProducerStates()
    for row in _ENTRY.iter_unpack(data[_HEAD.size :]):
        producer_id, epoch, last_sequence, last_offset, delta, last_ms, coordinator, txn_first = row
        entry = ProducerEntry(epoch, last_ms, coordinator, txn_first)
        if last_offset >= 0 and last_sequence != NO_SEQUENCE:
            first_sequence = (last_sequence - delta) % SEQUENCES
            entry.batches.append(
                ProducedBatch(first_sequence, last_sequence, last_offset, delta, last_ms)
            )
        states.restore(producer_id, entry)
    return states


def write_snapshot(disk: Disk, directory: str, offset: int, states: ProducerStates) -> DiskFile:
    """Writes `<offset>.snapshot` and returns it, not yet synced.

    Raises:
        OSError: The disk did not take it.
    """
    path = join(directory, offset_name(offset, SNAPSHOT))
    temporary = path + TEMPORARY
    file = disk.open(temporary, create=True)
    file.truncate(0)
    file.pwrite(encode_snapshot(states), 0)
    disk.rename(temporary, path)
    return file


def snapshot_offsets(disk: Disk, directory: str) -> list[int]:
    """Returns the offsets at which there are snapshots, ascending."""
    parsed = map(parse_offset_name, disk.list_dir(directory))
    return sorted(found[0] for found in parsed if found is not None and found[1] == SNAPSHOT)


def load_newest_snapshot(disk: Disk, directory: str, offset_max: int) -> tuple[int, ProducerStates]:
    """Returns the newest whole snapshot at or below an offset, or (-1, nothing known).

    Damaged ones are removed: they are of no use, and what they held is in the log.
    """
    for offset in reversed(snapshot_offsets(disk, directory)):
        if offset > offset_max:
            continue
        path = join(directory, offset_name(offset, SNAPSHOT))
        try:
            return offset, decode_snapshot(read_file(disk, path))
        except (SnapshotDamageError, OSError):
            disk.unlink(path)
    return -1, ProducerStates()


def remove_snapshots(
    disk: Disk, directory: str, *, below: int = 0, above: int | None = None
) -> None:
    """Removes the snapshots outside [below, above], which belong to no part of the log."""
    for offset in snapshot_offsets(disk, directory):
        if offset < below or (above is not None and offset > above):
            disk.unlink(join(directory, offset_name(offset, SNAPSHOT)))
