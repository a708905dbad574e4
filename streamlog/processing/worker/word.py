"""What a worker says of itself to its group: where it is, and what state it has.

It travels as the user data of its subscription: the leader places tasks by it, and everybody can
read it in the group's description, the command line too. Who does not say it, or says it in a
form of the future, is taken for a worker without any state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Mapping


class WorkerWord(msgspec.Struct, frozen=True, tag_field="by", tag="streamlog"):
    """A worker's word; fields may be added, since readers skip what they do not know."""

    folder: str = ""
    """Names its state folder; workers that share one share the state in it."""
    host: str = ""
    pid: int = 0
    metrics: str | None = None
    """`host:port` at which it serves its figures."""
    copies: dict[str, dict[int, int]] = msgspec.field(default_factory=dict)
    """By sub-topology and partition: up to which offset of the changelog its state goes."""

    def copies_by_task(self) -> dict[TaskName, int]:
        """Returns the copies by their tasks."""
        return {
            TaskName(sub, partition): position
            for sub, positions in self.copies.items()
            for partition, position in positions.items()
        }


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(WorkerWord)


def copies_of(positions: Mapping[TaskName, int]) -> dict[str, dict[int, int]]:
    """Returns copies as a word has them.

    >>> copies_of({TaskName("flights", 1): 20, TaskName("flights", 0): 10})
    {'flights': {0: 10, 1: 20}}
    """
    found: dict[str, dict[int, int]] = {}
    for task, position in sorted(positions.items()):
        found.setdefault(task.sub_topology, {})[task.partition] = position
    return found


def encode_word(word: WorkerWord) -> bytes:
    """Returns the word as user data."""
    return _ENCODER.encode(word)


def decode_word(data: bytes | None) -> WorkerWord:
    """Reads user data; what is no word says nothing."""
    try:
        return _DECODER.decode(data or b"")
    except msgspec.MsgspecError:
        return WorkerWord()
