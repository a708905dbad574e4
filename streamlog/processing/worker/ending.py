"""Watches for the end of the input, with the brokers' words for it; `completion` decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.values import EARLIEST, LATEST, TopicPartition
from streamlog.processing.worker.completion import Committed, Completion, Input, Stage
from streamlog.processing.worker.note import parse_note

if TYPE_CHECKING:
    from streamlog.client.membership.member import GroupMember
    from streamlog.processing.worker.pipeline_worker import PipelineWorker
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.takeover import TakeOvers
    from streamlog.processing.worker.task import Task

ASK_INTERVAL_S = 0.1
"""Between two looks at what the group has committed."""
LOOKS_BEFORE_DOUBT = 20
"""Without news, before it is asked whether what is waited for is still there."""


def stages_of(setting: Setting) -> list[Stage]:
    """Describes the pipeline's sub-topologies to `Completion`, those upstream first."""
    return [
        Stage(
            name=sub.name,
            inputs=tuple(
                (each.topic, each.partition)
                for task in setting.task_names(sub)
                for each in setting.inputs_of(task)
            ),
            upstream=tuple(sub.upstream),
        )
        for sub in setting.plan.sub_topologies
    ]


async def watch_for_the_end(
    setting: Setting, member: GroupMember, take_overs: TakeOvers, worker: PipelineWorker
) -> None:
    """Sets `worker.finished` once everything is read; has source tasks drain when all is.

    It waits until this worker's share is restored, also if there is nothing to read: a run that
    could not go on with its state says so.
    """
    stages = stages_of(setting)
    completion = Completion(stages, drain=setting.config.drain)
    worker.goal_of = completion.goal
    inputs = [TopicPartition(*key) for stage in stages for key in stage.inputs]

    def goal_reached(task: Task) -> bool:
        for key, offset in task.positions().items():
            goal = completion.goal(key)
            if goal is None or (offset or 0) < goal:
                return False
        return True

    idle_looks = 0
    while not completion.complete:
        wanted = completion.wanted_ends()
        if wanted:
            ends = await _ends(Admin(setting.client), wanted)
            span = setting.config.span
            completion.set_ends({key: span.narrow(key, *extent) for key, extent in ends.items()})
        if completion.may_drain:
            await worker.drain_where_read(
                lambda task: (
                    not setting.sub_topology(task.id.sub_topology).upstream and goal_reached(task)
                )
            )
        committed: dict[Input, Committed] = {}
        for key, position in (await member.committed(inputs)).items():
            if position is not None:
                note = parse_note(position.metadata)
                drained = note is not None and note.drained
                committed[key.topic, key.partition] = Committed(position.offset, drained)
        if completion.update(committed):
            idle_looks = 0
            continue
        idle_looks += 1
        if idle_looks % LOOKS_BEFORE_DOUBT == 0:
            await _forget_deleted(setting, completion)
        await trio.sleep(ASK_INTERVAL_S)
    await member.wait_joined()
    await take_overs.wait_settled()
    worker.finished.set()


async def _forget_deleted(setting: Setting, completion: Completion) -> None:
    """Looks whether retention has deleted what is waited for, before any task had begun with it."""
    places = [TopicPartition(*key) for key in completion.pending()]
    begins = await Admin(setting.client).list_offsets(dict.fromkeys(places, EARLIEST))
    completion.forget_deleted(
        {(key.topic, key.partition): at.offset for key, at in begins.items() if at is not None}
    )


async def _ends(admin: Admin, inputs: list[Input]) -> dict[Input, tuple[int, int]]:
    partitions = [TopicPartition(*key) for key in inputs]
    begins = await admin.list_offsets(dict.fromkeys(partitions, EARLIEST))
    ends = await admin.list_offsets(dict.fromkeys(partitions, LATEST))
    found: dict[Input, tuple[int, int]] = {}
    for key in partitions:
        begin, end = begins[key], ends[key]
        assert begin is not None
        assert end is not None
        found[key.topic, key.partition] = (begin.offset, end.offset)
    return found
