"""The group's word made deed: tasks that are given are taken over, tasks that go are ended.

The member calls from its own task, and must not be kept waiting, because a rebalance waits for it:
restores run beside it, one for each task, and are given up when their task goes elsewhere before
they are done. Tasks whose state is complete run meanwhile.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import trio

from streamlog.client.errors import CommitRefusedError
from streamlog.processing.plan.naming import Naming
from streamlog.processing.replay.registry_topic import read_registry
from streamlog.processing.worker.copies import is_held, read_copy
from streamlog.processing.worker.restore import take_over
from streamlog.processing.worker.status import RestoreFigures

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamlog.client.membership.member import GroupMember
    from streamlog.client.producer.producer import Producer
    from streamlog.client.values import TopicPartition
    from streamlog.processing.worker.assignor import TaskAssignor
    from streamlog.processing.worker.pipeline_worker import PipelineWorker
    from streamlog.processing.worker.placement import TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.standby import Standbys
    from streamlog.processing.worker.status import PipelineStatus

logger = logging.getLogger(__name__)

LET_GO_TIMEOUT_S = 5.0
"""A standby looks at its group every second."""
LET_GO_POLL_S = 0.05


@dataclass(slots=True)
class _Restore:
    contested: bool
    """Whether another worker was seen on the task: then the group must confirm it is ours."""
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)


class TakeOvers:
    """The listener of the group member; its restores run in `run`, which the worker owns."""

    def __init__(
        self,
        setting: Setting,
        assignor: TaskAssignor,
        producer: Producer,
        worker: PipelineWorker,
        status: PipelineStatus,
        standbys: Standbys,
    ) -> None:
        self._status = status
        self._standbys = standbys
        self._setting = setting
        self._assignor = assignor
        self._producer = producer
        self._worker = worker
        self._restores: dict[TaskName, _Restore] = {}
        self._names_checked = False
        """Whether the registry was asked since this worker is seen in the group."""
        names = sum(len(setting.task_names(sub)) for sub in setting.plan.sub_topologies)
        self._send, self._receive = trio.open_memory_channel[tuple["TaskName", _Restore]](names)
        worker.retake = partial(self.begin, contested=True)

    async def run(self, member: GroupMember) -> None:
        """Runs the restores that are asked for, until cancelled."""
        async with trio.open_nursery() as nursery:
            async for name, restore in self._receive:
                nursery.start_soon(self._restore, member, name, restore)

    async def wait_settled(self) -> None:
        """Waits until nothing is being restored."""
        while self._restores:
            await next(iter(self._restores.values())).over.wait()

    async def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        """Begins to restore the tasks of these partitions."""
        for name in sorted(self._assignor.tasks_of(partitions)):
            await self.begin(name)

    async def begin(self, name: TaskName, *, contested: bool = False) -> None:
        """Begins to restore one task; a contested one only if the group says that it is ours."""
        restore = _Restore(contested)
        self._restores[name] = restore
        await self._send.send((name, restore))

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        """Ends the tasks after a last checkpoint: they are still ours until this returns."""
        await self._end(partitions, checkpoint=True)

    async def on_lost(self, partitions: Collection[TopicPartition]) -> None:
        """Ends the tasks as they are: they may be another worker's already."""
        self._names_checked = False
        await self._end(partitions, checkpoint=False)

    async def _check_names(self) -> None:
        """Looks whether the pipeline was swapped for a version before the group knew of us.

        A swap announces itself and then looks for members; we are a member and then look for a
        swap. So one of the two sees the other.
        """
        if not self._names_checked:
            setting = self._setting
            registry = await read_registry(setting.client)
            registry.check(setting.pipeline, setting.config.naming or Naming(setting.plan.name))
            self._names_checked = True

    async def _end(self, partitions: Collection[TopicPartition], *, checkpoint: bool) -> None:
        names = sorted(self._assignor.tasks_of(partitions))
        for name in names:
            restore = self._restores.pop(name, None)
            if restore is not None:
                restore.scope.cancel()
                await restore.over.wait()
        await self._worker.detach(names, checkpoint=checkpoint)
        self._standbys.give_back(names)

    async def _restore(self, member: GroupMember, name: TaskName, restore: _Restore) -> None:
        figures = self._status.restores[name] = RestoreFigures(trio.current_time())
        try:
            with restore.scope:
                await self._check_names()
                await self._standbys.take(name)
                await self._wait_let_go(name)
                committed = await member.committed(self._setting.inputs_of(name))
                if restore.contested:
                    # Changes nothing, but is refused if our generation is outdated. Without
                    # anything committed it says nothing; then our heartbeats tell, and until then
                    # two owners fence each other, which costs time but never a record.
                    await member.commit({key: at for key, at in committed.items() if at})
                running = await take_over(
                    self._setting, name, self._producer, member.generation, committed, figures
                )
                try:
                    await self._worker.attach(name, running)
                finally:
                    if not self._worker.runs(running):
                        running.task.close()
        except CommitRefusedError as error:
            logger.info("task %s went elsewhere while it was restored: %s", name, error)
        except Exception as error:  # noqa: BLE001 (the worker reports it and leaves the group)
            self._worker.fail(error)
        finally:
            if self._restores.get(name) is restore:
                del self._restores[name]
            self._status.restored_records += figures.records
            if self._status.restores.get(name) is figures:
                del self._status.restores[name]
            restore.over.set()

    async def _wait_let_go(self, name: TaskName) -> None:
        """Waits for another worker of this machine that keeps the task's state warm.

        It learns soon that nobody needs that here any more. One that is paused does not, and then a
        copy beside the state is used.
        """
        home = self._setting.home_of(name)
        with trio.move_on_after(LET_GO_TIMEOUT_S):
            while (copy := read_copy(home)) is not None and copy.is_warm and is_held(home):  # noqa: ASYNC110
                await trio.sleep(LET_GO_POLL_S)
