"""What a task reads: one topic's partition, or those of several sources together."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Protocol

from streamlog.processing.dsl.nodes import SourcesNode
from streamlog.processing.worker.together import Together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.state.meta import InputMeta, TaskMeta
    from streamlog.processing.worker.decisions import Decision
    from streamlog.records.columns import Columns

Key = tuple[str, int]
"""A topic and a partition."""


class Inputs(Protocol):
    """What both kinds can do.

    A task's *position* says how far it is in all that it reads: the next offset of its one input,
    or how many records of several it has taken.
    """

    @property
    def position(self) -> int | None:
        """How far it is; `None`: nothing was ever read."""

    def move(self, position: int) -> None:
        """All before this position is processed."""

    def positions(self) -> dict[Key, int | None]:
        """Returns the next offset to process of each input; `None`: begin at the log's start."""

    def known(self) -> tuple[tuple[str, int, int], ...]:
        """Returns them as a checkpoint holds them: those inputs that were ever read."""

    def ends(self) -> dict[Key, int | None]:
        """Returns the next offset to hand in of each input: some may wait for another input."""

    def begin_at(self, offsets: Mapping[Key, int]) -> None:
        """Begins there with inputs that were never read."""

    def metas(self) -> tuple[InputMeta, ...]:
        """Returns what a checkpoint has to hold of several inputs, beside positions and count."""

    def committed(self, metas: Sequence[InputMeta]) -> None:
        """A checkpoint that holds these is durable."""

    def end(self) -> None:
        """The next checkpoint is this owner's last."""

    @property
    def wants_checkpoint(self) -> bool:
        """Whether records wait for a checkpoint."""

    def offer(self, key: Key, columns: Columns, next_offset: int) -> None:
        """Hands in a chunk."""

    def take(self, stop: int | None) -> tuple[Columns, int] | None:
        """Returns what can be processed now and the position behind it; nothing if nothing can.

        Args:
            stop: A position in front of which it would better end.
        """

    def give_back(self, position: int) -> None:
        """Forgets what was handed in and is not before a position: it is to be handed in anew."""

    def is_full(self, key: Key) -> bool:
        """Whether so much of an input waits for others that no more should be fetched."""

    @property
    def has_waiting(self) -> bool:
        """Whether records were handed in that wait for other inputs."""

    def look(self, now_ms: int, at_end: Mapping[Key, bool], *, patient: bool) -> Sequence[Decision]:
        """Says what is to be decided about silent inputs; see `Together`."""

    def decided(self, kind: int, number: int) -> None:
        """Such a decision acts."""


class Alone:
    """One input."""

    def __init__(self, key: Key, position: int | None) -> None:
        self.position = position
        self._key = key
        self._offered: tuple[Columns, int] | None = None

    def move(self, position: int) -> None:
        """All before this offset is processed."""
        self.position = position

    def positions(self) -> dict[Key, int | None]:
        """Returns the next offset to process."""
        return {self._key: self.position or None}

    def known(self) -> tuple[tuple[str, int, int], ...]:
        """Returns it as a checkpoint holds it."""
        return () if self.position is None else ((*self._key, self.position),)

    def ends(self) -> dict[Key, int | None]:
        """Returns the next offset to hand in: what was handed in is processed at once."""
        return self.positions()

    def begin_at(self, offsets: Mapping[Key, int]) -> None:
        """Begins there."""
        if self._key in offsets:
            assert self.position is None, "a task that has begun goes on where it is"
            self.position = offsets[self._key]

    def metas(self) -> tuple[InputMeta, ...]:
        """Returns nothing."""
        return ()

    def committed(self, metas: Sequence[InputMeta]) -> None:
        """There is nothing in it."""

    def end(self) -> None:
        """Whoever goes on does so at the position."""

    @property
    def wants_checkpoint(self) -> bool:
        """Nothing waits here."""
        return False

    def offer(self, key: Key, columns: Columns, next_offset: int) -> None:
        """Hands in a chunk; what is below the position is left out."""
        assert key == self._key, f"{key} is not {self._key}"
        position = self.position
        if position is not None and columns.offsets and columns.offsets[0] < position:
            columns = columns.slice(bisect_left(columns.offsets, position))
        self._offered = columns, next_offset

    def take(self, stop: int | None) -> tuple[Columns, int] | None:
        """Returns the chunk, once, wherever it ends."""
        del stop
        offered, self._offered = self._offered, None
        return offered

    def give_back(self, position: int) -> None:
        """Nothing waits here."""

    def is_full(self, key: Key) -> bool:
        """Nothing waits here."""
        del key
        return False

    @property
    def has_waiting(self) -> bool:
        """Nothing waits here."""
        return False

    def look(self, now_ms: int, at_end: Mapping[Key, bool], *, patient: bool) -> Sequence[Decision]:
        """Nobody waits for it here; what its silence means to others, see `Silence`."""
        del now_ms, at_end, patient
        return ()

    def decided(self, kind: int, number: int) -> None:
        """There are no decisions about it."""
        raise AssertionError(f"decision {kind} about input {number} of a task that reads one")


def open_inputs(
    sub: SubTopologyPlan,
    partition: int,
    meta: TaskMeta,
    idle: timedelta | None,
    partition_counts: Mapping[str, int],
) -> Inputs:
    """Returns a task's inputs, where its last checkpoint left them."""
    root = sub.entry.root
    if isinstance(root, SourcesNode):
        return Together(root, partition, meta, idle, partition_counts[sub.input_topics[0]])
    key = (sub.input_topics[0], partition)
    known = {(topic, number): offset for topic, number, offset in meta.positions}
    return Alone(key, known.get(key))
