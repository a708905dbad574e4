"""Rewinding over a cluster: who must be away, what is held meanwhile, and the steps themselves.

A rewind is refused while the group has members or a worker of this machine is on its way into it.
It holds a lock in the state folder, which workers look at before they join, and every task's local
state; and it fences every changelog, so that a worker which comes all the same is noticed by the
next write to that changelog, and the rewind ends.
"""

from __future__ import annotations

import logging
import socket
import uuid
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.config import ProducerConfig
from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.client.producer.producer import open_producer
from streamlog.client.values import OffsetAndMetadata, TopicPartition
from streamlog.errors import RefusedError
from streamlog.processing.rewind.decide import TaskPast, decide
from streamlog.processing.rewind.intent import forget_intent, load_intent, save_intent
from streamlog.processing.rewind.locks import RewindLock
from streamlog.processing.rewind.procedure import (
    ChangeState,
    ForgetIntent,
    OpenTask,
    SaveIntent,
    TellChangelog,
    TellGroup,
    carry_out,
    cut_short,
    intent_of,
    was_given_up,
)
from streamlog.processing.rewind.refusals import impossible, refuse_if_running, runs, workers_here
from streamlog.processing.rewind.target import Edge
from streamlog.processing.rewind.world import extents_of, find_layout
from streamlog.processing.state.kept import KeptCheckpoint
from streamlog.processing.state.meta import TaskMeta
from streamlog.processing.state.store import open_task_store
from streamlog.processing.state.view import open_view
from streamlog.processing.worker.catching_up import CatchingUp
from streamlog.processing.worker.checkpoint import append_alone
from streamlog.processing.worker.note import Note, format_note, tells_of
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.status import RestoreFigures

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.client.producer.producer import Producer
    from streamlog.processing.rewind.decide import Decision
    from streamlog.processing.rewind.intent import Intent
    from streamlog.processing.rewind.outline import Outline
    from streamlog.processing.rewind.procedure import GroupOffsets, Step
    from streamlog.processing.rewind.target import Target
    from streamlog.processing.rewind.world import Layout, RewindWorld

logger = logging.getLogger(__name__)

LOOKS_MAX = 600
LOOK_INTERVAL_S = 0.1
"""A worker waits for a minute for another process that is just finishing a rewind."""


async def plan_rewind(
    around: RewindWorld, outline: Outline, target: Target, *, rebuild: bool = False
) -> Decision:
    """Returns what a rewind would do, from what is on this machine now; changes nothing.

    Local state that is behind its changelog is brought up to it first by the rewind itself, so for
    such a task this tells less than there is.
    """
    layout = await find_layout(around.client, outline)
    extents = await extents_of(around.client, layout)
    pasts: dict[TaskName, TaskPast] = {}
    for name, extent in extents.items():
        home = around.folder / name.sub_topology / str(name.partition)
        with open_view(home) as view:
            nothing = [KeptCheckpoint(TaskMeta(), 0, 0)]
            checkpoints = view.checkpoints() if view is not None else nothing
            rows = view.size()[0] if view is not None else 0
            snapshots = view.snapshots() if view is not None else []
        pasts[name] = TaskPast(
            checkpoints=checkpoints,
            extents=extent,
            rows=rows,
            snapshots=[each.checkpoint for each in snapshots],
        )
    return decide(outline, pasts, target, rebuild=rebuild)


async def execute_rewind(
    around: RewindWorld, outline: Outline, target: Target, *, text: str, rebuild: bool = False
) -> Decision:
    """Rewinds a pipeline; one that was cut short is finished first.

    Args:
        around: The world.
        outline: Of the pipeline.
        target: Where to.
        text: The same, as the user wrote it.
        rebuild: Let tasks whose history does not reach go to a snapshot, or begin anew.

    Raises:
        RefusedError: If the pipeline runs, or somebody begins to run it.
        HistoryError: If the history does not reach, or the log does not hold what has to be read.
    """
    await refuse_if_running(around.client, outline.name, around.folder)
    with RewindLock(around.folder) as lock:
        lock.take()
        if workers := workers_here(around.folder):
            raise runs(outline.name, workers)
        async with open_producer(around.client, ProducerConfig()) as producer:
            intent = load_intent(around.folder)
            if intent is not None:
                await _finish(around, producer, intent)
            layout = await find_layout(around.client, outline)
            rewinding = _Rewinding(around, producer, outline.name, layout)
            try:
                await rewinding.open(layout.inputs)
                await rewinding.refuse_remains(target)
                pasts = await rewinding.pasts()
                decision = decide(outline, pasts, target, rebuild=rebuild)
                if not decision.possible:
                    raise impossible(decision)
                identity = uuid.uuid4().hex[:12]
                host = socket.gethostname()
                intent = intent_of(decision, outline, id=identity, target=text, host=host)
                await rewinding.carry_out(intent)
                await rewinding.put_group_right(decision)
            finally:
                rewinding.close()
    return decision


async def finish_rewind(around: RewindWorld) -> None:
    """Finishes a rewind that was cut short here, before a worker joins its group.

    Raises:
        RefusedError: If a rewind is under way, and does not end.
    """
    if load_intent(around.folder) is None and not RewindLock(around.folder).exists():
        return
    with RewindLock(around.folder) as lock:
        for _ in range(LOOKS_MAX):
            if lock.is_free():
                break
            await trio.sleep(LOOK_INTERVAL_S)
        lock.take()
        intent = load_intent(around.folder)
        if intent is not None:
            logger.warning("finishing the rewind to %s, which was cut short", intent.target)
            async with open_producer(around.client, ProducerConfig()) as producer:
                await _finish(around, producer, intent)


