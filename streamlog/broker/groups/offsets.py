"""The offsets that one group has committed, and those that wait for a transaction to end.

A transactional commit is *held*: readers do not see it, and those who ask for stable offsets are
told to come again, until its producer's transaction ends. When it commits, the held offsets count
unless somebody committed for the partition after they were held.

Expiry follows KIP-211. What the age of an offset is measured from depends on the group, so the
caller says it; what a transaction holds never expires, and an offset that came with its own
retention time keeps to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

TopicPartition: TypeAlias = tuple[str, int]


class CommittedOffset(msgspec.Struct, kw_only=True, frozen=True):
    """Where a group goes on in one partition."""

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    committed_at_ms: int
    """Wall time."""
    expires_at_ms: int | None = None
    """Set by clients that give a retention time; the group's rules do not count then."""


class Offsets:
    """Committed and held offsets of one group."""

    def __init__(self) -> None:
        self._committed: dict[TopicPartition, CommittedOffset] = {}
        self._held: dict[int, dict[TopicPartition, CommittedOffset]] = {}
        self._turn_of: dict[TopicPartition, int] = {}
        self._held_turn: dict[int, int] = {}
        self._turn = 0

    def __len__(self) -> int:
        return len(self._committed)

    def __iter__(self) -> Iterator[TopicPartition]:
        """Goes through all partitions with a committed offset, in order."""
        return iter(sorted(self._committed))

    @property
    def is_unused(self) -> bool:
        """Nothing is committed and nothing is held."""
        return not self._committed and not self._held

    def get(self, partition: TopicPartition) -> CommittedOffset | None:
        """Returns the committed offset of a partition."""
        return self._committed.get(partition)

    def put(self, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Takes in what was committed."""
        self._turn += 1
        self._committed.update(offsets)
        self._turn_of.update(dict.fromkeys(offsets, self._turn))

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forgets partitions."""
        for partition in partitions:
            self._committed.pop(partition, None)
            self._turn_of.pop(partition, None)

    def hold(self, producer_id: int, offsets: Mapping[TopicPartition, CommittedOffset]) -> None:
        """Takes in what a transaction will have committed if it commits."""
        self._turn += 1
        self._held.setdefault(producer_id, {}).update(offsets)
        self._held_turn[producer_id] = self._turn

    def complete(
        self, producer_id: int, *, committed: bool
    ) -> dict[TopicPartition, CommittedOffset]:
        """Ends a producer's transaction and returns the offsets that count from now on."""
        held = self._held.pop(producer_id, {})
        turn = self._held_turn.pop(producer_id, 0)
        if not committed:
            return {}
        counting = {at: held[at] for at in held if self._turn_of.get(at, 0) < turn}
        self.put(counting)
        return counting

    def is_unstable(self, partition: TopicPartition) -> bool:
        """Tells whether a transaction may still change a partition's offset."""
        return any(partition in held for held in self._held.values())

    def expired(
        self,
        now_ms: int,
        retention_ms: int,
        *,
        empty_since_ms: int | None = None,
        is_in_use: Callable[[str], bool] = lambda topic: False,
    ) -> list[TopicPartition]:
        """Returns the partitions whose offsets may go.

        Args:
            now_ms: Wall time.
            retention_ms: How long an offset is kept.
            empty_since_ms: What ages are measured from; by default the time of each commit.
            is_in_use: Tells of a topic whether a member of the group reads it.
        """

        def is_over(partition: TopicPartition, found: CommittedOffset) -> bool:
            if is_in_use(partition[0]) or self.is_unstable(partition):
                return False
            if found.expires_at_ms is not None:
                return now_ms >= found.expires_at_ms
            since_ms = found.committed_at_ms if empty_since_ms is None else empty_since_ms
            return now_ms - since_ms >= retention_ms

        return sorted(at for at, found in self._committed.items() if is_over(at, found))
