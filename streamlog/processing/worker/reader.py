"""How a task reads: what of a chunk counts, decoded, with time and position.

A source's records count all, and its time is the largest event time so far; so it is of several
sources that are read together, in the order that `merge` makes. A repartition topic's records bear
their writers' time and position; see `repartition.writers`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from streamlog.processing.dsl.nodes import OperatorNode, SourceNode, SourcesNode
from streamlog.processing.failures.dead_letters import read_return
from streamlog.processing.plan.unread import is_unread
from streamlog.processing.repartition.position import NO_TIME, writer_id
from streamlog.processing.repartition.withdrawn import without_withdrawn
from streamlog.processing.repartition.writers import (
    ForeignRecordError,
    Writer,
    Writers,
    advance,
    read_position,
)
from streamlog.processing.state.lineage import still_withdrawn
from streamlog.processing.state.meta import NO_SEQUENCE, WriterMeta
from streamlog.processing.worker.batch import Batch
from streamlog.processing.worker.merged import MergedColumns, Unreadable
from streamlog.processing.worker.opening import Opener, undecodable
from streamlog.serde.formats import msgpack_decoder

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from streamlog.processing.errors import UndecodableFailure
    from streamlog.processing.plan.homes import Cut
    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.repartition.writers import Break, StepClock
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.records.columns import Columns


class Reader(Protocol):
    """What all kinds can do."""

    writers: dict[int, Writer]
    """Of a repartition topic; empty for a source."""

    @property
    def time(self) -> int:
        """The task's stream time."""

    def drained(self) -> bool:
        """Whether all writers have said that no more will come."""

    def move_time(self, time: int) -> int:
        """Moves time on without a record; returns where it is."""

    def admit(self, columns: Columns, clocks: list[StepClock]) -> tuple[Batch, list[Break]]:
        """Returns the records that count, and where among them windows close."""

    def snapshot(self) -> object:
        """Returns all that it knows, to go back to."""

    def go_back(self, snapshot: Any) -> None:  # noqa: ANN401 (what this kind's `snapshot` returns)
        """Forgets what came after a snapshot."""


def open_reader(
    sub: SubTopologyPlan, partition: int, expected: list[int], meta: TaskMeta
) -> Reader:
    """Returns the reader of what a task reads, where its last checkpoint left it."""
    root = sub.entry.root
    if isinstance(root, SourceNode):
        return SourceReader(root, partition, meta)
    if isinstance(root, SourcesNode):
        return MergedReader(len(root.sources), partition, meta)
    reader = RepartitionReader(cast("Cut", root), sub.input_topics[0], partition, expected, meta)
    reader.unread = is_unread(sub.entry)
    return reader


class _SourcesReader:
    """What readers of sources have in common: one time, and no writers."""

    def __init__(self, meta: TaskMeta) -> None:
        self.writers: dict[int, Writer] = {}
        self.time = NO_TIME if meta.stream_time_ms is None else meta.stream_time_ms

    def drained(self) -> bool:
        """Whoever hands in records has more."""
        return False

    def move_time(self, time: int) -> int:
        """Moves time on without a record; returns where it is."""
        self.time = max(self.time, time)
        return self.time

    def snapshot(self) -> int:
        """Returns all that it knows, to go back to."""
        return self.time

    def go_back(self, snapshot: int) -> None:
        """Forgets what came after a snapshot."""
        self.time = snapshot


class SourceReader(_SourcesReader):
    """Reads a partition of a source."""

    def __init__(self, node: SourceNode, partition: int, meta: TaskMeta) -> None:
        super().__init__(meta)
        self._opener = Opener(node, partition)
        self._partition = partition

    def admit(self, columns: Columns, clocks: list[StepClock]) -> tuple[Batch, list[Break]]:
        """Returns all records, and where among them windows close."""
        values, timestamps = self._opener.open(columns)
        times, breaks = advance(timestamps, columns.offsets, self.time, clocks)
        if times:
            self.time = times[-1]
        batch = Batch(
            values=values,
            keys=columns.keys,
            timestamps=timestamps,
            offsets=columns.offsets,
            times=times,
            task_times=times,
            writers=[self._partition] * len(values),
            headers=columns.headers,
        )
        return batch, breaks


class MergedReader(_SourcesReader):
    """Reads a partition of several sources, in the order in which they were merged."""

    def __init__(self, count: int, partition: int, meta: TaskMeta) -> None:
        super().__init__(meta)
        self._writers = [writer_id(number, partition) for number in range(count)]

    def admit(self, columns: Columns, clocks: list[StepClock]) -> tuple[Batch, list[Break]]:
        """Returns all records, and where among them windows close.

        Lateness is judged by the time of a record's own input; that is behind the task's time only
        where the others have gone on without it.
        """
        assert isinstance(columns, MergedColumns)
        if columns.has_unreadable:
            for index, value in enumerate(columns.decoded):
                if isinstance(value, Unreadable):
                    value.failure.position = columns.offsets[index]
                    raise value.failure
        task_times, breaks = advance(columns.times, columns.offsets, self.time, clocks)
        if task_times:
            self.time = task_times[-1]
        batch = Batch(
            values=columns.decoded,
            keys=columns.keys,
            timestamps=columns.moments,
            offsets=columns.offsets,
            times=columns.times,
            task_times=task_times,
            writers=[self._writers[number] for number in columns.inputs],
            ports=columns.inputs,
            headers=columns.headers,
            places=columns.places,
        )
        return batch, breaks


