"""Are sources that are read together partitioned by the same rule? A look at their first keys.

Equal keys of two topics are in partitions of one number only if whoever wrote them chose partitions
in the same way, and clients have different defaults: Java's take murmur2 of the key (Kafka's
`BuiltInPartitioner`), librdkafka's CRC32 (`consistent_random`). Nothing in a topic says which. But
if the keys of one source all are where murmur2 puts them, and those of another are not, then they
do not meet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from streamlog.records.murmur2 import partition_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEYS_MIN: Final = 16
"""Different keys of a source before anything is said of it."""
KEYS_MAX: Final = 64
"""As many are looked at."""
STRAY_SHARE: Final = 0.2
"""So many keys elsewhere are no accident of one writer."""


class Partitioning:
    """Looks at the keys of one partition of several topics.

    Args:
        topics: The topics.
        partition: The partition.
        partition_count: Of each topic.
    """

    def __init__(self, topics: Sequence[str], partition: int, partition_count: int) -> None:
        self._topics = topics
        self._partition = partition
        self._partition_count = partition_count
        self._keys: list[set[bytes]] = [set() for _ in topics]
        self._is_done = partition_count == 1

    def look(self, number: int, keys: Iterable[bytes | None]) -> str | None:
        """Looks at keys of one of the topics; returns what there is to warn of, once."""
        seen = self._keys[number]
        if self._is_done or len(seen) >= KEYS_MAX:
            return None
        for key in keys:
            if key is not None:
                seen.add(key)
                if len(seen) >= KEYS_MAX:
                    break
        strays = [self._strays(each) for each in self._keys]
        if 0 not in strays:
            return None
        for other, keys_there in enumerate(self._keys):
            stray = strays[other]
            if stray is not None and stray > STRAY_SHARE * len(keys_there):
                self._is_done = True
                return self._warning(other, self._topics[strays.index(0)])
        return None

    def _strays(self, keys: set[bytes]) -> int | None:
        """How many keys are not where murmur2 puts them; nothing if there are too few to say."""
        if len(keys) < KEYS_MIN:
            return None
        return sum(partition_of(key, self._partition_count) != self._partition for key in keys)

    def _warning(self, number: int, other: str) -> str:
        key = next(
            each
            for each in sorted(self._keys[number])
            if partition_of(each, self._partition_count) != self._partition
        )
        there = partition_of(key, self._partition_count)
        return (
            f"topics {other} and {self._topics[number]} are partitioned by different rules, so "
            f"equal keys do not meet: key {key.decode(errors='replace')!r} of "
            f"{self._topics[number]} is in partition {self._partition}, but in {other} it would be "
            f"in {there}. Write .repartition() behind the stream in front of the join, or have "
            "both written by the same kind of client (librdkafka: partitioner=murmur2_random)"
        )
