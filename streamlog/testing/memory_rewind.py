"""Rewinds a pipeline over a `MemoryLog`: the real decisions and the real steps, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.errors import HistoryError
from streamlog.processing.rewind.decide import TaskPast, decide
from streamlog.processing.rewind.intent import forget_intent, load_intent, save_intent
from streamlog.processing.rewind.outline import outline_of
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
from streamlog.processing.rewind.target import Edge

if TYPE_CHECKING:
    from streamlog.processing.rewind.decide import Decision
    from streamlog.processing.rewind.intent import Intent
    from streamlog.processing.rewind.procedure import Step
    from streamlog.processing.rewind.target import Target
    from streamlog.processing.worker.placement import TaskName
    from streamlog.testing.memory_worker import MemoryWorker


class MemoryRewind:
    """Rewinds what one worker has run; its tasks are dropped first, as by a kill.

    Args:
        worker: The worker.
    """

    def __init__(self, worker: MemoryWorker) -> None:
        self._worker = worker
        self._outline = outline_of(worker.plan)
        self._opened: dict[TaskName, OpenTask] = {}

    def rewind(
        self, target: Target, *, rebuild: bool = False, steps_max: int | None = None
    ) -> Decision:
        """Rewinds; finishes one that was cut short first.

        Args:
            target: Where to.
            rebuild: Let tasks whose history does not reach go to a snapshot, or begin anew.
            steps_max: Die behind so many steps.

        Raises:
            HistoryError: If the history does not reach.
        """
        self.finish()
        self._open()
        try:
            self._refuse_remains(target)
            decision = decide(self._outline, self._pasts(), target, rebuild=rebuild)
            if not decision.possible:
                names = ", ".join(map(str, decision.out_of_reach))
                raise HistoryError(f"the history of {names} does not reach back so far")
            name = f"rewind-{self._worker.log.next_rewind()}"
            intent = intent_of(decision, self._outline, id=name, target=str(target), host="memory")
            self._do(intent, steps_max)
        finally:
            self._close()
        return decision

    def _refuse_remains(self, target: Target) -> None:
        inputs = {sub.name: sub.input_topics for sub in self._outline.subs}
        committed = self._worker.log.committed
        places = {
            (topic, name.partition): name
            for name in self._opened
            for topic in inputs[name.sub_topology]
        }
        notes = {name: committed[at][1] for at, name in places.items() if at in committed}
        if target is not Edge.START and cut_short(self._opened, notes):
            raise HistoryError(
                "a rewind was cut short and its intent is lost: only the start is left"
            )

    def finish(self) -> bool:
        """Finishes a rewind that was cut short; returns whether there was one to finish."""
        intent = load_intent(self._worker.folder)
        if intent is None:
            return False
        self._open()
        try:
            if was_given_up(intent, self._opened):
                forget_intent(self._worker.folder)
                return False
            self._do(intent, None)
        finally:
            self._close()
        return True

    def _open(self) -> None:
        worker = self._worker
        worker.drop_all()
        for name in worker.task_names:
            store, epoch = worker.open_store(name)
            self._opened[name] = OpenTask(store, epoch, worker.changelog_of(name).end)

    def _close(self) -> None:
        for task in self._opened.values():
            task.store.close()
        self._opened = {}

    def _pasts(self) -> dict[TaskName, TaskPast]:
        inputs = {sub.name: sub.input_topics for sub in self._outline.subs}
        return {
            name: TaskPast(
                checkpoints=task.store.checkpoints(),
                snapshots=[each.checkpoint for each in task.store.snapshots()],
                extents={
                    topic: (0, self._worker.log.partition(topic, name.partition).end)
                    for topic in inputs[name.sub_topology]
                },
            )
            for name, task in self._opened.items()
        }

    def _do(self, intent: Intent, steps_max: int | None) -> None:
        for number, step in enumerate(carry_out(intent, self._opened)):
            if number == steps_max:
                return
            self._step(step)

    def _step(self, step: Step) -> None:
        worker = self._worker
        match step:
            case SaveIntent(intent):
                save_intent(worker.folder, intent)
            case TellGroup(offsets):
                worker.log.committed.update(offsets)
            case TellChangelog(name, keys, values):
                changelog = worker.changelog_of(name)
                end = changelog.append(keys, values, [0] * len(keys))
                self._opened[name].changelog_next = end
            case ChangeState(name, undone, meta):
                task = self._opened[name]
                task.store.rewind(undone, meta, task.changelog_next)
            case ForgetIntent():
                forget_intent(worker.folder)
