"""Which checkpoint each task goes back to, so that all of them together are one state.

Sources go first, by the target. What is behind a repartition topic follows:

* **A cut.** A task that goes back to a checkpoint will write anew everything that its inputs behind
  it cause. `cut_of` is the first sequence of that. What it had written from there on is withdrawn:
  its readers will leave it out when they come to it (see `repartition.withdrawn`), and what they
  read before the cut stays as it was.
* **No reader is ahead of a cut.** A reader goes back to its newest checkpoint that has seen nothing
  of any of its writers, neither record nor marker, at or behind the cut.

So a reader's state at its checkpoint, and what it reads from there, are of one piece: before the
cut what was written then, behind it what will be written now. That holds with other functions than
before as well, and a drain that comes after the target is undone.

A task that goes back nowhere, but has a writer with a cut, gets the rule all the same; and whatever
it had put out since its last checkpoint may be put out differently now, so it has a cut as well.

The start needs no history: an empty state that has read nothing. What the history does not reach
can be rebuilt from a kept snapshot, which is an older checkpoint like any other, or from the start.
Either way the input must still have what comes behind it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.repartition.position import DRAIN_INDEX, INDEX_BITS, writer_id
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime
from streamlog.processing.state.kept import KeptCheckpoint
from streamlog.processing.state.lineage import rewound_meta
from streamlog.processing.state.meta import NO_SEQUENCE, TaskMeta, WriterMeta

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streamlog.processing.rewind.outline import Outline, SubOutline
    from streamlog.processing.rewind.target import Target
    from streamlog.processing.worker.placement import TaskName

START = KeptCheckpoint(TaskMeta(), 0, 0)
EVERYTHING = NO_SEQUENCE + 1
"""A cut before all that was ever written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPast:
    """What there is to know of a task."""

    checkpoints: Sequence[KeptCheckpoint]
    """To which it can go back, the current one first."""
    extents: Mapping[str, tuple[int, int]]
    """Where each of its inputs begins and ends, by topic."""
    rows: int = 0
    """Of its state now."""
    snapshots: Sequence[KeptCheckpoint] = ()
    """From which it can be rebuilt, the newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputMove:
    """Where a task stands in one of its inputs, and where it goes on."""

    topic: str
    log_start: int
    log_end: int
    stands: int
    """The offset at which it would go on now."""
    read_from: int
    """The offset at which it goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What becomes of a task."""

    name: TaskName
    inputs: tuple[InputMove, ...]
    now: KeptCheckpoint
    to: KeptCheckpoint
    steps: int
    """Of the history to undo."""
    cuts: Mapping[int, int]
    """Of its writers: from which sequence on what they wrote does not count any more."""
    anew: bool
    """Whether it begins with an empty state, as if it had never run."""
    undone_rows: int = 0
    """Rows to undo, or more: some are undone several times."""
    from_snapshot: bool = False
    """Whether it goes to a kept snapshot."""

    @property
    def moved(self) -> bool:
        """Whether it goes back at all."""
        return self.steps > 0 or self.anew or self.from_snapshot

    @property
    def missing(self) -> list[InputMove]:
        """Inputs that do not hold any more what has to be read again."""
        return [each for each in self.inputs if self.moved and each.read_from < each.log_start]

    @property
    def read_again(self) -> int:
        """How many offsets it reads again."""
        return sum(max(each.stands - each.read_from, 0) for each in self.inputs)

    @property
    def touched(self) -> bool:
        """Whether anything of it changes."""
        return self.moved or bool(self.cuts)


@dataclass(slots=True)
class Decision:
    """What becomes of all tasks.

    Attributes:
        choices: Those upstream first.
        out_of_reach: Tasks whose history does not reach back to the target.
    """

    choices: list[Choice] = field(default_factory=list)
    out_of_reach: list[TaskName] = field(default_factory=list)

    @property
    def gone(self) -> list[Choice]:
        """Those that would have to read what their input does not hold any more."""
        return [each for each in self.choices if each.missing]

    @property
    def possible(self) -> bool:
        """Whether it can be done."""
        return not self.out_of_reach and not self.gone


def decide(
    outline: Outline,
    pasts: Mapping[TaskName, TaskPast],
    target: Target,
    *,
    rebuild: bool = False,
) -> Decision:
    """Decides about every task.

    Args:
        outline: Of the pipeline.
        pasts: Of all its tasks.
        target: Where to go.
        rebuild: Let tasks whose history does not reach go to a snapshot, or begin anew.
    """
    decision = Decision()
    chosen: dict[TaskName, Choice] = {}
    sources_only = isinstance(target, Back)
    if isinstance(target, Back):
        target = _clock_of(target, outline, pasts)
    for sub in outline.subs:
        for name in sorted(name for name in pasts if name.sub_topology == sub.name):
            writers = writers_of(sub, pasts)
            cuts = {
                writer: cut_of(chosen[each].to.meta, sub.input_topic)
                for writer, each in writers.items()
                if chosen[each].touched
            }
            aim = Edge.END if sources_only and sub.writers else target
            past, is_source = pasts[name], not sub.writers
            steps = _choose(past.checkpoints, aim, cuts, is_source=is_source)
            snapshot = None
            if steps is None and target is not Edge.START:
                if rebuild:
                    snapshot = _choose(past.snapshots, aim, cuts, is_source=is_source)
                else:
                    decision.out_of_reach.append(name)
            nothing_left = bool(writers) and all(
                cuts.get(writer) == EVERYTHING for writer in writers
            )
            choice = _choice(sub, name, past, (steps, snapshot), cuts, nothing_left=nothing_left)
            chosen[name] = choice
            decision.choices.append(choice)
    return decision


def writers_of(sub: SubOutline, tasks: Mapping[TaskName, object]) -> dict[int, TaskName]:
    """Returns the tasks that write a sub-topology's input, by their ids as writers."""
    return {
        writer_id(index, name.partition): name
        for index, upstream in enumerate(sub.writers)
        for name in tasks
        if name.sub_topology == upstream
    }