class RepartitionReader:
    """Reads a partition of a repartition topic."""

    def __init__(
        self,
        node: Cut,
        topic: str,
        partition: int,
        expected: list[int],
        meta: TaskMeta,
    ) -> None:
        self._writers = Writers(expected)
        self._writers.restore(
            {
                each.writer: Writer(
                    each.epoch,
                    each.sequence,
                    NO_TIME if each.stream_time_ms is None else each.stream_time_ms,
                    each.drained,
                    each.marked,
                    each.withdrawn,
                    each.idle,
                )
                for each in meta.writers
            },
            NO_TIME if meta.stream_time_ms is None else meta.stream_time_ms,
        )
        self._withdrawn = {each.writer: each.withdrawn for each in meta.writers if each.withdrawn}
        self.writers: dict[int, Writer] = self._writers.writers
        self._node = node
        self._topic = topic
        self._partition = partition
        self._has_ports = isinstance(node, OperatorNode)
        self.unread = False
        """Whether values are not looked at; then none were written."""
        values = node.parents if isinstance(node, OperatorNode) else (node,)
        self._decoders = [msgpack_decoder(cast("Any", each.value_type)).decode for each in values]

    @property
    def time(self) -> int:
        """The smallest stream time of all writers."""
        return self._writers.time

    def drained(self) -> bool:
        """Whether all writers have said that no more will come."""
        return self._writers.drained()

    def move_time(self, time: int) -> int:
        """Its writers alone move time."""
        raise AssertionError(f"time was decided to be {time} behind a repartition topic")

    def admit(self, columns: Columns, clocks: list[StepClock]) -> tuple[Batch, list[Break]]:
        """Returns the records that count, and where among them windows close."""
        if self._withdrawn:
            columns = without_withdrawn(columns, self._withdrawn)
        headers = columns.headers
        if headers is None:
            headers = [()] * len(columns)
        if len(headers) == 1 and read_return(headers[0]) is not None:
            return self._admit_returned(columns), []
        try:
            admitted = self._writers.admit(headers, columns.offsets, 0, clocks)
        except ForeignRecordError as error:
            reason = "it was written by something else than this pipeline: it has no position"
            raise self._refuse(columns.offsets[error.args[0]], reason) from None
        kept = admitted.kept
        if len(kept) < len(columns):
            columns = columns.pick(kept)
        raw = columns.values
        ports: list[int] = []
        try:
            if self.unread:
                values: list[Any] = [None] * len(raw)
            elif self._has_ports:
                values = [self._decode_port(each, ports) for each in raw]
            else:
                decode = self._decoders[0]
                values = [decode(each) for each in raw]  # type: ignore[arg-type]
        except (msgspec.MsgspecError, TypeError, ValueError, IndexError):
            self._find_undecodable(columns)
            raise
        batch = Batch(
            values=values,
            keys=columns.keys,
            timestamps=columns.timestamps,
            offsets=columns.offsets,
            times=admitted.times,
            task_times=admitted.task_times,
            writers=admitted.writers,
            ports=ports,
        )
        return batch, admitted.breaks

    def _admit_returned(self, columns: Columns) -> Batch:
        """Returns a record that was sent back: its writer has told of it long ago."""
        offset, own = columns.offsets[0], (columns.headers or [()])[0]
        try:
            number, _, _, _, record_time, _ = read_position(own[:1], 0)
        except ForeignRecordError:
            raise self._refuse(offset, "it was sent back without its position") from None
        self._find_undecodable(columns)
        ports: list[int] = []
        raw = columns.values[0] or b""
        value = self._decode_port(raw, ports) if self._has_ports else self._decode(raw)
        return Batch(
            values=[value],
            keys=columns.keys,
            timestamps=columns.timestamps,
            offsets=columns.offsets,
            # A record's time is never behind the task's.
            times=[max(record_time, self.time)],
            task_times=[self.time],
            writers=[number],
            ports=ports,
        )

    def snapshot(self) -> tuple[int, dict[int, Writer]]:
        """Returns all that it knows, to go back to."""
        return self._writers.snapshot()

    def go_back(self, snapshot: tuple[int, dict[int, Writer]]) -> None:
        """Forgets what came after a snapshot."""
        self._writers.go_back(snapshot)

    def _decode_port(self, raw: bytes | None, ports: list[int]) -> object:
        """Reads a value that says by which input of a step it comes; notes that in `ports`."""
        assert raw is not None
        value = self._decoders[raw[0]](memoryview(raw)[1:])
        ports.append(raw[0])
        return value

    def _decode(self, raw: bytes) -> object:
        if self.unread:
            return None
        return self._decode_port(raw, []) if self._has_ports else self._decoders[0](raw)

    def _find_undecodable(self, columns: Columns) -> None:
        """Raises the failure of the first value that does not decode."""
        for index, raw in enumerate(columns.values):
            try:
                self._decode(raw or b"")
            except (msgspec.MsgspecError, TypeError, ValueError, IndexError) as error:
                reason = (
                    f"{error}. Was a type of its values changed while records of the old one "
                    "were under way?"
                )
                raise self._refuse(columns.offsets[index], reason) from error

    def _refuse(self, offset: int, reason: str) -> UndecodableFailure:
        return undecodable(self._node, self._topic, self._partition, offset, reason)


def writer_metas(writers: Mapping[int, Writer]) -> tuple[WriterMeta, ...]:
    """Returns what a checkpoint has to hold of those writers that were heard of."""
    return tuple(
        WriterMeta(
            number,
            each.epoch,
            each.sequence,
            None if each.time == NO_TIME else each.time,
            each.drained,
            each.marked,
            still_withdrawn(each.withdrawn, each.epoch),
            each.idle,
        )
        for number, each in sorted(writers.items())
        if each.epoch >= 0 or each.sequence != NO_SEQUENCE or each.withdrawn
    )
