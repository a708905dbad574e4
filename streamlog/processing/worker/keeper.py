"""Finds out which copies this worker is to keep warm, and says when one is.

The group protocol tells a member what it runs and nothing else. But whoever reads the group's
description has the same facts as its leader, every worker's word among them, and places the copies
as the leader would. So once for each generation that is what every worker does.

A copy that is warmed up for a task which is to move here asks for a rebalance once it is good:
the leader then finds it in this worker's word and lets the task go.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.admin import Admin
from streamlog.client.errors import is_retriable
from streamlog.errors import StreamlogError

if TYPE_CHECKING:
    from streamlog.client.membership.member import GroupMember
    from streamlog.processing.worker.assignor import TaskAssignor
    from streamlog.processing.worker.placement import Placement, TaskName
    from streamlog.processing.worker.setting import Setting
    from streamlog.processing.worker.standby import Standbys

logger = logging.getLogger(__name__)

LOOK_INTERVAL_S = 1.0
PROBE_INTERVAL_S = 30.0
"""Between two rebalances that copies ask for; each costs all workers a moment."""
WARM_UPS_MAX = 2
"""Copies that one worker warms up at a time, so that the first is soon good."""


async def keep_copies(
    setting: Setting, assignor: TaskAssignor, member: GroupMember, standbys: Standbys
) -> None:
    """Follows what the placement says, generation by generation, until cancelled."""
    known = -1
    warming: list[TaskName] = []
    probe_at = 0.0
    while True:
        await member.wait_joined()
        if member.generation != known:
            generation = member.generation
            placement = await _placement(setting, assignor)
            if placement is not None and member.member_id in placement.active:
                known = generation
                warming = placement.warming[member.member_id][:WARM_UPS_MAX]
                await standbys.follow([*placement.standbys[member.member_id], *warming])
        if trio.current_time() >= probe_at and any(map(standbys.is_warm, warming)):
            logger.info("a copy is warm: asking for a rebalance, to take its task over")
            probe_at = trio.current_time() + PROBE_INTERVAL_S
            member.request_rejoin()
        await trio.sleep(LOOK_INTERVAL_S)


async def _placement(setting: Setting, assignor: TaskAssignor) -> Placement | None:
    """What the leader found; nothing while the group is not at rest."""
    try:
        group = (await Admin(setting.client).describe_groups([setting.plan.name])).get(
            setting.plan.name
        )
    except StreamlogError as error:
        if not is_retriable(error):
            # A broker may forbid it. The tasks run all the same, only without copies.
            logger.warning("no warm copies are kept: %s", error.message)
        return None
    if group is None or group.assignor != assignor.name:
        return None
    members = [each.subscription for each in group.members if each.subscription is not None]
    if not members or len(members) < len(group.members):
        return None
    return assignor.place(setting.partition_counts, members)
