"""The note beside a committed offset: which checkpoint of the task it belongs to.

Kafka keeps up to 4,096 bytes of metadata with each committed offset. Ours tell whether an offset
was committed by a checkpoint or moved by somebody else, whether the task has been drained, and
whether a rewind is under way.
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
