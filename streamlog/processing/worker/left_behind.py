"""What a pipeline would leave behind if it ran as it is declared now.

A sub-topology is known by the name of its cut: a `key_by`, a merge, a join. If that is renamed, the
sub-topology under the new name begins with nothing, and what was open in the old one (windows,
records that wait, records on their way) would never come out. The group still knows the topic that
it read there, so this is seen before anything runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.errors import LayoutChangedError
from streamlog.processing.worker.note import parse_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.admin.admin import Admin
    from streamlog.client.values import OffsetAndMetadata, TopicPartition
    from streamlog.processing.plan.plan import Plan

SUFFIX = ".repartition"


def left_behind(plan: Plan, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> list[str]:
    """Returns the topics of its own that the pipeline has read and does not read any more."""
    read = {topic for sub in plan.sub_topologies for topic in sub.input_topics}
    return sorted(
        {
            at.topic
            for at, entry in committed.items()
            if at.topic.startswith(f"{plan.name}.")
            and at.topic.endswith(SUFFIX)
            and at.topic not in read
            and parse_note(entry.metadata) is not None
        }
    )


async def refuse_to_leave_behind(admin: Admin, plan: Plan) -> None:
    """Refuses to run a pipeline without a sub-topology that it had; deleting its topics agrees.

    Raises:
        LayoutChangedError: If there is one.
    """
    gone = left_behind(plan, await admin.group_offsets(plan.name))
    there = sorted(await admin.describe_topics(gone)) if gone else []
    if not there:
        return
    name = there[0].removeprefix(f"{plan.name}.").removesuffix(SUFFIX)
    topics = " ".join(f"{each} {each.removesuffix(SUFFIX)}.changelog" for each in there)
    raise LayoutChangedError(
        f'pipeline "{plan.name}" had a sub-topology "{name}", which is not in it any more: what is '
        "open there would never come out",
        hint=f'If a step was renamed, give it its name back: name="{name}". Or build the new '
        "version's state beside: streamlog replay FILE:PIPELINE --as v2. Or agree to lose it: "
        f"streamlog topic delete {topics} --execute",
    )
