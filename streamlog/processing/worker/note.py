"""The note beside a committed offset: which checkpoint of the task it belongs to.

Kafka keeps up to 4,096 bytes of metadata with each committed offset. Ours tell whether an offset
was committed by a checkpoint or moved by somebody else, whether the task has been drained, and
whether a rewind is under way. For people who look at the group they also tell when the checkpoint
was taken, how far stream time was, and whose offsets they are: a task may read several topics.
"""

from __future__ import annotations

import msgspec


class Note(msgspec.Struct, frozen=True, tag_field="by", tag="streamlog"):
    """What a checkpoint commits beside its offsets."""

    sequence: int
    """The checkpoint's number in its task."""
    drained: bool = False
    """Whether the task has moved time to the end."""
    rewind: str | msgspec.UnsetType = msgspec.UNSET
    """The id of a rewind that has yet to change the task's state accordingly."""
    at_ms: int | msgspec.UnsetType = msgspec.UNSET
    """Wall time of the checkpoint."""
    time_ms: int | msgspec.UnsetType = msgspec.UNSET
    """Stream time, if there is one."""
    begins: bool | msgspec.UnsetType = msgspec.UNSET
    """Whether the task has no checkpoint yet and is to begin at the offset; see `beginning`."""
    sub_topology: str | msgspec.UnsetType = msgspec.UNSET
    """The task's; with the partition it tells which offsets are of one task."""


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Note)


def format_note(note: Note) -> str:
    """Returns the note as the metadata of an offset.

    >>> format_note(Note(12))
    '{"by":"streamlog","sequence":12,"drained":false}'
    """
    return _ENCODER.encode(note).decode()


def parse_note(metadata: str) -> Note | None:
    """Reads a note; returns nothing if the metadata is not one: somebody else has committed."""
    try:
        return _DECODER.decode(metadata)
    except msgspec.MsgspecError:
        return None


def stamped(metadata: str, at_ms: int, time_ms: int | None, sub_topology: str) -> str:
    """Returns a note's metadata with the moments of its checkpoint, and whose it is.

    >>> stamped('{"by":"streamlog","sequence":12}', 5, None, "bills")
    '{"by":"streamlog","sequence":12,"drained":false,"at_ms":5,"sub_topology":"bills"}'
    """
    note = parse_note(metadata)
    assert note is not None, metadata
    time = msgspec.UNSET if time_ms is None else time_ms
    return format_note(
        msgspec.structs.replace(note, at_ms=at_ms, time_ms=time, sub_topology=sub_topology)
    )


def tells_of(metadata: str, note: Note) -> bool:
    """Says whether metadata is this note, whenever its checkpoint was taken."""
    found = parse_note(metadata)
    if found is None:
        return False
    unset = msgspec.UNSET
    said = msgspec.structs.replace(found, at_ms=unset, time_ms=unset, sub_topology=unset)
    return said == note
