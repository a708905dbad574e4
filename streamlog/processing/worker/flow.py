"""How records and results run through a task's trees: what a record causes, in one fixed order.

A record that moves time first closes windows, in the order in which results flow, and of each step
by (end, key); then it runs through the entry's tree itself. What comes out of a window runs through
that window's tree, with the end of the window less one millisecond as its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from streamlog.processing.dsl.nodes import SourceNode, WindowNode
from streamlog.processing.dsl.windowed import Windowed, utc
from streamlog.processing.errors import FunctionFailure
from streamlog.processing.operators.accumulators import RowFactory
from streamlog.processing.plan.fuse import fuse
from streamlog.processing.state.keys import store_id
from streamlog.processing.state.rows import WindowRows
from streamlog.processing.worker.outbox import Outbox, TooManyOutputsError
from streamlog.processing.worker.position import DRAIN_MARKER, NO_TIME, writer_id
from streamlog.processing.worker.writers import assign, boundary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.dsl.nodes import Node, Value
    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.fuse import Fused
    from streamlog.processing.plan.plan import SubTopologyPlan, Tree
    from streamlog.processing.state.rows import Closed
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.writers import Clock


class Batch:
    """Columns on their way through a tree.

    Attributes:
        ends: For each window of the tree, the end of each record's window, as far as it was run.
    """

    __slots__ = ("ends", "keys", "offsets", "times", "timestamps", "values", "writers")

    def __init__(
        self,
        *,
        values: list[Value],
        keys: list[bytes | None],
        timestamps: list[int],
        offsets: list[int],
        times: list[int],
        writers: list[int],
    ) -> None:
        self.values = values
        self.keys = keys
        self.timestamps = timestamps
        self.offsets = offsets
        self.times = times
        self.writers = writers
        self.ends: list[list[int]] = []


class Branch:
    """A compiled tree with what surrounds it in this task."""

    def __init__(self, tree: Tree, fused: Fused) -> None:
        self.tree = tree
        self.fused = fused


class Flow:
    """The trees of a task, their state and their outboxes.

    Attributes:
        closed_through: By step: windows that end here or before are closed.
        late_records: Records that reached a step whose window was over for them.
        rows: The rows of each windowed step.
        clocks: For `Writers` and `advance`.
    """

    def __init__(
        self,
        sub: SubTopologyPlan,
        partition: int,
        store: TaskStore,
        tables: Mapping[str, TableView],
        *,
        epoch: int,
        partition_counts: Mapping[str, int],
    ) -> None:
        self.sub = sub
        self.partition = partition
        self.closed_through = dict(store.meta.closed_through)
        self.late_records = store.meta.late_records
        self.rows: dict[str, WindowRows] = {}
        self.clocks: list[Clock] = []
        for tree in sub.windows:
            node = _window(tree)
            self.rows[node.name] = WindowRows(store_id(node.name), _factory(node), store)
            self.clocks.append((tree.lag_ms, node.windows.size_ms))
        label = f"{sub.pipeline}.{sub.name}"
        self._entry = Branch(sub.entry, fuse(sub.entry, label, tables, self.rows))
        self._windows = [
            Branch(tree, fuse(tree, f"{label}.{tree.root.name}", tables, self.rows))
            for tree in sub.windows
        ]
        self._writes = {write.topic: write for write in sub.writes}
        self._outboxes = {
            topic: Outbox(topic, partition_counts[topic], partition, -1, epoch)
            for topic in sub.output_topics
        }
        for write in sub.writes:
            self._outboxes[write.topic] = Outbox(
                write.topic,
                partition_counts[write.topic],
                partition,
                writer_id(write.input_index, partition),
                epoch,
            )
        self._time_before = NO_TIME

    @property
    def outboxes(self) -> list[Outbox]:
        """Where the outputs are, in a fixed order."""
        return list(self._outboxes.values())

    # Records.

    def run(self, batch: Batch, start: int, stop: int) -> None:
        """Sends some records through the entry's tree; no window closes among them."""
        if start == stop:
            return
        self._run(self._entry, batch, start, stop)
        for topic in self._entry.fused.collectors:
            write = self._writes.get(topic)
            times = batch.times
            if write is not None and write.lag_ms:
                times = [time - write.lag_ms for time in times]
            self._scatter(topic, self._entry, batch, times)

    def _run(self, branch: Branch, batch: Batch, start: int, stop: int) -> None:
        fused = branch.fused
        if not batch.ends:
            batch.ends = [[] for _ in fused.windows]
        for node, ends in zip(fused.windows, batch.ends, strict=True):
            assign(
                ends,
                batch.timestamps,
                batch.times,
                stop,
                node.windows.size_ms,
                node.grace_ms,
                self.closed_through.get(node.name, NO_TIME),
            )
        try:
            late = fused.run(
                start,
                stop,
                batch.values,
                batch.keys,
                batch.timestamps,
                batch.writers,
                batch.ends,
            )
        except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
            failed, index = fused.blame(error.__traceback__)
            self._fail(failed or branch.tree.root, batch.offsets[index], error)
        self.late_records += sum(late)

    def _scatter(self, topic: str, branch: Branch, batch: Batch, times: list[int]) -> None:
        collector = branch.fused.collectors[topic]
        try:
            self._outboxes[topic].scatter(collector, batch.timestamps, batch.offsets, times)
        except TooManyOutputsError as error:
            offset, _ = error.args
            self._fail(branch.tree.root, offset, error)

    # Windows.

    def close(self, time: int, cause: int) -> None:
        """Closes what is over at a time, because of the input at offset `cause`."""
        for branch, (lag, size) in zip(self._windows, self.clocks, strict=True):
            name = branch.tree.root.name
            through = boundary(time, lag, size)
            if through > self.closed_through.get(name, NO_TIME):
                self.closed_through[name] = through
                self._emit(branch, self.rows[name].close(through), cause)
        self._time_before = time

    def close_all(self, cause: int) -> None:
        """Closes every window: no more will come."""
        for branch in self._windows:
            name = branch.tree.root.name
            through = self.rows[name].highest_end()
            if through is not None:
                self.closed_through[name] = max(through, self.closed_through.get(name, NO_TIME))
                self._emit(branch, self.rows[name].close(through), cause)

    def _emit(self, branch: Branch, closed: list[Closed], cause: int) -> None:
        """Sends the results of closed windows through the tree behind them."""
        if not closed:
            return
        node = _window(branch.tree)
        values: list[Value] = []
        try:
            start = end = utc(0)
            last_end: int | None = None
            for end_ms, _, results in closed:
                if end_ms != last_end:
                    last_end = end_ms
                    start, end = utc(end_ms - node.windows.size_ms), utc(end_ms)
                values.append(Windowed(start, end, node.build(results)))
        except Exception as error:  # noqa: BLE001 (whatever a user's type may raise)
            self._fail(node, cause, error)
        count = len(closed)
        moments = [end_ms - 1 for end_ms, _, _ in closed]
        batch = Batch(
            values=values,
            keys=[key for _, key, _ in closed],
            timestamps=moments,
            offsets=[cause] * count,
            times=moments,
            writers=[0] * count,
        )
        self._run(branch, batch, 0, count)
        for topic in branch.fused.collectors:
            write = self._writes.get(topic)
            times = moments
            if write is not None and not write.single:
                # Other trees have yet to write what is older: promise no more than before.
                times = [_lagging(self._time_before, write.lag_ms)] * count
            self._scatter(topic, branch, batch, times)

    # Markers.

    def begin_drain(self, offset: int) -> None:
        """What is written next is caused by the end of input, after the input at `offset`."""
        for topic in self._writes:
            self._outboxes[topic].begin_drain(offset)

    def mark(self, offset: int, time: int, kind: int) -> bool:
        """Tells stream time to all partitions of all repartition topics; False if there is none."""
        for topic, write in self._writes.items():
            lagging = _lagging(time, write.lag_ms)
            if lagging != NO_TIME or kind == DRAIN_MARKER:
                self._outboxes[topic].mark(offset, lagging, kind)
        return bool(self._writes)

    def _fail(self, node: Node, offset: int, error: Exception) -> NoReturn:
        topic = self.sub.input_topics[0]
        reason = error.args[1] if isinstance(error, TooManyOutputsError) else _describe(error)
        what = "input" if isinstance(node, SourceNode) else f"step {node.name}"
        raise FunctionFailure(
            f"{what} ({node.location}) failed for the record at offset {offset} of {topic} "
            f"partition {self.partition}: {reason}",
            topic=topic,
            partition=self.partition,
            offset=offset,
            step=node.name,
            location=str(node.location),
        ) from error


def _lagging(time: int, lag_ms: int) -> int:
    return NO_TIME if time == NO_TIME else time - lag_ms


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _window(tree: Tree) -> WindowNode:
    assert isinstance(tree.root, WindowNode)
    return tree.root


def _factory(node: WindowNode) -> RowFactory:
    return RowFactory(
        [spec.kind for spec in node.aggregates], [spec.value_type for spec in node.aggregates]
    )
