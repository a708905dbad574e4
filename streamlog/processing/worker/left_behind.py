"""What a pipeline would leave behind if it ran as it is declared now.

A sub-topology is known by the name of its cut: a `key_by`, a merge, a join. If that is renamed, the
sub-topology under the new name begins with nothing, and what was open in the old one (windows,
records that wait, records on their way) would never come out. The group still knows the topic that
it read there, so this is seen before anything runs. The same goes for an input that is not read any
more, if windows or other state stand directly on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.client.values import TopicPartition
from streamlog.processing.errors import LayoutChangedError
from streamlog.processing.replay.standing import last_checkpoints
from streamlog.processing.worker.note import parse_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.client.client import Client
    from streamlog.client.values import OffsetAndMetadata
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


async def refuse_to_leave_behind(client: Client, plan: Plan) -> None:
    """Refuses to run a pipeline without what it had; deleting the topics of that agrees.

    Raises:
        LayoutChangedError: If it has lost a sub-topology, or an input of which it keeps state.
    """
    admin = Admin(client)
    committed = await admin.group_offsets(plan.name)
    gone = left_behind(plan, committed)
    there = sorted(await admin.describe_topics(gone)) if gone else []
    if there:
        name = there[0].removeprefix(f"{plan.name}.").removesuffix(SUFFIX)
        topics = " ".join(f"{each} {each.removesuffix(SUFFIX)}.changelog" for each in there)
        raise LayoutChangedError(
            f'pipeline "{plan.name}" had a sub-topology "{name}", which is not in it any more: '
            "what is open there would never come out",
            hint=f'If a step was renamed, give it its name back: name="{name}". {_ways(topics)}',
        )
    for topic in removed_inputs(plan, committed):
        changelog = f"{plan.name}.{topic}.changelog"
        steps = await _steps_with_state(client, changelog)
        if steps:
            raise LayoutChangedError(
                f'pipeline "{plan.name}" does not read "{topic}" any more, and had state right '
                f"behind it, in {', '.join(steps)}: what is open there would never come out",
                hint=f"Read it again. {_ways(changelog)}",
            )


def removed_inputs(plan: Plan, committed: Mapping[TopicPartition, OffsetAndMetadata]) -> list[str]:
    """Returns the topics of others that the pipeline has read and does not read any more."""
    read = {topic for sub in plan.sub_topologies for topic in sub.input_topics}
    return sorted(
        {
            at.topic
            for at, entry in committed.items()
            if at.topic not in read
            and not at.topic.startswith(f"{plan.name}.")
            and parse_note(entry.metadata) is not None
        }
    )


async def _steps_with_state(client: Client, changelog: str) -> list[str]:
    """The steps of which the last checkpoints in a changelog have rows."""
    topic = (await Admin(client).describe_topics([changelog])).get(changelog)
    if topic is None:
        return []
    places = [TopicPartition(changelog, each.partition) for each in topic.partitions]
    metas = (await last_checkpoints(client, places)).values()
    return sorted({f'"{step}"' for meta in metas for step in meta.layout})


def _ways(topics: str) -> str:
    return (
        "Or build the new version's state beside: streamlog replay FILE:PIPELINE --as v2. "
        f"Or agree to lose it: streamlog topic delete {topics} --execute"
    )