async def _finish(around: RewindWorld, producer: Producer, intent: Intent) -> None:
    layout = await find_layout(around.client, intent.outline)
    rewinding = _Rewinding(around, producer, intent.outline.name, layout)
    try:
        await rewinding.open(TaskName(each.sub_topology, each.partition) for each in intent.tasks)
        if was_given_up(intent, rewinding.opened):
            logger.warning(
                "the rewind to %s, which was cut short before it began, is given up: the pipeline "
                "was run since",
                intent.target,
            )
            forget_intent(around.folder)
        else:
            await rewinding.carry_out(intent)
    finally:
        rewinding.close()


class _Rewinding:
    """A rewind under way, with the tasks that it holds."""

    def __init__(self, around: RewindWorld, producer: Producer, group: str, layout: Layout) -> None:
        self.opened: dict[TaskName, OpenTask] = {}
        self._around = around
        self._producer = producer
        self._group = group
        self._layout = layout
        self._admin = Admin(around.client)
        self._catching_up = CatchingUp(
            client=around.client,
            producer=producer,
            clock=around.clock,
            threads=around.threads,
            way_out="Rewind to the start: --to start",
        )

    async def open(self, names: Iterable[TaskName]) -> None:
        """Opens tasks: their local state, fenced and brought up to the changelog."""
        around = self._around
        for name in names:
            store = await around.threads.run(
                partial(
                    open_task_store,
                    around.folder,
                    name.sub_topology,
                    name.partition,
                    identity=self._layout.identities[name],
                    clock=around.clock,
                    retention=around.retention,
                )
            )
            try:
                figures = RestoreFigures(trio.current_time())
                epoch, position = await self._catching_up.fence(
                    store, self._layout.changelogs[name], 0, figures
                )
            except BaseException:
                store.close()
                raise
            self.opened[name] = OpenTask(store, epoch, position)

    def close(self) -> None:
        """Lets go of the tasks."""
        for task in self.opened.values():
            task.store.close()
        self.opened = {}

    async def pasts(self) -> dict[TaskName, TaskPast]:
        """Returns what there is to know of the tasks, now that nobody else writes."""
        extents = await extents_of(self._around.client, self._layout)
        return {
            name: TaskPast(
                checkpoints=task.store.checkpoints(),
                extents=extents[name],
                rows=task.store.size()[0],
                snapshots=[each.checkpoint for each in task.store.snapshots()],
            )
            for name, task in self.opened.items()
        }

    async def refuse_remains(self, target: Target) -> None:
        """Refuses to build on a rewind that was cut short and whose intent is not here."""
        committed = await self._admin.group_offsets(self._group)
        notes = {
            name: committed[at].metadata
            for name, inputs in self._layout.inputs.items()
            for at in inputs
            if at in committed
        }
        if target is not Edge.START and cut_short(self.opened, notes):
            raise RefusedError(
                f'a rewind of pipeline "{self._group}" was cut short, on another machine or with '
                "another state folder",
                hint="Finish it there, by rewinding again or running the pipeline. If that folder "
                "is lost, only the start is left: --to start --execute",
            )

    async def carry_out(self, intent: Intent) -> None:
        """Takes all steps."""
        steps = carry_out(intent, self.opened)
        # What a task has to undo is looked up on the way: that may be all of its rows.
        while (step := await self._around.threads.run(lambda: next(steps, None))) is not None:
            await self._take(step)

    async def _take(self, step: Step) -> None:
        around = self._around
        match step:
            case SaveIntent(intent):
                await around.threads.run(partial(save_intent, around.folder, intent))
            case TellGroup(offsets):
                await self._tell_group(offsets)
            case TellChangelog(name, keys, values):
                task = self.opened[name]
                task.changelog_next = await append_alone(
                    self._producer,
                    self._layout.changelogs[name],
                    task.changelog_next,
                    keys,
                    values,
                    around.clock.wall_ms(),
                )
            case ChangeState(name, undone, meta):
                task = self.opened[name]
                await around.threads.run(
                    partial(task.store.rewind, undone, meta, task.changelog_next)
                )
            case ForgetIntent():
                await around.threads.run(partial(forget_intent, around.folder))

    async def _tell_group(self, offsets: GroupOffsets) -> None:
        wanted = {
            TopicPartition(*at): OffsetAndMetadata(offset, note)
            for at, (offset, note) in offsets.items()
        }
        try:
            await self._admin.alter_group_offsets(self._group, wanted)
        except KafkaError as error:
            if error.code is not ErrorCode.NON_EMPTY_GROUP:
                raise
            raise runs(self._group, ["somebody has just joined its group"]) from error

    async def put_group_right(self, decision: Decision) -> None:
        """Moves the group to where the state is, in tasks that stay where they are."""
        committed = await self._admin.group_offsets(self._group)
        wanted: dict[TopicPartition, OffsetAndMetadata] = {}
        for choice in decision.choices:
            if choice.touched or not choice.now.meta.positions:
                continue
            note = Note(choice.now.sequence, choice.now.meta.drained)
            for each in choice.inputs:
                at = TopicPartition(each.topic, choice.name.partition)
                entry = committed.get(at)
                is_right = entry is None or (
                    entry.offset == each.read_from and tells_of(entry.metadata, note)
                )
                if not is_right:
                    wanted[at] = OffsetAndMetadata(each.read_from, format_note(note))
        await self._admin.alter_group_offsets(self._group, wanted)
