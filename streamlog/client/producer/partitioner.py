"""Which partition a record goes to, as Kafka's Java producer decides it.

A key always goes to the same partition: murmur2 of its bytes, so that every client of the topic
agrees. Records without a key stick to one partition until a batch's worth of bytes has gone there,
then to another one at random (KIP-794): full batches, and even loads over time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.records.murmur2 import partition_of

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

CACHED_KEYS_MAX = 50_000
"""Per topic; then the cache is emptied. A hash in pure Python costs more than the look-up."""


class Partitioner:
    """Chooses partitions.

    Args:
        rng: Where the next partition for records without keys comes from.
        stick_bytes: How much goes to one partition before the next.
    """

    def __init__(self, rng: random.Random, stick_bytes: int) -> None:
        self._rng = rng
        self._stick_bytes = stick_bytes
        self._sticky: dict[str, tuple[int, int]] = {}
        self._cached: dict[str, tuple[int, dict[bytes, int]]] = {}

    def of_key(self, topic: str, key: bytes, partition_count: int) -> int:
        """Returns the partition of a key."""
        count, known = self._cached.get(topic, (0, {}))
        if count != partition_count or len(known) >= CACHED_KEYS_MAX:
            known = {}
            self._cached[topic] = (partition_count, known)
        partition = known.get(key)
        if partition is None:
            partition = known[key] = partition_of(key, partition_count)
        return partition

    def without_key(self, topic: str, available: Sequence[int], size: int) -> int:
        """Returns the partition for a record of this size that has no key.

        Args:
            topic: Its topic.
            available: The partitions that have leaders, or all of them if none has.
            size: In bytes.
        """
        partition, left = self._sticky.get(topic, (-1, 0))
        if left <= 0 or partition not in available:
            others = [each for each in available if each != partition]
            partition = self._rng.choice(others or list(available))
            left = self._stick_bytes
        self._sticky[topic] = (partition, left - size)
        return partition
