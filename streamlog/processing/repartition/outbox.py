"""Where a task's outputs gather until they are produced: by topic, then by partition.

The fused functions append to a `Collector`; once they have run, `Outbox.scatter` gives each record
its partition and, in a repartition topic, its position. The module is written in the typed subset
that mypyc compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from streamlog.processing.repartition.position import (
    DRAIN_INDEX,
    HEADER,
    INDEX_BITS,
    MARKER,
    MARKER_HEADER,
    NO_TIME,
    OFFSET_MAX,
    POSITION,
    TIMED_POSITION,
)
from streamlog.records.murmur2 import partition_of

if TYPE_CHECKING:
    from mypy_extensions import i64

    from streamlog.records.columns import Headers

NO_OFFSET: Final = -2
"""What comes before the first input has the offset -1."""
PARTITIONS_CACHED_MAX: Final = 100_000
"""Keys whose partition is remembered; beyond that they are forgotten all at once."""


_pack: Final = POSITION.pack
_pack_timed: Final = TIMED_POSITION.pack


class TooManyOutputsError(Exception):
    """There are no numbers left for outputs; its arguments: offset, message."""


class Collector:
    """What a fused function has put out for one topic, with the index of the input of each.

    Attributes:
        timestamps: Of each record, or empty if all have that of their input.
        times: The stream time by which the lateness of each is judged, likewise.
        headers: Of each record, or empty if none has any.
    """

    __slots__ = ("headers", "indices", "keys", "times", "timestamps", "values")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.indices: list[int] = []
        self.timestamps: list[int] = []
        self.times: list[int] = []
        self.headers: list[Headers] = []

    def drop(self, index: int) -> None:
        """Forgets what the input of this index has put out, if it is the last one that has."""
        indices = self.indices
        count = len(indices)
        while count > 0 and indices[count - 1] == index:
            count -= 1
        del indices[count:]
        del self.keys[count:]
        del self.values[count:]
        del self.timestamps[count:]
        del self.times[count:]
        del self.headers[count:]

    def clear(self) -> None:
        """Forgets everything; the lists stay the same objects."""
        self.keys.clear()
        self.values.clear()
        self.indices.clear()
        self.timestamps.clear()
        self.times.clear()
        self.headers.clear()


class Pile:
    """Records for one partition."""

    __slots__ = ("headers", "keys", "timestamps", "values")

    def __init__(self) -> None:
        self.keys: list[bytes | None] = []
        self.values: list[bytes | None] = []
        self.timestamps: list[int] = []
        self.headers: list[Headers] = []


Piles: TypeAlias = list[tuple[int, Pile]]


class Outbox:
    """The outputs for one topic.

    Args:
        topic: The topic.
        partition_count: How many partitions it has.
        own_partition: The task's; where records without a key go in a topic of results.
        writer: The id under which the task writes a repartition topic; -1 in a topic of results.
        epoch: The owner's epoch.

    Attributes:
        shift: How many blocks of sequences inputs have needed so far beyond their own.
    """

    __slots__ = (
        "_epoch",
        "_index",
        "_is_decided",
        "_keyless",
        "_offset",
        "_partition_count",
        "_partitions",
        "_piles",
        "_writer",
        "count",
        "shift",
        "topic",
    )

    def __init__(
        self, topic: str, partition_count: int, own_partition: int, writer: int, epoch: int
    ) -> None:
        self.topic = topic
        self.count: int = 0
        self._partition_count = partition_count
        self._writer = writer
        self._epoch = epoch
        self._keyless = own_partition % partition_count
        if writer >= 0:
            self._keyless = partition_of(b"", partition_count)
        self._partitions: dict[bytes, int] = {}
        self._piles: list[Pile | None] = [None] * partition_count
        self.shift: i64 = 0
        self._offset: i64 = NO_OFFSET
        self._index: i64 = 0
        self._is_decided: bool = False

    def scatter(
        self,
        collector: Collector,
        timestamps: list[int],
        offsets: list[int],
        times: list[int],
        record_times: list[int],
        lag_ms: int,
    ) -> None:
        """Takes what was collected; the lists are of the inputs to which `indices` point.

        Args:
            collector: What was collected.
            timestamps: The event time of each input.
            offsets: Where each was in the log.
            times: The task's stream time at each.
            record_times: The stream time by which the lateness of each is judged.
            lag_ms: How far what is written may be behind both.

        Raises:
            TooManyOutputsError: If there are no numbers left.
        """
        if self._writer >= 0:
            self._scatter_positioned(collector, timestamps, offsets, times, record_times, lag_ms)
        else:
            self._scatter_plain(collector, timestamps)
        self.count += len(collector.keys)
        collector.clear()

    def _scatter_plain(self, collector: Collector, timestamps: list[int]) -> None:
        keys = collector.keys
        values = collector.values
        retimed = collector.timestamps
        headers = collector.headers
        for position, index in enumerate(collector.indices):
            key = keys[position]
            pile = self._pile(self._partition(key))
            pile.keys.append(key)
            pile.values.append(values[position])
            pile.timestamps.append(retimed[position] if retimed else timestamps[index])
            if headers:
                pile.headers.append(headers[position])

    def _scatter_positioned(
        self,
        collector: Collector,
        timestamps: list[int],
        offsets: list[int],
        times: list[int],
        record_times: list[int],
        lag_ms: i64,
    ) -> None:
        keys = collector.keys
        values = collector.values
        retimed = collector.timestamps
        own_times = collector.times
        writer = self._writer
        epoch = self._epoch
        timestamp: i64
        time: i64
        record_time: i64
        for position, index in enumerate(collector.indices):
            key = keys[position]
            pile = self._pile(self._partition(key))
            pile.keys.append(key)
            pile.values.append(values[position])
            at = retimed[position] if retimed else timestamps[index]
            pile.timestamps.append(at)
            sequence = self._next_sequence(offsets[index])
            timestamp = at
            time = times[index]
            record_time = own_times[position] if own_times else record_times[index]
            record_time -= lag_ms
            # By how much it is in time depends on how writers mix: that must not show in state.
            if record_time < timestamp:
                record_time = timestamp
            if time != NO_TIME:
                time -= lag_ms
            if time == record_time:
                position_header = _pack(writer, epoch, sequence, time)
            else:
                position_header = _pack_timed(writer, epoch, sequence, time, record_time)
            pile.headers.append(((HEADER, position_header),))

    def begin_decided(self, offset: int, number: int) -> None:
        """What follows is caused by a decision or a drain, after the input at `offset`.

        Args:
            offset: Of the last input.
            number: How many outputs decisions behind that input have caused before.
        """
        if not self._is_decided:
            self.settle()
        self._offset = offset
        self._index = DRAIN_INDEX + number - 1
        self._is_decided = True

    def decided(self) -> int:
        """Returns how many outputs decisions behind the last input have caused."""
        return max(self._index + 1 - DRAIN_INDEX, 0)

    def mark(self, offset: int, time: int, kind: int) -> None:
        """Puts a marker into every partition: all that inputs up to `offset` caused is before."""
        sequence = offset + self.shift + self._spilled() << INDEX_BITS
        marker = MARKER.pack(self._writer, self._epoch, sequence, time, kind)
        headers: Headers = ((MARKER_HEADER, marker),)
        for partition in range(self._partition_count):
            pile = self._pile(partition)
            pile.keys.append(None)
            pile.values.append(None)
            pile.timestamps.append(max(time, 0))
            pile.headers.append(headers)

    def take(self) -> Piles:
        """Returns what has gathered, by partition, and forgets it."""
        taken: Piles = []
        for partition, pile in enumerate(self._piles):
            if pile is not None:
                taken.append((partition, pile))
        self._piles = [None] * self._partition_count
        return taken

    def _partition(self, key: bytes | None) -> i64:
        if key is None:
            return self._keyless
        found = self._partitions.get(key, -1)
        if found < 0:
            found = partition_of(key, self._partition_count)
            if len(self._partitions) >= PARTITIONS_CACHED_MAX:
                self._partitions.clear()
            self._partitions[key] = found
        return found

    def _pile(self, partition: i64) -> Pile:
        pile = self._piles[partition]
        if pile is None:
            pile = Pile()
            self._piles[partition] = pile
        return pile

    def settle(self) -> None:
        """No more comes of the last input, nor of decisions behind it: others are next."""
        self.shift += self._spilled()
        self._offset = NO_OFFSET
        self._index = 0
        self._is_decided = False

    def _spilled(self) -> i64:
        """Returns how many blocks the last input has needed so far beyond its own."""
        if self._is_decided:
            return self._index >> INDEX_BITS
        # What is decided behind it has to find the second half of a block free.
        return self._index + DRAIN_INDEX >> INDEX_BITS

    def _next_sequence(self, offset: i64) -> i64:
        if offset == self._offset:
            self._index += 1
        else:
            self.settle()
            self._offset = offset
        block: i64 = offset + self.shift
        if block >= OFFSET_MAX:
            raise TooManyOutputsError(
                offset, f"there are no numbers left for records in topic {self.topic}"
            )
        return (block << INDEX_BITS) + self._index
