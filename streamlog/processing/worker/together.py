"""The sources that one task reads together: opened, merged, and watched for silence."""

from __future__ import annotations

import logging
from bisect import bisect_left
from typing import TYPE_CHECKING

from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.meta import InputMeta
from streamlog.processing.worker.decisions import AWAKE, IDLE
from streamlog.processing.worker.merge import Merge
from streamlog.processing.worker.opening import Opener
from streamlog.processing.worker.partitioning import Partitioning

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from streamlog.processing.dsl.nodes import SourcesNode
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.worker.decisions import Decision
    from streamlog.processing.worker.merged import MergedColumns
    from streamlog.records.columns import Columns

logger = logging.getLogger(__name__)

RECORDS_AT_ONCE = 20_000
"""Taken in one go."""
PASSED_MIN = 50_000
PASSED_FACTOR = 4
"""How many records may pass an idle input by behind a checkpoint: so many, or this many times what
was taken since the checkpoint before. More would be slower to hear of it after a crash, fewer would
have to wait for the next checkpoint."""


class Together:
    """Of one task.

    Args:
        root: The sources.
        partition: Which of their partitions.
        meta: As the last checkpoint has it.
        idle: After how long the others go on without a silent one; `None`: never.
        partition_count: Of each of them.
    """

    def __init__(
        self,
        root: SourcesNode,
        partition: int,
        meta: TaskMeta,
        idle: timedelta | None,
        partition_count: int,
    ) -> None:
        self.inputs = [(source.topic, partition) for source in root.sources]
        self._openers = [Opener(source, partition) for source in root.sources]
        known = {(topic, number): offset for topic, number, offset in meta.positions}
        metas = meta.inputs or [InputMeta(None) for _ in self.inputs]
        self._merge = Merge(
            [
                (
                    known.get(key),
                    NO_TIME if each.stream_time_ms is None else each.stream_time_ms,
                    each.idle,
                    each.pass_until,
                )
                for key, each in zip(self.inputs, metas, strict=True)
            ],
            meta.count,
        )
        self._count_before = meta.count
        """At the last checkpoint."""
        self._at_end: Mapping[tuple[str, int], bool] = {}
        """Whether all of an input was handed in, by the last look."""
        self._is_last = False
        topics = [source.topic for source in root.sources]
        self._partitioning = Partitioning(topics, partition, partition_count)
        self._taken: MergedColumns | None = None
        self._idle_ms = None if idle is None else round(idle.total_seconds() * 1000)
        self._silent_since: list[int | None] = [None] * len(self.inputs)

    @property
    def position(self) -> int:
        """How many records were taken."""
        return self._merge.count

    def move(self, position: int) -> None:
        """What was taken is processed; that was counted when it was taken."""

    def positions(self) -> dict[tuple[str, int], int | None]:
        """Returns the next offset to take of each input; `None`: begin at the log's start."""
        return {
            key: each.next_offset or None
            for key, each in zip(self.inputs, self._merge.inputs, strict=True)
        }

    def known(self) -> tuple[tuple[str, int, int], ...]:
        """Returns those that were ever read, as a checkpoint holds them."""
        return tuple(
            (*key, each.next_offset)
            for key, each in zip(self.inputs, self._merge.inputs, strict=True)
            if each.next_offset is not None
        )

    def ends(self) -> dict[tuple[str, int], int | None]:
        """Returns the next offset to hand in of each input, likewise."""
        return {
            key: each.end_offset or None
            for key, each in zip(self.inputs, self._merge.inputs, strict=True)
        }

    def metas(self) -> tuple[InputMeta, ...]:
        """Returns what a checkpoint has to hold beside positions and count."""
        return tuple(
            InputMeta(
                None if each.time == NO_TIME else each.time,
                each.idle,
                self._pass_until(number) if each.idle else 0,
            )
            for number, each in enumerate(self._merge.inputs)
        )

    def _pass_until(self, number: int) -> int:
        """Up to which count an idle input may be passed by, once a checkpoint says so."""
        each, count = self._merge.inputs[number], self._merge.count
        if self._is_last:
            return count
        if each.chunks or not self._at_end.get(self.inputs[number]):
            return each.pass_until
        span = max(PASSED_MIN, PASSED_FACTOR * (count - self._count_before))
        # Seldom enough that a task with nothing to do takes no checkpoints.
        return each.pass_until if each.pass_until - count > span // 2 else count + span

    def committed(self, metas: Sequence[InputMeta]) -> None:
        """A checkpoint is durable, and what it says of idle inputs holds."""
        self._count_before = self._merge.count
        for each, meta in zip(self._merge.inputs, metas, strict=True):
            each.pass_until = meta.pass_until

    def end(self) -> None:
        """Nothing is taken behind the next checkpoint; whoever goes on asks anew who is idle."""
        self._is_last = True

    @property
    def wants_checkpoint(self) -> bool:
        """Whether records wait for a checkpoint to say that they may pass an idle input by."""
        return any(
            each.idle and self._merge.holds_up(number)
            for number, each in enumerate(self._merge.inputs)
        )

    def begin_at(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Begins there with inputs that were never read."""
        for key, each in zip(self.inputs, self._merge.inputs, strict=True):
            if key in offsets:
                assert each.next_offset is None, "what has begun goes on where it is"
                each.next_offset = each.end_offset = offsets[key]

    # Records.

    def offer(self, key: tuple[str, int], columns: Columns, next_offset: int) -> None:
        """Hands in a chunk; what was handed in before is left out."""
        number = self.inputs.index(key)
        if warning := self._partitioning.look(number, columns.keys):
            logger.warning("%s", warning)
        mine = self._merge.inputs[number]
        if mine.end_offset is not None and columns.offsets and columns.offsets[0] < mine.end_offset:
            columns = columns.slice(bisect_left(columns.offsets, mine.end_offset))
        opened = self._openers[number].open_all(columns, next_offset, mine.end_time)
        self._merge.offer(number, opened)
        self._silent_since[number] = None

    def take(self, stop: int | None) -> tuple[MergedColumns, int] | None:
        """Takes records in their order, up to a count; nothing if none can be taken now.

        With a decision ahead, what was decided before says whom to pass by.
        """
        end = self._merge.count + RECORDS_AT_ONCE
        self._taken = self._merge.take(min(end, self._merge.passable() if stop is None else stop))
        return None if self._taken is None else (self._taken, self._merge.count)

    def give_back(self, position: int) -> None:
        """Goes back to a count within what was taken last; what waits is to be handed in anew."""
        taken = self._taken
        if taken is not None and taken.offsets[0] <= position < self._merge.count:
            self._merge.give_back(taken, position - taken.offsets[0])
        else:
            self._merge.drop()

    def is_full(self, key: tuple[str, int]) -> bool:
        """Whether so much of an input waits that no more should be fetched."""
        return self._merge.is_full(self.inputs.index(key))

    @property
    def has_waiting(self) -> bool:
        """Whether any record waits."""
        return self._merge.has_waiting()

    # Silence.

    def look(
        self, now_ms: int, at_end: Mapping[tuple[str, int], bool], *, patient: bool
    ) -> Sequence[Decision]:
        """Says what is to be decided.

        Args:
            now_ms: The wall clock.
            at_end: Whether all that is in the log of an input was handed in.
            patient: Whether a silent input is waited for; else it has come to its end.
        """
        found: list[Decision] = []
        self._at_end = at_end
        for number, (key, each) in enumerate(zip(self.inputs, self._merge.inputs, strict=True)):
            if each.idle:
                # A predecessor has come no further than to the end of what there is, nor than this.
                is_sure = self._is_read(at_end) or self._merge.count >= each.pass_until
                if each.chunks and is_sure:
                    found.append((AWAKE, number))
                continue
            if each.chunks or not at_end[key]:
                self._silent_since[number] = None
                continue
            since = self._silent_since[number]
            if since is None:
                since = self._silent_since[number] = now_ms
            is_over = not patient or (self._idle_ms is not None and now_ms - since >= self._idle_ms)
            if is_over and self._merge.holds_up(number):
                found.append((IDLE, number))
        return found

    def _is_read(self, at_end: Mapping[tuple[str, int], bool]) -> bool:
        """Whether everything was taken of all inputs that are not idle."""
        return all(
            each.idle or (at_end[key] and not each.chunks)
            for key, each in zip(self.inputs, self._merge.inputs, strict=True)
        )

    def decided(self, kind: int, number: int) -> None:
        """A decision acts."""
        if kind == IDLE:
            self._merge.fall_idle(number, self._merge.count + PASSED_MIN)
        else:
            assert kind == AWAKE
            self._merge.wake(number)
            # All that were waked with it are waited for anew.
            self._silent_since = [None] * len(self.inputs)
