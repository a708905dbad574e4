"""One task: a sub-topology's work on one partition, synchronous and without I/O but its state.

The worker hands in chunks, takes outputs away to produce them, and now and then takes a checkpoint,
in this order:

    task.process(topic, partition, columns, next_offset)      any number of times: `offer` a
                                                               chunk, process its `pieces`
    task.take_outputs()                                        any number of times
    task.emit_markers(); task.take_outputs()                   outputs acknowledged, then
    checkpoint = task.prepare_checkpoint()                     its records to the changelog, then
    task.commit_checkpoint(checkpoint, next_offset)            the local state, then the group

Between `prepare_checkpoint` and `commit_checkpoint` the task must rest; the latter may run in
another thread. A chunk that fails leaves the task with half of it: it must be dropped, and says so.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import msgspec

from streamlog.processing.dsl.options import PipelineOptions
from streamlog.processing.failures.desk import Desk
from streamlog.processing.failures.returned import returned_among
from streamlog.processing.repartition.position import (
    DRAIN_MARKER,
    IDLE_MARKER,
    NO_TIME,
    TIME_MARKER,
    writer_id,
)
from streamlog.processing.worker.changelog import checkpoint_records
from streamlog.processing.worker.decisions import TIME, WALL, Decisions
from streamlog.processing.worker.flow import Flow
from streamlog.processing.worker.inputs import open_inputs
from streamlog.processing.worker.intake import Intake
from streamlog.processing.worker.note import Note, format_note
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.reader import open_reader, writer_metas
from streamlog.processing.worker.silence import Silence
from streamlog.processing.worker.task_values import Checkpoint, OutputBatch, TaskStatistics

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamlog.processing.failures.ledger import Ledger
    from streamlog.processing.operators.calls import Answer, Call
    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.plan import SubTopologyPlan
    from streamlog.processing.repartition.writers import Break
    from streamlog.processing.state.meta import TaskMeta
    from streamlog.processing.state.rows import Change
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.intake import Prepared
    from streamlog.records.columns import Columns

CHUNK_CALLS = 8
"""Records that a chunk may hold for each call that may be under way: a chunk ends with a wait for
its slowest call, and nothing of it is in a checkpoint before that."""


class Task:
    """Processes chunks of its input; the worker moves bytes and takes checkpoints.

    Args:
        sub: Its sub-topology.
        partition: Which partition of the input.
        store: Its state, complete.
        tables: The global tables, by topic; loaded before the first chunk.
        epoch: Of this owner; above all that the state and its changelog know.
        partition_counts: Of all topics that the pipeline reads and writes.
        topic_ids: Of its input topics; noted in its checkpoints.
        options: The pipeline's.
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
        topic_ids: Mapping[str, str] | None = None,
        options: PipelineOptions | None = None,
    ) -> None:
        options = options or PipelineOptions()
        self.id = TaskName(sub.name, partition)
        self.inputs = tuple((topic, partition) for topic in sub.input_topics)
        self.epoch = epoch
        self._store = store
        self._layout = sub.layout
        self._topic_ids = dict(topic_ids or {})
        meta = store.meta
        self._inputs = open_inputs(sub, partition, meta, options.idle, partition_counts)
        self._next = self._inputs.position
        self._flow = Flow(
            sub, partition, store, tables, epoch=epoch, partition_counts=partition_counts
        )
        expected = [
            writer_id(index, number)
            for index, topic in enumerate(sub.writer_topics)
            for number in range(partition_counts[topic])
        ]
        self._reader = open_reader(sub, partition, expected, meta)
        self._desk = Desk(sub.on_error, sub.pipeline, self.id, sub.input_topics, store)
        self._intake = Intake(self._reader, self._flow, self._desk)
        self._letters_to = (sub.dead_letter_topic, partition_counts)
        applied, self._decided = meta.decided
        if self._decided:
            self._flow.begin_decided((self._next or 0) - 1, self._decided)
        self._decisions = Decisions(store, self._next or 0, applied)
        self._silence = Silence(options.idle, options.quiet)
        self._drained = meta.drained
        self._open_rows = meta.open_rows
        self._marked_time = None if meta.drained else NO_TIME
        """What others were told last; `None`: that no more will come."""
        self._records_in = 0
        self._pending: Checkpoint | None = None
        self._prepared: Prepared | None = None
        self._rest_ms: int | None = None
        self._at_checkpoint = False
        self._failed = False
        self.records_at_once = CHUNK_CALLS * min(
            (node.concurrency for node in sub.async_steps), default=0
        )
        """Of a task with async functions: how many records a chunk may have; 0: any number."""

    @property
    def drained(self) -> bool:
        """Whether time was moved to the end, and nothing has come since."""
        return self._drained

    def positions(self) -> dict[tuple[str, int], int | None]:
        """Returns the next offset to process of each input; `None`: begin at the log's start."""
        return self._inputs.positions()

    def ends(self) -> dict[tuple[str, int], int | None]:
        """Returns the next offset to hand in of each input: some may wait for another input."""
        return self._inputs.ends()

    def begin_at(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Begins there: for a task without a checkpoint, whose first one will say so."""
        self._inputs.begin_at(offsets)
        if self._inputs.position is not None:
            self._move(self._inputs.position)

    @property
    def ledger(self) -> Ledger:
        """What is known of failures beyond the task's life; the worker may give its own."""
        return self._desk.ledger

    @ledger.setter
    def ledger(self, ledger: Ledger) -> None:
        self._desk.ledger = ledger

    def take_rest(self) -> int | None:
        """Returns how long to wait in front of the position, if that was not asked yet.

        The record there failed and is to be tried again. Until then nothing may be handed in.
        """
        rest_ms, self._rest_ms = self._rest_ms, None
        return rest_ms

    def wants_checkpoint(self) -> bool:
        """Whether a checkpoint is worth taking now, before its time."""
        return self._intake.passed_poison or self._inputs.wants_checkpoint

    def end(self) -> None:
        """Nothing is processed behind the next checkpoint: the task goes to somebody else."""
        self._inputs.end()

    # Records.

    def process(self, topic: str, partition: int, columns: Columns, next_offset: int) -> None:
        """Processes a chunk; records below the position are skipped.

        It ends early in front of a record that is to be tried again; see `take_rest`.

        Raises:
            FunctionFailure: If a function of the pipeline raised, and the policy is to stop.
            UndecodableFailure: If a record's bytes do not fit its type, likewise.
            SpoiledTaskError: If the task is to be dropped and taken over again.
        """
        assert not self.records_at_once, "the chunk's calls have to be made: prepare, then finish"
        self.offer(topic, partition, columns, next_offset)
        for piece, piece_next in self.pieces():
            self.prepare(piece, piece_next)
            self.finish(())

    def offer(self, topic: str, partition: int, columns: Columns, next_offset: int) -> None:
        """Hands in a chunk of an input, to be processed in `pieces`."""
        self._assert_usable()
        self._inputs.offer((topic, partition), columns, next_offset)

    def is_full(self, topic: str, partition: int) -> bool:
        """Whether so much of an input waits for others that no more should be fetched."""
        return self._inputs.is_full((topic, partition))

    @property
    def has_waiting(self) -> bool:
        """Whether records were handed in that are not processed: they wait for other inputs."""
        return self._inputs.has_waiting

    def pieces(self) -> Iterator[tuple[Columns, int]]:
        """Returns what can be processed now of all that was handed in, in pieces.

        They are cut where decisions wait, and where one would ask for too many calls at once.
        Records that were sent back stand alone. What a piece leaves over begins the next one.
        """
        while self._rest_ms is None:
            self.apply_decisions()
            taken = self._inputs.take(self._decisions.next_position())
            if taken is None:
                return
            yield from self._cut(*taken)

    def _cut(self, columns: Columns, next_offset: int) -> Iterator[tuple[Columns, int]]:
        start, count = 0, len(columns)
        alone = returned_among(columns.headers)
        while True:
            stop = count
            if alone:
                stop = next((at + (at == start) for at in alone if at >= start), count)
            if self.records_at_once:
                stop = min(stop, start + self.records_at_once)
            decided = self._decisions.next_position()
            if decided is not None:
                # Never before `start`: what is decided at the position acts when a piece begins.
                stop = min(stop, bisect_left(columns.offsets, decided, start))
            at_end = stop >= count
            piece_next = next_offset if at_end else columns.offsets[stop]
            if decided is not None and decided < piece_next:
                piece_next, at_end = decided, False
            yield columns if stop - start == count else columns.slice(start, stop), piece_next
            if self._rest_ms is not None:
                return
            if self._next is not None and self._next < piece_next:
                start = bisect_left(columns.offsets, self._next)
                continue
            if at_end:
                return
            start = stop

    def prepare(self, columns: Columns, next_offset: int) -> Sequence[Call]:
        """Begins with a piece; returns the calls that have to be made before it is processed."""
        self._assert_usable()
        self.apply_decisions()
        self._failed = True
        self._prepared = self._intake.prepare(columns, next_offset)
        return self._prepared.calls

    def finish(self, answers: Sequence[Answer]) -> None:
        """Processes the piece that was prepared, with the answers of its calls in their order."""
        prepared, self._prepared = self._prepared, None
        assert prepared is not None
        ran = self._intake.finish(prepared, answers, self._break)
        self._failed = False
        self._rest_ms = ran.wait_ms
        self._records_in += ran.records
        if ran.records:
            self._drained = self._reader.drained()
            self._silence.heard()
        self._move(max(ran.position, self._next or 0))
        if ran.wait_ms is not None:
            self._inputs.give_back(ran.position)

    def _move(self, position: int) -> None:
        if position != self._next:
            self._next = position
            self._inputs.move(position)
            self._decided = 0
            self._flow.settle()
            self._decisions.move(position)

    def _begin(self) -> int:
        """Returns the position; a task that has read nothing has one from now on."""
        if self._next is None:
            self._next = 0
            self._inputs.move(0)
        return self._next

    def _break(self, each: Break) -> None:
        """Time has moved: windows close, and what depends on them is told."""
        self._flow.close(each.time, each.cause)
        if each.drained:
            self._flow.close_all(each.cause)
            self._flow.mark(each.cause, each.time, DRAIN_MARKER)
            self._marked_time = None

    def drain(self) -> None:
        """Moves time to the end: no more will come from this task's source. Repeats are no-ops."""
        assert not self._reader.writers, "only a task that reads a source can be told of its end"
        self._assert_usable()
        if self._drained:
            return
        self._failed = True
        last = self._begin() - 1
        self._flow.begin_decided(last, self._decided)
        self._flow.close_all(last)
        self._decided = self._flow.end_decided(last)
        self._flow.mark(last, self._reader.time, DRAIN_MARKER)
        self._marked_time = None
        self._failed = False
        self._drained = True

    # Decisions.

    def look(self, now_ms: int, at_end: Mapping[tuple[str, int], bool], *, patient: bool) -> None:
        """Looks whether others can go on without a source; what that decides acts as `tick` says.

        Args:
            now_ms: The wall clock.
            at_end: Whether all that is in the log of an input, or is to be read, was handed in.
            patient: Whether a silent source is waited for for a while.
        """
        self._assert_usable()
        # What was decided further on is gone by first.
        if not self._decisions.waiting and self._decisions.next_position() is None:
            for decision in self._inputs.look(now_ms, at_end, patient=patient):
                self._decisions.take(decision)

    def tick(self, now_ms: int, *, caught_up: bool) -> None:
        """Looks at the wall clock; what that decides acts once a checkpoint holds it.

        Args:
            now_ms: The wall clock.
            caught_up: Whether all that is in the log has been read.
        """
        self._assert_usable()
        if self._decisions.waiting:
            return
        due = self._flow.next_tick()
        if due is not None and due <= now_ms and not self._drained:
            self._decisions.take((WALL, now_ms))
        if self._reader.writers:
            return
        time = self._reader.time
        caught_up = caught_up and not self.has_waiting
        verdict = self._silence.look(now_ms, time, caught_up=caught_up)
        goes_on = verdict.time is not None and not self._drained
        if goes_on and verdict.time is not None and self._flow.waits_for(time, verdict.time):
            self._decisions.take((TIME, verdict.time))
        elif verdict.fell_idle:
            self._flow.mark(self._begin() - 1, time, IDLE_MARKER)

    def apply_decisions(self) -> None:
        """Has those decisions act that were taken at this position and are in a checkpoint."""
        due = self._decisions.due()
        if not due:
            return
        self._failed = True
        last = (self._next or 0) - 1
        self._flow.begin_decided(last, self._decided)
        for kind, moment in due:
            if kind == TIME:
                time = self._reader.move_time(moment)
                self._flow.close(time, last)
            elif kind == WALL:
                self._flow.tick(moment, last)
            else:
                self._inputs.decided(kind, moment)
        self._decided = self._flow.end_decided(last)
        self._failed = False

    # Outputs.

    def take_outputs(self) -> list[OutputBatch]:
        """Returns what is to be produced, in this order, and forgets it."""
        batches: list[OutputBatch] = []
        for outbox in self._flow.outboxes:
            for partition, pile in outbox.take():
                columns = (pile.keys, pile.values, pile.timestamps, pile.headers or None)
                batches.append(OutputBatch(outbox.topic, partition, *columns))
        letters = self._desk.take_letters(all_of_them=self._at_checkpoint)
        self._at_checkpoint = False
        if letters is not None:
            topic, counts = self._letters_to
            assert topic is not None
            columns = (letters.keys, letters.values, letters.timestamps, letters.headers)
            batches.append(OutputBatch(topic, self.id.partition % counts[topic], *columns))
        return batches

    def emit_markers(self) -> None:
        """Tells stream time to all partitions of what is written, if it moved since the last.

        A task that reads on after a drain tells it in any case: others take it as drained no more.
        """
        self._at_checkpoint = True
        time = self._reader.time
        if not self._drained and time != self._marked_time and self._next is not None:
            self._marked_time = time
            self._flow.mark(self._next - 1, time, TIME_MARKER)

    # Checkpoints.

    def prepare_checkpoint(self) -> Checkpoint | None:
        """Returns the changes since the last checkpoint, or nothing if there are none."""
        self._assert_usable()
        before = self._store.meta
        meta = self._meta()
        unchanged = msgspec.structs.replace(
            meta,
            sequence=before.sequence,
            epoch=before.epoch,
            topic_ids=before.topic_ids,
            layout=before.layout,
        )
        if unchanged == before and not (self._store.rewrites or self._decisions.waiting):
            return None
        changes: list[Change] = self._decisions.table.changes()
        for rows in (*self._flow.stores, *self._desk.tables):
            changes += rows.changes()
        names = {name for name, _ in changes}
        again = sorted(self._store.rewrites - names)
        rewritten: list[Change] = [(name, self._store.get(name)) for name in again]
        keys, values = checkpoint_records(
            [*rewritten, *changes], meta, self._store.changelog_position
        )
        self._pending = Checkpoint(
            sequence=meta.sequence,
            positions={key: offset or 0 for key, offset in self.positions().items()},
            changelog_keys=keys,
            changelog_values=values,
            metadata=format_note(Note(meta.sequence, self._drained)),
            changes=changes,
            meta=meta,
        )
        return self._pending

    def commit_checkpoint(self, checkpoint: Checkpoint, changelog_next_offset: int | None) -> None:
        """Makes the checkpoint the local state, in one transaction; the task rests meanwhile."""
        assert checkpoint is self._pending, "a checkpoint is committed once, before the next one"
        self._store.commit(checkpoint.changes, checkpoint.meta, changelog_next_offset)
        for rows in (*self._flow.stores, *self._desk.tables):
            rows.committed()
        self._desk.ledger.forget(self._next or 0)
        self._intake.passed_poison = False
        self._decisions.table.committed()
        self._decisions.committed()
        self._inputs.committed(checkpoint.meta.inputs)
        self._pending = None

    def _meta(self) -> TaskMeta:
        """The task as it is now, as the next checkpoint."""
        self._open_rows += self._flow.take_opened()
        inputs = self._inputs.metas()
        return msgspec.structs.replace(
            self._store.meta,
            sequence=self._store.sequence + 1,
            epoch=self.epoch,
            positions=self._inputs.known(),
            count=(self._next or 0) if inputs else 0,
            inputs=inputs,
            stream_time_ms=_known(self._reader.time),
            decided=(self._decisions.applied, self._decided),
            shifts=self._flow.shifts,
            drained=self._drained,
            writers=writer_metas(self._reader.writers),
            closed_through=self._flow.closed_through,
            late_records=self._flow.late_records,
            open_rows=self._open_rows,
            topic_ids=self._topic_ids,
            layout=self._layout,
        )

    # The rest.

    def statistics(self) -> TaskStatistics:
        """Returns the task's figures."""
        self._open_rows += self._flow.take_opened()
        return TaskStatistics(
            records_in=self._records_in,
            late_records=self._flow.late_records,
            open_windows=self._open_rows,
            stream_time_ms=_known(self._reader.time),
            outputs=sum(outbox.count for outbox in self._flow.outboxes),
            skipped=self._desk.counts.skipped,
            dead_letters=self._desk.counts.dead_letters,
            retried=self._desk.ledger.retried,
        )

    def close(self) -> None:
        """Lets go of the state; what no checkpoint holds is dropped."""
        self._failed = True
        self._store.close()

    def _assert_usable(self) -> None:
        assert self._pending is None, "the task rests while a checkpoint is made durable"
        assert not self._failed, "the task has failed or was closed, and must be dropped"


def _known(time: int) -> int | None:
    return None if time == NO_TIME else time
