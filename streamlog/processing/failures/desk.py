"""The desk to which a task brings every record that failed; it says what becomes of the record.

A failure is *clean* if the record had changed nothing when it happened: then the task goes on
behind the record or, if it is to be tried again, rests in front of it. If the record may have
changed state by then, the task is *spoiled*: it is dropped and taken over again from its last
checkpoint, and when it comes to the record, leaves it out from the start.

Three things are part of the task's state, so that they are as exact as the rest of it:

* the records that were *set aside* as dead letters. One that comes back counts if it is among them,
  and then no longer is. So it counts once, however often it is sent, and a rewind to before it
  failed does not count it twice;
* the keys that are held, where order is kept (see `holds`);
* how many records were skipped and set aside.

Where a task reads several sources together, it knows records by their place in the order of all of
them (`MergedColumns.offsets`); what is sent to others and comes back bears the record's own topic
and offset, and order is kept among the records of a key in one topic.
"""

from __future__ import annotations

import logging
import struct
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from streamlog.processing.failures.dead_letters import (
    Cause,
    Returned,
    cause_of,
    headers_with,
    read_return,
    rfc3339,
)
from streamlog.processing.failures.holds import Holds
from streamlog.processing.failures.ledger import Ledger, SpoiledTaskError, TryAgain
from streamlog.processing.failures.policy import DeadLetter, Retry, Stop, verdict_of
from streamlog.processing.state.keys import store_id
from streamlog.processing.state.row_table import RowTable
from streamlog.processing.worker.merged import MergedColumns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.errors import RecordFailure
    from streamlog.processing.failures.holds import Hold
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.processing.state.store import TaskStore
    from streamlog.processing.worker.placement import TaskName
    from streamlog.records.columns import Columns, Headers

logger = logging.getLogger(__name__)

STORE: Final = "failed records"
"""Where the state is kept; no step can be called so, for it has a space."""
COUNTS: Final = b"counts"
_OFFSET: Final = struct.Struct(">Q")
WAITING_BYTES_MAX: Final = 8 * 1024 * 1024
"""Of dead letters that wait for a checkpoint."""
LETTER_BYTES_MAX: Final = 960_000
"""A producer takes no larger record; the value of a larger one is left where it stands."""


class Counts(msgspec.Struct, array_like=True):
    """Of records, since the state began."""

    skipped: int = 0
    dead_letters: int = 0


@dataclass(slots=True)
class Letters:
    """Dead letters to produce."""

    keys: list[bytes | None] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    timestamps: list[int] = field(default_factory=list)
    headers: list[Headers] = field(default_factory=list)
    size_bytes: int = 0


_encode = msgspec.msgpack.encode
_decode_counts = msgspec.msgpack.Decoder(Counts).decode


