"""The topics of a pipeline: its sources must be there, its own are created if they are not."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from streamlog.client.admin.values import NewTopic
from streamlog.client.errors import ErrorCode, KafkaError
from streamlog.errors import NotFoundError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from streamlog.client.admin.admin import Admin
    from streamlog.client.admin.values import TopicDescription
    from streamlog.processing.plan.topics import TopicSpec

APPEAR_TIMEOUT_S = 30
"""A topic that was created is in every broker's metadata well before that."""
APPEAR_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class PipelineTopics:
    """What the cluster says of a pipeline's topics."""

    partition_counts: Mapping[str, int]
    topic_ids: Mapping[str, str]


async def find_sources(
    admin: Admin, names: Sequence[str], awaited: Collection[str] = ()
) -> PipelineTopics:
    """Returns what there is to know of topics that must exist.

    Args:
        admin: Asks the brokers.
        names: The topics.
        awaited: Those that somebody is about to create: these are waited for a while.

    Raises:
        NotFoundError: If one does not; names the one that may have been meant.
    """
    found = await admin.describe_topics(names)
    with trio.move_on_after(APPEAR_TIMEOUT_S):
        while any(name not in found and name in awaited for name in names):
            await trio.sleep(APPEAR_POLL_S)
            found = await admin.describe_topics(names)
    for name in names:
        if name not in found:
            existing = [topic.name for topic in await admin.list_topics()]
            close = difflib.get_close_matches(name, existing, n=1)
            meant = f'Did you mean "{close[0]}"? ' if close else ""
            raise NotFoundError(
                f'topic "{name}" does not exist',
                hint=f"{meant}Create it: streamlog topic create {name}",
            )
    return _described(found)


async def ensure_topics(admin: Admin, specs: Sequence[TopicSpec]) -> PipelineTopics:
    """Creates those topics that are missing; checks those that are there.

    Raises:
        RefusedError: If a topic whose number of partitions matters has another number.
    """
    names = [spec.name for spec in specs]
    found = await admin.describe_topics(names)
    missing = [
        NewTopic(spec.name, spec.partition_count, configs=dict(spec.configs))
        for spec in specs
        if spec.name not in found
    ]
    for topic in missing:
        try:
            await admin.create_topics([topic])
        except KafkaError as error:
            # Another worker of this pipeline may have been quicker.
            if error.code is not ErrorCode.TOPIC_ALREADY_EXISTS:
                raise
    if missing:
        found = await _wait_until_there(admin, names)
    for spec in specs:
        count = len(found[spec.name].partitions)
        if spec.fixed and count != spec.partition_count:
            raise RefusedError(
                f'topic "{spec.name}" has {count} partitions, but the pipeline needs '
                f"{spec.partition_count}: its inputs have another number than when it began, and "
                "keys are in other partitions now",
                hint="Build a version with topics of the new number beside it: streamlog replay "
                "FILE:PIPELINE --as v2. Then have it take the pipeline's place: the same with "
                "--swap --execute",
            )
    return _described(found)


def _described(found: Mapping[str, TopicDescription]) -> PipelineTopics:
    return PipelineTopics(
        {name: len(topic.partitions) for name, topic in found.items()},
        {name: topic.topic_id for name, topic in found.items()},
    )


async def _wait_until_there(admin: Admin, names: Sequence[str]) -> dict[str, TopicDescription]:
    with trio.fail_after(APPEAR_TIMEOUT_S):
        while True:
            found = await admin.describe_topics(names)
            if all(
                name in found and all(p.leader >= 0 for p in found[name].partitions)
                for name in names
            ):
                return found
            await trio.sleep(APPEAR_POLL_S)
