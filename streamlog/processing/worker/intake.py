"""From a chunk to the flow: what of it is processed, and what becomes of records that fail.

Without failures this is one call of the reader, and one of the flow between two breaks. A record
that fails ends neither the chunk nor the task, if its desk says so:

* one that cannot be read is decided on when it is the first of a piece: what stands before it is a
  piece of its own, so that the order of decisions is that of the log;
* one for which a function raises is decided on where it fails, and the flow goes on behind it;
* one that is to be tried again ends the piece in front of it. The reader then has seen nothing of
  it: it goes back to before the piece, and sees again what was processed of it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.processing.errors import RecordFailure
from streamlog.processing.failures.ledger import TryAgain

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.failures.desk import Desk
    from streamlog.processing.operators.calls import Answer, Call
    from streamlog.processing.repartition.writers import Break
    from streamlog.processing.worker.batch import Batch
    from streamlog.processing.worker.flow import Failed, Flow
    from streamlog.processing.worker.reader import Reader
    from streamlog.records.columns import Columns


@dataclass(frozen=True, slots=True)
class Prepared:
    """A piece of a chunk whose calls are being made.

    Attributes:
        before: What the reader knew before it, if it may have to go back.
        wait_ms: How long to rest in front of the next record, which is to be tried again.
    """

    batch: Batch
    breaks: list[Break]
    columns: Columns
    next_offset: int
    calls: Sequence[Call]
    before: object = None
    wait_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Ran:
    """How far a piece was processed.

    Attributes:
        position: The next offset to process.
        records: How many of its records were.
        wait_ms: How long to rest in front of the next one, if it is to be tried again.
    """

    position: int
    records: int
    wait_ms: int | None = None


class Intake:
    """Of one task.

    Attributes:
        passed_poison: Set when a record was left out that had spoiled the task before; to be
            cleared by who takes a checkpoint, lest the next such record cost more than need be.
    """

    def __init__(self, reader: Reader, flow: Flow, desk: Desk) -> None:
        self.reader = reader
        self.passed_poison = False
        self._flow = flow
        self._desk = desk
        self._acted_for = -1
        """The offset of the record or marker for which steps acted last, as it moved time."""

    # Before the calls.

    def prepare(self, columns: Columns, next_offset: int) -> Prepared:
        """Reads a piece, or as much of it as stands before a record that fails."""
        desk, reader = self._desk, self.reader
        self._flow.begin(columns)
        is_alone = columns.headers is not None and len(columns) == 1
        if desk.is_strict and not is_alone:
            batch, breaks = reader.admit(columns, self._flow.clocks)
            return Prepared(batch, breaks, columns, next_offset, self._flow.calls_of(batch))
        if not desk.open(columns):
            columns = columns.slice(0, 0)
        before = reader.snapshot()
        while True:
            may_wait = False
            try:
                batch, breaks = reader.admit(columns, self._flow.clocks)
                may_wait = True
                calls = self._flow.calls_of(batch)
            except RecordFailure as failure:
                reader.go_back(before)
                index = bisect_left(columns.offsets, failure.position)
                columns, next_offset = columns.slice(0, index), failure.position
                if index == 0:
                    try:
                        desk.failed(failure, again=may_wait)
                    except TryAgain as again:
                        return self._nothing(columns, again)
                    next_offset += 1
                continue
            return Prepared(batch, breaks, columns, next_offset, calls, before)

    def _nothing(self, columns: Columns, again: TryAgain) -> Prepared:
        offset, wait_ms = again.args
        batch, breaks = self.reader.admit(columns.slice(0, 0), self._flow.clocks)
        return Prepared(batch, breaks, columns, offset, (), wait_ms=wait_ms)

    # Behind them.

    def finish(
        self, prepared: Prepared, answers: Sequence[Answer], act: Callable[[Break], None]
    ) -> Ran:
        """Processes a piece; `act` has steps act where time has moved.

        Raises:
            RecordFailure: If a record stops the pipeline.
            SpoiledTaskError: If the task is to be dropped and taken over again.
        """
        batch = prepared.batch
        self._flow.take_answers(prepared.calls, answers)
        try:
            start = 0
            for each in prepared.breaks:
                if start < each.position:
                    self._run(batch, start, each.position)
                act(each)
                self._acted_for = each.cause
                start = each.position
            self._run(batch, start, len(batch.values))
        except TryAgain as again:
            return self._rest(prepared, again)
        self._desk.close()
        return Ran(prepared.next_offset, len(prepared.columns), prepared.wait_ms)

    def _run(self, batch: Batch, start: int, stop: int) -> None:
        desk = self._desk
        if desk.is_strict:
            self._flow.run(batch, start, stop)
            return
        while start < stop:
            end = desk.first_left_out(batch.offsets, batch.keys, start, stop)
            failed = self._flow.run_carefully(batch, start, end)
            if failed is not None:
                self._decide(failed, batch.offsets[failed.index])
                start = failed.index + 1
                continue
            if end < stop:
                self.passed_poison |= desk.leave_out(batch.offsets[end])
                end += 1
            start = end

    def _decide(self, failed: Failed, offset: int) -> None:
        # Nobody can rest in front of a record for which steps have acted already.
        if failed.spoils or (self._desk.may_wait and self._acted_for == offset):
            raise self._desk.spoiled(failed.failure)
        self._desk.failed(failed.failure, again=True)

    def _rest(self, prepared: Prepared, again: TryAgain) -> Ran:
        """Has the reader see again what was processed, and no more."""
        offset, wait_ms = again.args
        count = bisect_left(prepared.columns.offsets, offset)
        self.reader.go_back(prepared.before)
        self.reader.admit(prepared.columns.slice(0, count), self._flow.clocks)
        return Ran(offset, count, wait_ms)
