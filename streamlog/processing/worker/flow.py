"""How records and results run through a task's trees: what a record causes, in one fixed order.

A record that moves time first has steps act that wait for it (windows close), in the order in which
results flow; then it runs through the entry's tree itself. What comes out of such a step runs
through that step's tree.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from streamlog.processing.dsl.nodes import OperatorNode, SourceNode, WindowNode
from streamlog.processing.dsl.windowed import Windowed, utc
from streamlog.processing.errors import FunctionFailure
from streamlog.processing.failures.policy import Stop
from streamlog.processing.operators.calls import Answers
from streamlog.processing.operators.operator import OperatorContext
from streamlog.processing.operators.specs import row_factory
from streamlog.processing.plan.fuse import fuse
from streamlog.processing.plan.surroundings import Surroundings
from streamlog.processing.repartition.outbox import Outbox, TooManyOutputsError
from streamlog.processing.repartition.position import NO_TIME, writer_id
from streamlog.processing.repartition.writers import assign, boundary, next_break
from streamlog.processing.state.count_rows import CountRows, only_counts
from streamlog.processing.state.keys import store_id
from streamlog.processing.state.rows import WindowRows
from streamlog.processing.worker.batch import Batch
from streamlog.processing.worker.merged import MergedColumns

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamlog.processing.dsl.nodes import Node, Value
    from streamlog.processing.operators.calls import Answer, Call
    from streamlog.processing.operators.operator import Operator, Result
    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.fuse import Fused
    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.plan.tree import Tree
    from streamlog.processing.repartition.writers import StepClock
    from streamlog.processing.state.row_table import RowTable
    from streamlog.processing.state.rows import Closed
    from streamlog.processing.state.store import TaskStore
    from streamlog.records.columns import Columns


@dataclass(frozen=True, slots=True)
class Failed:
    """A record that failed: its index, why, and whether it may have changed state."""

    index: int
    failure: FunctionFailure
    spoils: bool


logger = logging.getLogger(__name__)


class Branch:
    """A compiled tree."""

    def __init__(self, tree: Tree, fused: Fused) -> None:
        self.tree = tree
        self.fused = fused
        self.collected = list(fused.collectors.items())


class Flow:
    """The trees of a task, their state and their outboxes.

    Attributes:
        rows: The rows of each plain window, by step.
        operators: The other steps with state.
        clocks: For `Writers` and `advance`: when something may act.
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
        self._closed_through = dict(store.meta.closed_through)
        self._late_records = store.meta.late_records
        self.rows: dict[str, WindowRows] = {}
        self.operators: dict[str, Operator] = {}
        self._answers = {node: Answers() for node in sub.async_steps}
        self._calls: list[Call] = []
        for node in sub.stateful:
            identity = store_id(node.name)
            if isinstance(node, WindowNode):
                kind = CountRows if only_counts(node.aggregates) else WindowRows
                self.rows[node.name] = kind(identity, row_factory(node.aggregates), store)
            else:
                sure = node in sub.sure
                operator = node.make(OperatorContext(node.name, store, identity, partition, sure))
                operator.now = self._closed_through.get(node.name, NO_TIME)
                self.operators[node.name] = operator
        around = Surroundings(
            tables=tables,
            rows=self.rows,
            operators=self.operators,
            closed_through=self._closed_through,
            partition=partition,
            answers=self._answers,
            unread=frozenset(write.topic for write in sub.writes if write.unread),
        )
        label = f"{sub.pipeline}.{sub.name}"
        # Who goes on behind failures wants most of them to come before state changes.
        careful = not isinstance(sub.on_error, Stop)
        self._entry = Branch(sub.entry, fuse(sub.entry, label, around, state_last=careful))
        self._ahead: Fused | None = None
        if sub.calls is not None:
            ahead = replace(around, calls=self._calls)
            self._ahead = fuse(sub.calls, f"{label} (ahead)", ahead)
        self._timed = [
            Branch(tree, fuse(tree, f"{label}.{tree.root.name}", around)) for tree in sub.timed
        ]
        self.clocks: list[StepClock] = [
            each.tree.clock for each in self._timed if each.tree.clock is not None
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
            self._outboxes[write.topic].shift = store.meta.shifts.get(write.topic, 0)
        self._merged: MergedColumns | None = None
        self._time_before = NO_TIME
        self._said: set[str] = set()

    @property
    def outboxes(self) -> list[Outbox]:
        """Where the outputs are, in a fixed order."""
        return list(self._outboxes.values())

    @property
    def stores(self) -> list[WindowRows | RowTable]:
        """What has changes for a checkpoint, in a fixed order."""
        tables = [table for each in self.operators.values() for table in each.tables]
        return [*self.rows.values(), *tables]

    @property
    def closed_through(self) -> dict[str, int]:
        """By step: up to where time has passed for it."""
        passed = {name: each.now for name, each in self.operators.items() if each.now != NO_TIME}
        return {**self._closed_through, **passed}

    @property
    def late_records(self) -> int:
        """Records that reached a step whose window was over for them, since the state began."""
        return self._late_records + sum(each.late for each in self.operators.values())

    def take_opened(self) -> int:
        """Returns rows opened less rows closed since the last call."""
        counters: list[WindowRows | Operator] = [*self.rows.values(), *self.operators.values()]
        opened = sum(each.opened for each in counters)
        for each in counters:
            each.opened = 0
        return opened

    # Records.

    def begin(self, columns: Columns) -> None:
        """The records that come next are these."""
        if isinstance(columns, MergedColumns) and len(columns):
            self._merged = columns

    def calls_of(self, batch: Batch) -> list[Call]:
        """Returns what the async steps want to have called for a batch."""
        if self._ahead is None:
            return []
        self._calls.clear()
        try:
            self._ahead.run(0, len(batch.values), batch)
        except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
            failed, index = self._ahead.blame(error.__traceback__)
            self._fail(failed or self.sub.entry.root, batch.offsets[index], error)
        return list(self._calls)

    def take_answers(self, calls: Sequence[Call], answers: Sequence[Answer]) -> None:
        """Takes what the calls for the next batch gave, in their order."""
        for node, waiting in self._answers.items():
            waiting.fill(
                [
                    (call.index, answer)
                    for call, answer in zip(calls, answers, strict=True)
                    if call.node is node
                ]
            )

    def run(self, batch: Batch, start: int, stop: int) -> None:
        """Sends some records through the entry's tree; no step acts by time among them."""
        if start == stop:
            return
        self._run(self._entry, batch, start, stop)
        self._scatter_entry(batch)

    def run_carefully(self, batch: Batch, start: int, stop: int) -> Failed | None:
        """As `run`; when a record fails, ends behind the one before it and says what failed."""
        if start == stop:
            return None
        fused, failed = self._entry.fused, None
        self._assign(fused, batch, stop)
        try:
            late = fused.run(start, stop, batch)
        except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
            blame = fused.blame_of(error.__traceback__)
            offset, late = batch.offsets[blame.index], blame.late
            failure = self._failure(blame.node or self._entry.tree.root, offset, error)
            failed = Failed(blame.index, failure, blame.spoils)
            for collector in fused.collectors.values():
                collector.drop(blame.index)
        self._late_records += sum(late)
        self._scatter_entry(batch)
        return failed

    def _scatter_entry(self, batch: Batch) -> None:
        for topic, collector in self._entry.collected:
            if collector.indices:
                write = self._writes.get(topic)
                lag_ms = 0 if write is None else write.lag_ms
                self._scatter(topic, self._entry, batch, batch.task_times, batch.times, lag_ms)

    def _run(self, branch: Branch, batch: Batch, start: int, stop: int) -> None:
        fused = branch.fused
        if fused.windows:
            self._assign(fused, batch, stop)
        try:
            late = fused.run(start, stop, batch)
        except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
            failed, index = fused.blame(error.__traceback__)
            self._fail(failed or branch.tree.root, batch.offsets[index], error)
        if late:
            self._late_records += sum(late)

    def _assign(self, fused: Fused, batch: Batch, stop: int) -> None:
        """Finds the windows of the records up to `stop`."""
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
                self._closed_through.get(node.name, NO_TIME),
            )

    def _scatter(
        self,
        topic: str,
        branch: Branch,
        batch: Batch,
        times: list[int],
        record_times: list[int],
        lag_ms: int = 0,
    ) -> None:
        collector = branch.fused.collectors[topic]
        outbox = self._outboxes[topic]
        try:
            outbox.scatter(collector, batch.timestamps, batch.offsets, times, record_times, lag_ms)
        except TooManyOutputsError as error:
            offset, _ = error.args
            self._fail(branch.tree.root, offset, error)

    # Time.

    def close(self, time: int, cause: int) -> None:
        """Has steps act that waited for a time, because of the input at offset `cause`."""
        for branch in self._timed:
            if branch.tree.clock is None:
                continue
            through = boundary(time, *branch.tree.clock)
            root = branch.tree.root
            if isinstance(root, WindowNode):
                if through > self._closed_through.get(root.name, NO_TIME):
                    self._closed_through[root.name] = through
                    self._emit_windows(branch, root, self.rows[root.name].close(through), cause)
            else:
                operator = self.operators[root.name]
                if through > operator.now:
                    self._act(branch, partial(operator.advance, through), cause)
                    operator.now = max(operator.now, through)
        self._time_before = time

    def close_all(self, cause: int) -> None:
        """Has every step put out what waits: no more will come."""
        for branch in self._timed:
            root = branch.tree.root
            if isinstance(root, WindowNode):
                through = self.rows[root.name].highest_end()
                if through is not None:
                    passed = self._closed_through.get(root.name, NO_TIME)
                    self._closed_through[root.name] = max(through, passed)
                    self._emit_windows(branch, root, self.rows[root.name].close(through), cause)
            else:
                self._act(branch, self.operators[root.name].drain, cause)

    def waits_for(self, time: int, later: int) -> bool:
        """Says whether anything would come of time going on: a step acts, or others are told."""
        return bool(self._writes) or next_break(time, self.clocks) <= later

    def tick(self, wall_ms: int, cause: int) -> None:
        """Has steps act that wait for the wall clock."""
        for branch in self._timed:
            root = branch.tree.root
            if isinstance(root, OperatorNode) and root.wall:
                self._act(branch, partial(self.operators[root.name].tick, wall_ms), cause)

    def next_tick(self) -> int | None:
        """Returns the first wall-clock time for which a step waits."""
        ticks = [each.next_tick() for each in self.operators.values()]
        return min((tick for tick in ticks if tick is not None), default=None)

    def _say_notes(self, name: str) -> None:
        """Tells the user what a step has to say, each thing once."""
        for note in self.operators[name].notes:
            if note not in self._said:
                self._said.add(note)
                logger.warning("pipeline %s, step %s: %s", self.sub.pipeline, name, note)
        self.operators[name].notes.clear()

    def _act(self, branch: Branch, act: Callable[[], Sequence[Result]], cause: int) -> None:
        """Sends what an operator puts out as time passes through the tree behind it."""
        try:
            results = list(act())
        except Exception as error:  # noqa: BLE001 (whatever a user's function may raise)
            self._fail(branch.tree.root, cause, error)
        if self.operators[branch.tree.root.name].notes:
            self._say_notes(branch.tree.root.name)
        if not results:
            return
        keys = [key for key, _, _ in results]
        values = [value for _, value, _ in results]
        moments = [moment for _, _, moment in results]
        batch = self._emit(branch, keys, values, moments, cause)
        for topic, collector in branch.collected:
            if not collector.indices:
                continue
            write = self._writes.get(topic)
            # What comes later may be older than these: promise no more than before.
            before = _lagging(self._time_before, 0 if write is None else write.lag_ms)
            times = [before] * len(moments)
            self._scatter(topic, branch, batch, times, times)

    def _emit_windows(
        self, branch: Branch, node: WindowNode, closed: list[Closed], cause: int
    ) -> None:
        """Sends the results of closed windows through the tree behind them."""
        if not closed:
            return
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
        moments = [end_ms - 1 for end_ms, _, _ in closed]
        batch = self._emit(branch, [key for _, key, _ in closed], values, moments, cause)
        for topic in branch.fused.collectors:
            write = self._writes.get(topic)
            times = moments
            if write is not None and not write.single:
                # Other trees have yet to write what is older: promise no more than before.
                times = [_lagging(self._time_before, write.lag_ms)] * len(closed)
            self._scatter(topic, branch, batch, times, times)

    def _emit(
        self,
        branch: Branch,
        keys: list[bytes | None],
        values: list[Value],
        moments: list[int],
        cause: int,
    ) -> Batch:
        count = len(values)
        batch = Batch(
            values=values,
            keys=keys,
            timestamps=moments,
            offsets=[cause] * count,
            times=moments,
            task_times=moments,
            writers=[0] * count,
        )
        self._run(branch, batch, 0, count)
        return batch

    # Markers.

    def begin_decided(self, offset: int, number: int) -> None:
        """What is written next is caused by a decision or a drain, after the input at `offset`."""
        for topic in self._writes:
            self._outboxes[topic].begin_decided(offset, number)

    def end_decided(self, offset: int) -> int:
        """Returns how many outputs decisions behind the input at `offset` have caused in a topic.

        From here on all topics count as if it were so many in each, as they do after a restart.
        """
        number = max((self._outboxes[topic].decided() for topic in self._writes), default=0)
        self.begin_decided(offset, number)
        return number

    def settle(self) -> None:
        """No more comes of the last input, nor of decisions behind it."""
        for topic in self._writes:
            self._outboxes[topic].settle()

    @property
    def shifts(self) -> dict[str, int]:
        """By topic: by how many blocks sequences are shifted, where they are."""
        shifts = {topic: self._outboxes[topic].shift for topic in self._writes}
        return {topic: shift for topic, shift in shifts.items() if shift}

    def mark(self, offset: int, time: int, kind: int) -> bool:
        """Tells stream time to all partitions of all repartition topics; False if there is none."""
        for topic, write in self._writes.items():
            self._outboxes[topic].mark(offset, _lagging(time, write.lag_ms), kind)
        return bool(self._writes)

    def _fail(self, node: Node, offset: int, error: Exception) -> NoReturn:
        raise self._failure(node, offset, error)

    def _locate(self, offset: int) -> tuple[str, int]:
        """Where the record stands that a task knows by a number."""
        columns = self._merged
        if columns is None:
            return self.sub.input_topics[0], offset
        # What is decided behind the last record counts as its doing.
        index = min(max(offset - columns.offsets[0], 0), len(columns) - 1)
        return self.sub.input_topics[columns.inputs[index]], columns.places[index]

    def _failure(self, node: Node, offset: int, error: Exception) -> FunctionFailure:
        topic, place = self._locate(offset)
        reason = error.args[1] if isinstance(error, TooManyOutputsError) else _describe(error)
        what = "input" if isinstance(node, SourceNode) else f"step {node.name}"
        failure = FunctionFailure(
            f"{what} ({node.location}) failed for the record at offset {place} of {topic} "
            f"partition {self.partition}: {reason}",
            topic=topic,
            partition=self.partition,
            offset=place,
            step=node.name,
            location=str(node.location),
        )
        failure.position = offset
        failure.__cause__ = error
        return failure


def _lagging(time: int, lag_ms: int) -> int:
    return NO_TIME if time == NO_TIME else time - lag_ms


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