def cut_of(meta: TaskMeta, topic: str) -> int:
    """Returns the first sequence that a task will write to a topic, going on from a checkpoint."""
    if not meta.positions:
        return EVERYTHING
    # Several inputs are read as one, in which places are counted.
    position = meta.count if meta.inputs else meta.positions[0][2]
    offset = position + meta.shifts.get(topic, 0)
    # Decisions and drains there are caused by the last input, and numbered behind it.
    decided = DRAIN_INDEX + meta.decided[1]
    if meta.drained:
        return offset + (decided - 1 >> INDEX_BITS) << INDEX_BITS
    return (offset - 1 << INDEX_BITS) + decided


def _choose(
    kept: Sequence[KeptCheckpoint], target: Target, cuts: Mapping[int, int], *, is_source: bool
) -> int | None:
    """Returns which of some checkpoints to go to; nothing if none is old enough, or need be."""
    if target is Edge.START:
        return None
    for steps, each in enumerate(kept):
        if any(_is_ahead(writer, cuts) for writer in each.meta.writers):
            continue
        if isinstance(target, ClockTime) and each.sequence and each.time_ms > target.time_ms:
            continue
        if is_source and isinstance(target, EventTime):
            seen_ms = each.meta.stream_time_ms
            if seen_ms is not None and seen_ms >= target.time_ms:
                continue
        return steps
    return None


def _is_ahead(writer: WriterMeta, cuts: Mapping[int, int]) -> bool:
    cut = cuts.get(writer.writer)
    return cut is not None and max(writer.sequence, writer.marked) >= cut


def _clock_of(back: Back, outline: Outline, pasts: Mapping[TaskName, TaskPast]) -> ClockTime:
    """The clock time so many checkpoints back, in the source task that had them last."""
    sources = {sub.name for sub in outline.subs if not sub.writers}
    times = [
        past.checkpoints[back.checkpoints].time_ms
        for name, past in pasts.items()
        if name.sub_topology in sources and len(past.checkpoints) > back.checkpoints
    ]
    if not times:
        # Nobody has kept so many. Snapshots with so much lower numbers are at least as far back.
        times = [
            each.time_ms
            for name, past in pasts.items()
            if name.sub_topology in sources
            for each in past.snapshots
            if each.sequence <= past.checkpoints[0].sequence - back.checkpoints
        ]
    # If there are none: only an empty state is before all that is kept.
    return ClockTime(max(times, default=-1))


def _choice(
    sub: SubOutline,
    name: TaskName,
    past: TaskPast,
    found: tuple[int | None, int | None],
    cuts: Mapping[int, int],
    *,
    nothing_left: bool,
) -> Choice:
    now, to, undone = past.checkpoints[0], START, past.rows
    steps, snapshot = found
    if steps is not None:
        to = past.checkpoints[steps]
        undone = sum(each.rows for each in past.checkpoints[1 : steps + 1])
    elif snapshot is not None:
        to = past.snapshots[snapshot]
        undone = max(past.rows, to.rows)
    inputs: list[InputMove] = []
    for topic in sub.input_topics:
        start, end = past.extents[topic]
        key = (topic, name.partition)
        inputs.append(
            InputMove(
                topic=topic,
                log_start=start,
                log_end=end,
                stands=now.positions().get(key, start),
                read_from=to.positions().get(key, end if nothing_left else start),
            )
        )
    return Choice(
        name=name,
        inputs=tuple(inputs),
        now=now,
        to=to,
        steps=steps or 0,
        cuts=cuts,
        anew=steps is None and snapshot is None,
        from_snapshot=snapshot is not None,
        undone_rows=undone,
    )


def new_meta(choice: Choice, timeline: str) -> TaskMeta:
    """Returns the meta of the checkpoint that the rewind makes in a task, but for its writers.

    Args:
        choice: What becomes of the task.
        timeline: The id of the rewind.
    """
    before, to = choice.now.meta, choice.to.meta
    meta = msgspec.structs.replace(rewound_meta(before, to, timeline), topic_ids=before.topic_ids)
    first = choice.inputs[0]
    if not to.positions and first.read_from > first.log_start:
        # All that is in its log was withdrawn.
        positions = ((first.topic, choice.name.partition, first.read_from),)
        meta = msgspec.structs.replace(meta, positions=positions)
    return meta
