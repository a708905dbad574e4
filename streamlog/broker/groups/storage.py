"""How groups and their offsets are kept in the coordination store.

    /consumers/<group>                                  the group as of its last stored generation
    /consumers/<group>/offsets/<topic>/<partition>      a committed offset

Values are JSON, names are escaped as the store's paths want it. A group's node is empty if nobody
ever joined it: offsets alone make a group, too. What is measured by the monotonic clock in memory
is wall time on disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from streamlog.broker.coordination.errors import StoreDamaged
from streamlog.broker.coordination.store import (
    NAME_BYTES_MAX,
    DeleteTree,
    MetadataStore,
    Operation,
    Put,
    escape,
    join_path,
    unescape,
)
from streamlog.broker.groups.decision import GroupSnapshot
from streamlog.broker.groups.offsets import CommittedOffset, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

GROUPS = "/consumers"


@dataclass(slots=True)
class StoredGroup:
    """What the store holds of one group."""

    snapshot: GroupSnapshot | None = None
    offsets: dict[TopicPartition, CommittedOffset] = field(default_factory=dict)


def can_be_stored(group_id: str) -> bool:
    """Tells whether a group id fits into a node's name."""
    return len(escape(group_id)) <= NAME_BYTES_MAX


def put_group(group_id: str, snapshot: GroupSnapshot, wall_offset_ms: int) -> list[Operation]:
    """Stores a group; `wall_offset_ms` is wall time less monotonic time."""
    stored = msgspec.structs.replace(snapshot, since_ms=snapshot.since_ms + wall_offset_ms)
    return [Put(join_path("consumers", group_id), msgspec.json.encode(stored))]


def delete_group(group_id: str) -> list[Operation]:
    """Removes a group with its offsets."""
    return [DeleteTree(join_path("consumers", group_id))]


def put_offsets(
    group_id: str, offsets: Mapping[TopicPartition, CommittedOffset]
) -> list[Operation]:
    """Stores committed offsets."""
    return [Put(_offset_path(group_id, at), msgspec.json.encode(offsets[at])) for at in offsets]


def delete_offsets(group_id: str, partitions: Iterable[TopicPartition]) -> list[Operation]:
    """Removes committed offsets."""
    return [DeleteTree(_offset_path(group_id, at)) for at in partitions]


async def load_groups(store: MetadataStore, wall_offset_ms: int) -> dict[str, StoredGroup]:
    """Reads all groups.

    Raises:
        StoreDamaged: A node does not hold what it should; its path is named.
    """
    groups: dict[str, StoredGroup] = {}
    for path, node in (await store.tree(GROUPS)).items():
        names = [unescape(name) for name in path.split("/")[2:]]
        try:
            match names:
                case [group_id]:
                    groups[group_id] = StoredGroup(_decode_group(node.value, wall_offset_ms))
                case [group_id, "offsets", topic, partition]:
                    at = (topic, int(partition))
                    decoded = msgspec.json.decode(node.value, type=CommittedOffset)
                    groups[group_id].offsets[at] = decoded
                case _:
                    pass  # a folder
        except (msgspec.DecodeError, ValueError) as error:
            raise StoreDamaged(
                f"the coordination store's node {path} cannot be read: {error}",
                hint="Restore the store from a copy",
            ) from error
    return groups


def _decode_group(value: bytes, wall_offset_ms: int) -> GroupSnapshot | None:
    if not value:
        return None
    stored = msgspec.json.decode(value, type=GroupSnapshot)
    return msgspec.structs.replace(stored, since_ms=stored.since_ms - wall_offset_ms)


def _offset_path(group_id: str, partition: TopicPartition) -> str:
    return join_path("consumers", group_id, "offsets", partition[0], str(partition[1]))
