"""From the bytes of a source's records to values and event times, or to why there are none."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NoReturn

from streamlog.processing.errors import FunctionFailure, RecordFailure, UndecodableFailure
from streamlog.processing.operators.event_time import (
    TIMESTAMP_MAX_MS,
    TIMESTAMP_MIN_MS,
    event_times,
)
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.worker.merge import Opened, running
from streamlog.processing.worker.merged import Unreadable
from streamlog.serde.errors import SerdeError

if TYPE_CHECKING:
    from typing import Any

    from streamlog.processing.dsl.nodes import SourceNode, Value
    from streamlog.processing.plan.homes import Cut
    from streamlog.records.columns import Columns


class Opener:
    """Opens the records of one partition of a source."""

    def __init__(self, node: SourceNode, partition: int) -> None:
        self._node = node
        self._partition = partition

    def open(self, columns: Columns) -> tuple[list[Value], list[int]]:
        """Returns values and event times.

        Raises:
            RecordFailure: Of the first record that has none, or one that cannot be.
        """
        try:
            values = self._node.serde.decode_all(columns.values)
        except SerdeError as error:
            self._refuse(columns, error.index or 0, error.message, error)
        timestamps = columns.timestamps
        if self._node.event_time is not None:
            timestamps = self._event_times(columns, values)
        if timestamps and (
            min(timestamps) < TIMESTAMP_MIN_MS or max(timestamps) > TIMESTAMP_MAX_MS
        ):
            bad = next(t for t in timestamps if not TIMESTAMP_MIN_MS <= t <= TIMESTAMP_MAX_MS)
            reason = f"its event time {bad} ms is not in the years 1 to 9999"
            self._refuse(columns, timestamps.index(bad), reason, None)
        return values, timestamps

    def open_all(self, columns: Columns, next_offset: int, time: int) -> Opened:
        """Opens a chunk for a merge, in which a record that fails fails when its turn comes.

        Args:
            columns: The chunk.
            next_offset: Behind it.
            time: The largest event time of the input before it.
        """
        values: list[Value] = []
        moments: list[int] = []
        rest = columns
        while True:
            try:
                opened, times = self.open(rest)
            except RecordFailure as failure:
                stop = bisect_left(rest.offsets, failure.offset)
                opened, times = self.open(rest.slice(0, stop))
                values += [*opened, Unreadable(failure)]
                # It tells no time of its own.
                moments += [*times, max(times, default=NO_TIME)]
                rest = rest.slice(stop + 1)
            else:
                break
        if values:
            opened, times = [*values, *opened], [*moments, *times]
        return Opened(columns, next_offset, opened, times, running(times, time), bool(values))

    def _event_times(self, columns: Columns, values: list[Any]) -> list[int]:
        found: list[int] = []
        assert self._node.event_time is not None
        try:
            event_times(self._node.event_time, values, columns.timestamps, found)
        except Exception as error:
            offset = columns.offsets[len(found)]
            raise FunctionFailure(
                f"event_time of input {self._node.name} ({self._node.location}) failed for the "
                f"record at offset {offset} of {self._node.topic} partition {self._partition}: "
                f"{type(error).__name__}: {error}",
                topic=self._node.topic,
                partition=self._partition,
                offset=offset,
                step=self._node.name,
                location=str(self._node.location),
            ) from error
        return found

    def _refuse(
        self, columns: Columns, index: int, reason: str, cause: Exception | None
    ) -> NoReturn:
        raise undecodable(
            self._node, self._node.topic, self._partition, columns.offsets[index], reason
        ) from cause


def undecodable(
    node: SourceNode | Cut,
    topic: str,
    partition: int,
    offset: int,
    reason: str,
) -> UndecodableFailure:
    """Returns the failure of a record that cannot be read."""
    return UndecodableFailure(
        f"the record at offset {offset} of {topic} partition {partition} cannot be read "
        f"(input of {node.location}): {reason}",
        topic=topic,
        partition=partition,
        offset=offset,
        step=node.name,
        location=str(node.location),
    )
