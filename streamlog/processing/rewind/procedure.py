"""The steps of a rewind, in an order in which it can end between any two of them.

1. The intent goes to disk.
2. The group gets the offsets to which it will go, with a note that a rewind is under way. From now
   on no worker takes over a task that the rewind has yet to change, also not on another machine,
   where nobody sees the intent.
3. Task by task, those upstream first: the changelog gets a checkpoint whose rows are what they were
   then; then the local state goes back and moves its positions, in one transaction.
4. The group gets notes that name these checkpoints.
5. The intent is removed.

Every step may be done twice. A task whose state has the rewind's id is done with; one that is still
at the checkpoint from which the rewind began is not; one that is anywhere else has been run since,
which means that nobody had been told yet, and the rewind is given up. Should the intent be lost
after the second step, tasks that went back and others that did not are of no use together any more:
then only the start is left, for which `cut_short` tells.

`carry_out` yields the steps as values, and whoever drives it has them done: over a cluster, or in
memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from streamlog.processing.rewind.decide import new_meta, writers_of
from streamlog.processing.rewind.intent import Intent, TaskIntent
from streamlog.processing.state.kept import KeptCheckpoint, Undone
from streamlog.processing.state.lineage import with_withdrawn
from streamlog.processing.worker.changelog import checkpoint_records
from streamlog.processing.worker.note import Note, format_note, parse_note
from streamlog.processing.worker.placement import TaskName

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streamlog.processing.rewind.decide import Decision
    from streamlog.processing.rewind.outline import Outline
    from streamlog.processing.state.meta import TaskMeta, Withdrawal
    from streamlog.processing.state.rows import Change
    from streamlog.processing.state.store import TaskStore

GroupOffsets: TypeAlias = dict[tuple[str, int], tuple[int, str]]
"""Offset and note, by topic and partition."""


@dataclass(slots=True)
class OpenTask:
    """A task that the rewind holds: fenced, and its local state brought up to its changelog."""

    store: TaskStore
    epoch: int
    """Of the rewind."""
    changelog_next: int
    """Where the next write to its changelog must begin."""


@dataclass(frozen=True, slots=True)
class SaveIntent:
    """Write the intent to the state folder."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class TellGroup:
    """Set the group's offsets."""

    offsets: GroupOffsets


@dataclass(frozen=True, slots=True)
class TellChangelog:
    """Append to a task's changelog, and note in its `OpenTask` where that ends."""

    task: TaskName
    keys: list[bytes]
    values: list[bytes | None]


@dataclass(frozen=True, slots=True)
class ChangeState:
    """Make it the local state, up to `changelog_next`."""

    task: TaskName
    undone: Undone
    meta: TaskMeta


@dataclass(frozen=True, slots=True)
class ForgetIntent:
    """Remove the intent from the state folder."""


Step: TypeAlias = SaveIntent | TellGroup | TellChangelog | ChangeState | ForgetIntent


def intent_of(
    decision: Decision,
    outline: Outline,
    *,
    id: str,  # noqa: A002 (it is one)
    target: str,
    host: str,
) -> Intent:
    """Returns what is to be done, all computed."""
    tasks = tuple(
        TaskIntent(
            sub_topology=choice.name.sub_topology,
            partition=choice.name.partition,
            to_sequence=choice.to.sequence,
            from_snapshot=choice.from_snapshot,
            moved=choice.moved,
            meta=new_meta(choice, id),
            cuts=dict(choice.cuts),
            read_from={each.topic: each.read_from for each in choice.inputs},
        )
        for choice in decision.choices
        if choice.touched
    )
    return Intent(id=id, target=target, host=host, outline=outline, tasks=tasks)


def carry_out(intent: Intent, opened: Mapping[TaskName, OpenTask]) -> Iterator[Step]:
    """Yields what is to be done next; each step has to be done before the next is asked for."""
    yield SaveIntent(intent)
    pending = [
        each for each in intent.tasks if opened[_name(each)].store.meta.timeline != intent.id
    ]
    yield TellGroup(_offsets(pending, intent.id))
    for each in pending:
        name = _name(each)
        task = opened[name]
        undone = _undone(task.store, each)
        meta = msgspec.structs.replace(each.meta, epoch=task.epoch)
        # By the epochs of this attempt: a worker may have written something since the last one.
        meta = with_withdrawn(meta, _rules(intent, each, opened))
        keys, values = checkpoint_records(
            _told(task.store, undone.changes), meta, task.changelog_next
        )
        yield TellChangelog(name, keys, values)
        yield ChangeState(name, undone, meta)
    # A task that was done with may have been run since, and the group knows better.
    at_rest = [
        each for each in intent.tasks if opened[_name(each)].store.sequence == each.meta.sequence
    ]
    yield TellGroup(_offsets(at_rest, None))
    yield ForgetIntent()


def was_given_up(intent: Intent, opened: Mapping[TaskName, OpenTask]) -> bool:
    """Whether some task was run since the rewind began, so that it cannot be finished."""
    for each in intent.tasks:
        meta = opened[_name(each)].store.meta
        if meta.timeline != intent.id and meta.sequence != each.meta.sequence - 1:
            return True
    return False


def cut_short(opened: Mapping[TaskName, OpenTask], notes: Mapping[TaskName, str]) -> list[TaskName]:
    """Returns the tasks that some rewind was to change and has not.

    Args:
        opened: The tasks.
        notes: What the group has noted beside the offset of each task's input.
    """
    found: list[TaskName] = []
    for name, text in notes.items():
        note = parse_note(text)
        if note is not None and name in opened:
            timeline = opened[name].store.meta.timeline
            if note.rewind not in (msgspec.UNSET, timeline):
                found.append(name)
    return found


def _rules(
    intent: Intent, task: TaskIntent, opened: Mapping[TaskName, OpenTask]
) -> dict[int, Withdrawal]:
    sub = next(each for each in intent.outline.subs if each.name == task.sub_topology)
    writers = writers_of(sub, opened)
    return {number: (opened[writers[number]].epoch, cut) for number, cut in task.cuts.items()}


def _undone(store: TaskStore, intent: TaskIntent) -> Undone:
    if not intent.moved:
        now = store.about
        return Undone(KeptCheckpoint(now.meta, now.time_ms, 0), [])
    if intent.to_sequence == 0:
        return store.emptied()
    if intent.from_snapshot:
        return store.undone_to_snapshot(intent.to_sequence)
    return store.undone(intent.to_sequence)


def _told(store: TaskStore, changes: list[Change]) -> list[Change]:
    """The changes, and rows of which the changelog has had wrong contents all along."""
    names = {name for name, _ in changes}
    return [*((name, store.get(name)) for name in sorted(store.rewrites - names)), *changes]


def _offsets(tasks: list[TaskIntent], under_way: str | None) -> GroupOffsets:
    return {
        (topic, each.partition): (
            read_from,
            format_note(
                Note(
                    each.meta.sequence - (under_way is not None),
                    each.meta.drained,
                    msgspec.UNSET if under_way is None else under_way,
                    sub_topology=each.sub_topology,
                )
            ),
        )
        for each in tasks
        for topic, read_from in each.read_from.items()
    }


def _name(intent: TaskIntent) -> TaskName:
    return TaskName(intent.sub_topology, intent.partition)
