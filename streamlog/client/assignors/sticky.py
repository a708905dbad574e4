"""The sticky assignor: balanced, and as like the last assignment as balance allows; eager.

Members give up their partitions before they join, so what they owned travels in the user data:
Kafka's `StickyAssignorUserData` v1, an array of topics with partition numbers, then the generation.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from streamlog.client.assignors.assignor import NO_GENERATION, Assignment, MemberSubscription
from streamlog.client.assignors.balance import Balancer, settle_claims
from streamlog.client.values import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class StickyAssignor:
    """Kafka's `StickyAssignor`."""

    name = "sticky"
    cooperative = False

    def user_data(self, owned: Sequence[TopicPartition], generation: int) -> bytes | None:
        """What the member has had until now, and since which generation."""
        return encode_user_data(owned, generation) if owned else None

    def assign(
        self, partitions_by_topic: Mapping[str, int], members: Sequence[MemberSubscription]
    ) -> Assignment:
        """Assigns as `Balancer` describes it."""
        informed = [with_user_data(member) for member in members]
        owners = settle_claims(informed, partitions_by_topic)
        return Balancer(partitions_by_topic, informed, owners).run()


def with_user_data(member: MemberSubscription) -> MemberSubscription:
    """Puts what the user data says in place of `owned` and `generation`."""
    owned, generation = decode_user_data(member.user_data)
    return replace(member, owned=owned, generation=generation)


def encode_user_data(owned: Sequence[TopicPartition], generation: int) -> bytes:
    """Writes user data, v1."""
    by_topic: dict[str, list[int]] = {}
    for partition in sorted(owned):
        by_topic.setdefault(partition.topic, []).append(partition.partition)
    parts = [struct.pack(">i", len(by_topic))]
    for topic, numbers in by_topic.items():
        name = topic.encode()
        parts.append(struct.pack(f">h{len(name)}si", len(name), name, len(numbers)))
        parts.append(struct.pack(f">{len(numbers)}i", *numbers))
    parts.append(struct.pack(">i", generation))
    return b"".join(parts)


def decode_user_data(data: bytes | None) -> tuple[tuple[TopicPartition, ...], int]:
    """Reads user data of v1, or of v0 (without generation).

    Data that makes no sense comes from a client with other ideas; as in Kafka it counts as nothing.

    >>> decode_user_data(encode_user_data([TopicPartition("t", 3)], 7))
    ((TopicPartition(topic='t', partition=3),), 7)
    >>> decode_user_data(b"?")
    ((), -1)
    """
    if not data:
        return (), NO_GENERATION
    try:
        owned, position = _read_topics(data)
        if position == len(data):
            return owned, NO_GENERATION
        (generation,) = struct.unpack_from(">i", data, position)
    except (struct.error, UnicodeDecodeError):
        return (), NO_GENERATION
    return owned, generation


def _read_topics(data: bytes) -> tuple[tuple[TopicPartition, ...], int]:
    (topic_count,) = struct.unpack_from(">i", data, 0)
    position = 4
    owned: list[TopicPartition] = []
    for _ in range(topic_count):
        (size,) = struct.unpack_from(">h", data, position)
        topic = struct.unpack_from(f">{max(size, 0)}s", data, position + 2)[0].decode()
        position += 2 + max(size, 0)
        (count,) = struct.unpack_from(">i", data, position)
        if not 0 <= count <= len(data) // 4:
            raise struct.error("more partitions than the data can hold")
        numbers = struct.unpack_from(f">{count}i", data, position + 4)
        owned += [TopicPartition(topic, number) for number in numbers]
        position += 4 + 4 * count
    return tuple(owned), position
