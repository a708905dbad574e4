"""Which checkpoints lead to which, and what rewinds took back on the way.

Checkpoints of a task are numbered upwards for ever. A rewind repeats an older one under the next
number, on a **timeline** of its own; what came behind the older one is on a timeline that was left
and leads nowhere any more. A checkpoint's `forks` tell its ancestry: each timeline on the way, and
the last checkpoint there that still counts. So of any two checkpoints, wherever they were kept, it
can be told whether one leads to the other.

Its `withdrawn` is everything that rewinds ever took back of what the task's writers wrote. A reader
forgets a rule once it has passed what it is about; but whoever takes that reader back to before it
needs the rule again, and an older checkpoint does not know it. So this goes from checkpoint to
checkpoint, also through rewinds. A rule that says less than a newer one is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from streamlog.processing.state.meta import NO_SEQUENCE, TaskMeta, WriterMeta

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streamlog.processing.state.meta import Withdrawal, WriterWithdrawal

FORKS_MAX: Final = 256
"""Of timelines that are further back nothing can be reached any more."""


def leads_to(older: TaskMeta, newer: TaskMeta) -> bool:
    """Whether a checkpoint is another one or before it, with nothing taken back in between."""
    if older.timeline == newer.timeline:
        return older.sequence <= newer.sequence
    return any(
        older.timeline == timeline and older.sequence <= sequence
        for timeline, sequence in newer.forks
    )


def last_common(one: TaskMeta, other: TaskMeta) -> tuple[str, int] | None:
    """Returns the newest checkpoint that leads to both of two: its timeline and its number."""
    there = dict((*other.forks, (other.timeline, other.sequence)))
    for timeline, sequence in reversed((*one.forks, (one.timeline, one.sequence))):
        if timeline in there:
            return timeline, min(sequence, there[timeline])
    return None


def rewound_meta(now: TaskMeta, to: TaskMeta, timeline: str = "") -> TaskMeta:
    """Returns a checkpoint's meta as that of the next checkpoint, which repeats it.

    Numbers only go up, and so do epochs: they say who may write.

    Args:
        now: The state before.
        to: The checkpoint that is repeated.
        timeline: The id of the rewind; by default one that no other rewind of the task has.
    """
    meta = msgspec.structs.replace(
        to,
        sequence=now.sequence + 1,
        epoch=now.epoch,
        timeline=timeline or f"{now.epoch}.{now.sequence + 1}",
        forks=(*to.forks, (to.timeline, to.sequence))[-FORKS_MAX:],
        withdrawn=now.withdrawn,
    )
    return with_withdrawn(meta, {})


def with_withdrawn(meta: TaskMeta, rules: Mapping[int, Withdrawal]) -> TaskMeta:
    """Returns a task's meta that says of its writers what of them does not count any more.

    Args:
        meta: The task's.
        rules: What is withdrawn now, by writer; what was before stays so.
    """
    known: dict[int, list[Withdrawal]] = {}
    for number, epoch, sequence in meta.withdrawn:
        known.setdefault(number, []).append((epoch, sequence))
    for number, rule in rules.items():
        known[number] = [*_not_said_by(rule, known.get(number, ())), rule]
    writers = {each.writer: each for each in meta.writers}
    for number, each in known.items():
        writer = writers.get(number) or WriterMeta(number, -1, NO_SEQUENCE, None, drained=False)
        writers[number] = msgspec.structs.replace(
            writer, withdrawn=still_withdrawn(each, writer.epoch)
        )
    everything: tuple[WriterWithdrawal, ...] = tuple(
        (number, *rule) for number in sorted(known) for rule in known[number]
    )
    return msgspec.structs.replace(
        meta, withdrawn=everything, writers=tuple(w for _, w in sorted(writers.items()))
    )


def still_withdrawn(rules: Iterable[Withdrawal], epoch: int) -> tuple[Withdrawal, ...]:
    """Returns the rules that still matter once `epoch` was seen."""
    return tuple(rule for rule in rules if rule[0] >= epoch)


def _not_said_by(newer: Withdrawal, rules: Iterable[Withdrawal]) -> list[Withdrawal]:
    return [rule for rule in rules if rule[0] > newer[0] or rule[1] < newer[1]]
