"""A worker without a cluster: it runs a pipeline's tasks over a `MemoryLog`, step by step.

It does what the real worker does, in the same order and with the same tasks, stores and changelogs,
except that nothing is asynchronous: whoever drives it says which task goes on, how far, and where
it dies. Several of them on one log are several workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import msgspec
import trio

from streamlog.errors import RefusedError, UsageError
from streamlog.processing.failures.ledger import Ledger, SpoiledTaskError
from streamlog.processing.state.retention import retention_of
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.calling import make_calls
from streamlog.processing.worker.changelog import ChangelogReplay, fence_record
from streamlog.processing.worker.note import parse_note
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.plan import Plan, SubTopologyPlan
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.state.store import TaskStore
    from streamlog.testing.memory_log import MemoryLog, MemoryPartition

CheckpointStep: TypeAlias = Literal["outputs", "changelog", "state", "commit"]
STEPS: tuple[CheckpointStep, ...] = get_args(CheckpointStep)


class MemoryWorker:
    """Runs tasks of one plan.

    Args:
        plan: The pipeline's plan.
        log: The topics.
        folder: Where the local state lives.
    """

    def __init__(self, plan: Plan, log: MemoryLog, folder: Path) -> None:
        self.plan = plan
        self.log = log
        self.folder = folder
        self.tables: Mapping[str, TableView] = plan.new_tables()
        self._tables_read: dict[tuple[str, int], int] = {}
        self._subs: dict[str, SubTopologyPlan] = {sub.name: sub for sub in plan.sub_topologies}
        self._tasks: dict[TaskName, Task] = {}
        self._ledgers: dict[TaskName, Ledger] = {}
        self._changelog_next: dict[TaskName, int] = {}
        self._now_ms = 0
        self._stores: dict[TaskName, TaskStore] = {}
        """Of the tasks that run, or have run."""

    @property
    def task_names(self) -> list[TaskName]:
        """All tasks of the plan, those upstream first."""
        return [
            TaskName(sub.name, partition)
            for sub in self.plan.sub_topologies
            for partition in range(self.log.partition_counts[sub.input_topics[0]])
        ]

    def task(self, name: TaskName) -> Task:
        """Returns a running task; takes it over if this worker does not run it yet."""
        if name not in self._tasks:
            self.load_tables()
            self._tasks[name] = self._take_over(name)
            self._tasks[name].ledger = self._ledgers.setdefault(name, Ledger())
        return self._tasks[name]

    def load_tables(self) -> None:
        """Brings the global tables up to the end of their topics."""
        for topic, table in self.tables.items():
            for number, partition in enumerate(self.log.topics[topic]):
                read = self._tables_read.get((topic, number), 0)
                if read < partition.end:
                    table.apply(partition.read(read, partition.end), number)
                    self._tables_read[topic, number] = partition.end

    def _take_over(self, name: TaskName) -> Task:
        """Fences the changelog, restores from it, and opens the task."""
        sub = self._subs[name.sub_topology]
        store, epoch = self.open_store(name)
        try:
            self._check_group(sub, name, store.meta)
        except BaseException:
            store.close()
            raise
        return Task(
            sub,
            name.partition,
            store,
            self.tables,
            epoch=epoch,
            partition_counts=self.log.partition_counts,
            options=self.plan.options,
        )

    def open_store(self, name: TaskName) -> tuple[TaskStore, int]:
        """Fences a task's changelog and brings its local state up to it; returns our epoch too."""
        sub = self._subs[name.sub_topology]
        changelog = self.log.partition(sub.changelog_topic, name.partition)
        # Crashes here are played: what the process has written stays there without a flush.
        store = open_task_store(
            self.folder,
            sub.name,
            name.partition,
            layout=sub.layout,
            retention=retention_of(self.plan.options),
            durable=False,
        )
        epoch = max(self.log.generation, store.epoch + 1)
        while True:
            key, value = fence_record(epoch)
            end = changelog.append([key], [value], [0])
            replay = ChangelogReplay(store)
            # Without our own fence, which is the last record.
            begin = store.changelog_position
            replay.feed(changelog.read(begin, end - 1 - begin))
            if replay.highest_epoch < epoch:
                break
            epoch = replay.highest_epoch + 1
        replay.finish(end, epoch)
        self._changelog_next[name] = end
        self._stores[name] = store
        return store, epoch

    def changelog_of(self, name: TaskName) -> MemoryPartition:
        """Returns a task's changelog."""
        return self.log.partition(self._subs[name.sub_topology].changelog_topic, name.partition)

    def _check_group(self, sub: SubTopologyPlan, name: TaskName, meta: TaskMeta) -> None:
        """The state is never behind the group: a checkpoint is committed after it is durable."""
        committed = self.log.committed.get((sub.input_topics[0], name.partition))
        if committed is not None:
            note = parse_note(committed[1])
            assert note is not None
            assert note.sequence <= meta.sequence, f"{name}: {note} is ahead of {meta.sequence}"
            if note.rewind not in (msgspec.UNSET, meta.timeline):
                raise RefusedError(f"task {name}: a rewind was cut short and has to be finished")

    # Steps.

    def lag(self, name: TaskName) -> int:
        """Returns how many records a task has yet to be handed, and would take."""
        task = self.task(name)
        return sum(
            self.log.partition(*key).end - (offset or 0)
            for key, offset in task.ends().items()
            if not task.is_full(*key)
        )

    def step(self, name: TaskName, records_max: int) -> int:
        """Hands a task some records of each input and produces what comes out; says how many."""
        count = 0
        for (topic, partition), offset in list(self.task(name).ends().items()):
            columns = self.log.partition(topic, partition).read(offset or 0, records_max)
            if (
                len(columns)
                and name in self._tasks
                and not self.task(name).is_full(topic, partition)
            ):
                self.task(name).offer(topic, partition, columns, columns.offsets[-1] + 1)
                count += self._process(name) and len(columns)
        return count

    def _process(self, name: TaskName) -> bool:
        """Has a task process what it can; says whether it still runs."""
        task = self.task(name)
        try:
            for piece, piece_next in task.pieces():
                calls = task.prepare(piece, piece_next)
                task.finish(trio.run(make_calls, calls) if calls else ())
            # Time stands still: a record that is to be tried again is, in the next step.
            task.take_rest()
        except SpoiledTaskError:
            self.drop(name)
            return False
        except Exception:
            self.drop(name)
            raise
        self.send_outputs(name)
        return True

    def send_outputs(self, name: TaskName) -> None:
        """Produces what a task has put out."""
        for batch in self.task(name).take_outputs():
            self.log.partition(batch.topic, batch.partition).append(
                batch.keys, batch.values, batch.timestamps, batch.headers
            )

    def drain(self, name: TaskName) -> None:
        """Tells a task that its sources are at their end."""
        while self.look(name, 0, patient=False):
            # Nothing more comes of the inputs for which others have waited.
            self.checkpoint(name)
        self.task(name).drain()
        self.send_outputs(name)

    def tick(self, name: TaskName, now_ms: int) -> None:
        """Shows a task the wall clock."""
        self._now_ms = now_ms
        self.look(name, now_ms, patient=True)
        task = self.task(name)
        task.tick(now_ms, caught_up=not self.lag(name) and not task.has_waiting)
        self.send_outputs(name)

    def look(self, name: TaskName, now_ms: int, *, patient: bool) -> bool:
        """Has a task look whether it can go on without a source; says whether records wait."""
        task = self.task(name)
        ends = {key: self.log.partition(*key).end for key in task.inputs}
        at_end = {key: (offset or 0) >= ends[key] for key, offset in task.ends().items()}
        task.look(now_ms, at_end, patient=patient)
        return task.has_waiting

    def checkpoint(self, name: TaskName, until: CheckpointStep = "commit") -> bool:
        """Takes a checkpoint, or its first steps; returns whether there was anything new.

        A checkpoint that is not taken to its end leaves the task as a crash would: drop it. A task
        that another worker has taken over is dropped here, as soon as its changelog tells.
        """
        if until not in STEPS:
            raise UsageError(f"{until!r} is no step of a checkpoint; there are {', '.join(STEPS)}")
        task = self.task(name)
        sub = self._subs[name.sub_topology]
        self.look(name, self._now_ms, patient=True)
        task.emit_markers()
        self.send_outputs(name)
        if until == "outputs":
            return True
        checkpoint = task.prepare_checkpoint()
        if checkpoint is None:
            return False
        changelog = self.log.partition(sub.changelog_topic, name.partition)
        keys, values = checkpoint.changelog_keys, checkpoint.changelog_values
        begin = changelog.end
        end = changelog.append(keys, values, [0] * len(keys))
        if begin != self._changelog_next[name]:
            self.drop(name)
            return True
        self._changelog_next[name] = end
        if until == "changelog":
            return True
        task.commit_checkpoint(checkpoint, end)
        if until == "state":
            return True
        task.apply_decisions()
        self._process(name)
        for position, offset in checkpoint.positions.items():
            self.log.committed[position] = (offset, checkpoint.metadata)
        return True

    def take_snapshot(self, name: TaskName) -> None:
        """Copies a task's state as of its last checkpoint."""
        self.task(name)
        store = self._stores[name]
        if store.sequence:
            store.take_snapshot()

    def drop(self, name: TaskName) -> None:
        """Ends a task without a checkpoint: what is not durable is gone."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.close()

    def drop_all(self) -> None:
        """Ends all tasks without a checkpoint, and forgets the tables."""
        for name in list(self._tasks):
            self.drop(name)
        self._ledgers.clear()
        self.tables = self.plan.new_tables()
        self._tables_read = {}