class Desk:
    """Of one task.

    Args:
        policy: What becomes of its records that fail.
        pipeline: The pipeline's name.
        task: The task's.
        topics: What it reads.
        store: Its state.

    Attributes:
        ledger: The worker's, if it gave one.
        counts: Of records that failed, since the state began.
        tables: What a checkpoint has to write.
    """

    def __init__(
        self,
        policy: FailurePolicy,
        pipeline: str,
        task: TaskName,
        topics: Sequence[str],
        store: TaskStore,
    ) -> None:
        self.policy = policy
        self.ledger = Ledger()
        self._letters = Letters()
        self._pipeline = pipeline
        self._task = f"{task.sub_topology}/{task.partition}"
        self._topics = tuple(topics)
        self._partition = task.partition
        identity = store_id(STORE)
        self.tables = tuple(RowTable(store, identity, number) for number in range(3))
        self._set_aside, holds, self._counts_table = self.tables
        self._holds = Holds(holds)
        row = self._counts_table.get(COUNTS)
        self.counts = Counts() if row is None else _decode_counts(row)
        self._columns: Columns | None = None
        self._returned: Returned | None = None
        self._failed_again = False

    # Before the records.

    @property
    def is_strict(self) -> bool:
        """Whether the first failure stops the pipeline and no record is to be left out."""
        return isinstance(self.policy, Stop) and not self._holds and not self.ledger.poison

    @property
    def may_wait(self) -> bool:
        """Whether a record may have to be tried again."""
        return isinstance(self.policy, Retry)

    def open(self, columns: Columns) -> bool:
        """Begins a piece; returns whether its records count at all."""
        self._columns = columns
        self._returned = None
        self._failed_again = False
        if columns.headers is None or len(columns) != 1:
            return True
        returned = read_return(columns.headers[0])
        if returned is None:
            return True
        if returned.pipeline != self._pipeline:
            return False
        if self._set_aside.get(_name(returned.offset, _input_of(columns, 0))) is None:
            return False
        if returned.dropped:
            self._settle(returned)
            return False
        hold = self._holds.of(_held_key(columns, 0))
        if hold is not None and hold.head not in (None, returned.offset):
            self._park(columns.offsets[0], hold, returned)
            return False
        self._returned = returned
        return True

    def close(self) -> None:
        """The piece is done with."""
        if self._returned is not None and not self._failed_again:
            assert self._columns is not None
            self._settle(self._returned)
        self._columns = None

    def first_left_out(
        self, offsets: list[int], keys: list[bytes | None], start: int, stop: int
    ) -> int:
        """Returns the index of the first record that must not be processed; `stop` if none is."""
        poison, columns = self.ledger.poison, self._columns
        if self._holds and self._returned is None:
            merged = columns if isinstance(columns, MergedColumns) else None
            for index in range(start, stop):
                key = keys[index]
                if merged is not None and key is not None:
                    key = _held_key(merged, index)
                if offsets[index] in poison or self._holds.of(key) is not None:
                    return index
            return stop
        for offset in sorted(poison):
            index = bisect_left(offsets, offset, start, stop)
            if index < stop and offsets[index] == offset:
                return index
        return stop

    def leave_out(self, offset: int) -> bool:
        """Decides on a record that is left out from the start; says whether it spoilt the task."""
        hold = self._hold_of(offset) if self._returned is None else None
        if hold is not None:
            self._park(offset, hold, None)
            return False
        self._decide(offset, self.ledger.poison[offset])
        return True

    # Failures.

    def failed(self, failure: RecordFailure, *, again: bool) -> None:
        """Decides on a record that failed and has changed nothing.

        Args:
            failure: What failed.
            again: Whether it may be tried again.

        Raises:
            RecordFailure: If it stops the pipeline.
            TryAgain: If it is to be tried again.
        """
        if self._holds and self._returned is None:
            # One that cannot be read is not left out before it fails.
            hold = self._hold_of(failure.position)
            if hold is not None:
                self._park(failure.position, hold, None)
                return
        cause = self._attempted(failure)
        if again and (wait_ms := self._wait_ms(cause)) is not None:
            raise TryAgain(failure.position, wait_ms)
        if isinstance(verdict_of(self.policy), Stop):
            raise failure
        self._decide(failure.position, cause)

    def spoiled(self, failure: RecordFailure) -> SpoiledTaskError:
        """Decides on a record that failed and may have changed state; returns what to raise.

        Raises:
            RecordFailure: If it stops the pipeline.
        """
        cause = self._attempted(failure)
        wait_ms = self._wait_ms(cause)
        if wait_ms is None:
            if isinstance(verdict_of(self.policy), Stop):
                raise failure
            self.ledger.poison[failure.position] = cause
        return SpoiledTaskError(cause, wait_ms or 0)

    def _attempted(self, failure: RecordFailure) -> Cause:
        attempts = 1
        if isinstance(self.policy, Retry):
            # A task that was taken over again comes by records which it has given up on before.
            tried = self.ledger.attempts.get(failure.position, 0)
            attempts = min(tried + 1, self.policy.attempts)
            self.ledger.attempts[failure.position] = attempts
        now_ms = self.ledger.now_ms()
        return cause_of(failure, self._pipeline, self._task, attempts=attempts, now_ms=now_ms)

    def _wait_ms(self, cause: Cause) -> int | None:
        policy = self.policy
        if not isinstance(policy, Retry) or cause.attempts >= policy.attempts:
            return None
        self.ledger.retried += 1
        wait_ms = policy.wait_ms(cause.attempts)
        logger.warning(
            "task %s: the record at offset %d of %s partition %d failed, attempt %d of %d; again "
            "in %.1f s: %s: %s",
            *(cause.task, cause.offset, cause.topic, cause.partition, cause.attempts),
            *(policy.attempts, wait_ms / 1000, cause.exception_class, cause.exception_message),
        )
        return wait_ms

    def _decide(self, offset: int, cause: Cause) -> None:
        verdict = verdict_of(self.policy)
        assert not isinstance(verdict, Stop)
        if isinstance(verdict, DeadLetter):
            self._failed_again = True
            if verdict.keep_order:
                cause = msgspec.structs.replace(cause, order="key")
            key = self._set_aside_as(offset, cause)
            if verdict.keep_order and key is not None:
                self._holds.begin(key, self._first(cause.offset))
        else:
            self.counts.skipped += 1
            self._put_counts()
        self._say(offset, cause, "set aside" if isinstance(verdict, DeadLetter) else "skipped")

    def _first(self, offset: int) -> int:
        """Where in its topic the record stood when it first failed: its identity."""
        return offset if self._returned is None else self._returned.offset

    def _say(self, offset: int, cause: Cause, what: str) -> None:
        """Logs the first few, and then ever fewer; each once, however often the task comes by."""
        if offset in self.ledger.said:
            return
        self.ledger.said.add(offset)
        count = self.counts.skipped + self.counts.dead_letters
        if count <= 10 or count % 10 ** (len(str(count)) - 1) == 0:
            logger.warning(
                "task %s: the record at offset %d of %s partition %d was %s (%d so far): %s (%s): "
                "%s: %s",
                *(cause.task, cause.offset, cause.topic, cause.partition, what, count),
                *(cause.step, cause.location, cause.exception_class, cause.exception_message),
            )

    # Dead letters.

    def _found(self, offset: int) -> tuple[Columns, int]:
        """Where a record of this piece is among its columns."""
        columns = self._columns
        assert columns is not None
        index = bisect_left(columns.offsets, offset)
        assert columns.offsets[index] == offset
        return columns, index

    def _hold_of(self, offset: int) -> Hold | None:
        return self._holds.of(_held_key(*self._found(offset)))

    def _set_aside_as(self, offset: int, cause: Cause) -> bytes | None:
        """Writes the dead letter of a record of this piece; returns the key that may be held."""
        columns, index = self._found(offset)
        own = () if columns.headers is None else columns.headers[index]
        key, value = columns.keys[index], columns.values[index]
        size = len(key or b"") + len(value or b"")
        size += sum(len(name) + len(data or b"") for name, data in own)
        if size > LETTER_BYTES_MAX:
            value, cause = None, msgspec.structs.replace(cause, left_bytes=len(value or b""))
        letters = self._letters
        letters.keys.append(key)
        letters.values.append(value)
        letters.timestamps.append(columns.timestamps[index])
        letters.headers.append(headers_with(cause, own))
        letters.size_bytes += size + len(cause.exception_stacktrace)
        self._set_aside.put(_name(self._first(cause.offset), _input_of(columns, index)), b"")
        self.counts.dead_letters += 1
        self._put_counts()
        return _held_key(columns, index)

    def take_letters(self, *, all_of_them: bool) -> Letters | None:
        """Returns the letters that are to be produced, if there are any.

        They wait for the next checkpoint, unless they are many: a task that is dropped and taken
        over again writes its letters again.
        """
        if not all_of_them and self._letters.size_bytes < WAITING_BYTES_MAX:
            return None
        letters, self._letters = self._letters, Letters()
        return letters if letters.keys else None

    def _put_counts(self) -> None:
        self._counts_table.put(COUNTS, _encode(self.counts))

    # Order.

    def _park(self, offset: int, hold: Hold, returned: Returned | None) -> None:
        """Sends a record after the one of its key which it must not overtake."""
        behind = hold.last if hold.head is None else hold.head
        self._returned = returned
        columns, index = self._found(offset)
        place = columns.places[index] if isinstance(columns, MergedColumns) else offset
        key = self._set_aside_as(
            offset,
            Cause(
                topic=self._topics[_input_of(columns, index) or 0],
                partition=self._partition,
                offset=place,
                pipeline=self._pipeline,
                task=self._task,
                exception_message=f"kept behind the record of its key at offset {behind}",
                attempts=0,
                time=rfc3339(self.ledger.now_ms()),
                order="key",
                behind=behind,
            ),
        )
        assert key is not None
        self._holds.follow(key, self._first(place))
        self._returned = None

    def _settle(self, returned: Returned) -> None:
        """A record that came back, alone in its piece, has passed."""
        columns = self._columns
        assert columns is not None
        self._set_aside.delete(_name(returned.offset, _input_of(columns, 0)))
        self._holds.passed(_held_key(columns, 0), returned.offset)


def _input_of(columns: Columns, index: int) -> int | None:
    """Which input a record comes from, if there are several."""
    return columns.inputs[index] if isinstance(columns, MergedColumns) else None


def _name(offset: int, number: int | None) -> bytes:
    """The row of a record that was set aside."""
    return _OFFSET.pack(offset) + (b"" if number is None else bytes([number]))


def _held_key(columns: Columns, index: int) -> bytes | None:
    """What is held where a record's key is: the key in the record's topic."""
    key = columns.keys[index]
    if key is None or not isinstance(columns, MergedColumns):
        return key
    return bytes([columns.inputs[index]]) + key
