"""Who wrote what a task reads, and how time passes for it: decided record by record.

A reader of a repartition topic keeps for each writer the newest epoch, the last sequence and the
stream time, and by them

* drops what an owner with an older epoch wrote: it was paused, and woke up late;
* drops what it has seen: the writer crashed and repeats itself;
* judges lateness by the writer's own stream time on the record, so what is late does not depend on
  how the writers' records are mixed;
* lets time pass when the smallest stream time of all writers does. A writer that was never heard of
  holds everything open; one that said it is idle holds up nothing until it writes again. If all
  were idle and one writes again, the others get some time to do so too before they are idle again:
  sources fall silent together and wake up together, and the last to wake up is not late for that.

A chunk of records is admitted at once, and cut at `Break`s: the places where windows close. Between
two breaks no window can close, because closing needs time to pass the next multiple of a window's
size, and that is what the cut looks for. A source partition has one writer, itself, and its time is
the largest event time so far.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, TypeAlias

from streamlog.processing.repartition.position import (
    BLOCK,
    DRAIN_MARKER,
    HEADER,
    IDLE_MARKER,
    MARKER,
    MARKER_HEADER,
    MARKER_SIZE,
    NO_TIME,
    POSITION,
    POSITION_SIZE,
    TIME_MARKER,
    TIMED_POSITION,
    TIMED_POSITION_SIZE,
)
from streamlog.processing.state.meta import NO_SEQUENCE

if TYPE_CHECKING:
    from mypy_extensions import i64

    from streamlog.records.columns import Headers

FOREVER: Final = 2**62
WAKING_MARKERS: Final = 5
"""How many markers of time, one with each checkpoint, a silent writer is given to wake up."""
LATE: Final = NO_TIME
"""In place of a window's end."""

_unpack: Final = POSITION.unpack

StepClock: TypeAlias = tuple[int, int]
"""Of one windowed step: how far its closing lags behind time (all graces on the way), its size."""


class ForeignRecordError(Exception):
    """A record in a repartition topic that no task of ours wrote; its argument is its index."""


class Break:
    """A place between two records where time has moved far enough for a window to close.

    Attributes:
        position: Index of the admitted record before which it is.
        cause: Offset of the record or marker that moved time.
        time: What the time of the task is from here on.
        drained: Whether every writer has said that it has no more to come.
    """

    __slots__ = ("cause", "drained", "position", "time")

    def __init__(self, position: int, cause: int, time: int, drained: bool) -> None:
        self.position = position
        self.cause = cause
        self.time = time
        self.drained = drained


class Admitted:
    """What of a chunk counts.

    Attributes:
        kept: Indices of the records that count.
        writers: Of each of these, who wrote it.
        times: Of each of these, the stream time by which its lateness is judged.
        task_times: Of each of these, the smallest stream time of all writers.
        breaks: Where windows close.
    """

    __slots__ = ("breaks", "kept", "task_times", "times", "writers")

    def __init__(self) -> None:
        self.kept: list[int] = []
        self.writers: list[int] = []
        self.times: list[int] = []
        self.task_times: list[int] = []
        self.breaks: list[Break] = []


class Writer:
    """How far a reader has come with one writer.

    Attributes:
        marked: The last marker's sequence.
        withdrawn: What a rewind took back; see the module `withdrawn`.
        idle: 1 if it is silent for now, and nobody waits for it; more if it is waited for, for so
            many markers of time and one.
    """

    __slots__ = ("drained", "epoch", "idle", "marked", "sequence", "time", "withdrawn")

    def __init__(
        self,
        epoch: int = -1,
        sequence: int = NO_SEQUENCE,
        time: int = NO_TIME,
        drained: bool = False,
        marked: int = NO_SEQUENCE,
        withdrawn: tuple[tuple[int, int], ...] = (),
        idle: int = 0,
    ) -> None:
        self.epoch = epoch
        self.sequence = sequence
        self.time = time
        self.drained = drained
        self.marked = marked
        self.withdrawn = withdrawn
        self.idle = idle

    def copy(self) -> Writer:
        """Returns another one that knows the same."""
        return Writer(
            self.epoch,
            self.sequence,
            self.time,
            self.drained,
            self.marked,
            self.withdrawn,
            self.idle,
        )


class Writers:
    """All writers of one repartition partition.

    Args:
        expected: The writers that there are, by the plan.
    """

    __slots__ = ("time", "writers")

    def __init__(self, expected: list[int]) -> None:
        self.writers: dict[int, Writer] = {each: Writer() for each in expected}
        self.time: int = NO_TIME
        """The smallest stream time of all that are not idle; it never goes back."""

    def restore(self, known: dict[int, Writer], time: int) -> None:
        """Takes up where a checkpoint ended, at its time."""
        self.writers.update(known)
        self.time = time
        self._settle()

    def snapshot(self) -> tuple[int, dict[int, Writer]]:
        """Returns all that is known, to go back to."""
        return self.time, {number: each.copy() for number, each in self.writers.items()}

    def go_back(self, snapshot: tuple[int, dict[int, Writer]]) -> None:
        """Forgets what came after a snapshot."""
        self.time = snapshot[0]
        self.writers.clear()
        for number, each in snapshot[1].items():
            self.writers[number] = each.copy()

    def drained(self) -> bool:
        """Returns whether every writer has said that it has no more to come."""
        return all(each.drained for each in self.writers.values())

    def admit(
        self,
        headers: list[Headers],
        offsets: list[int],
        first: int,
        clocks: list[StepClock],
    ) -> Admitted:
        """Decides what counts of a chunk from index `first` on, and where windows close.

        Raises:
            ForeignRecordError: If a record bears no position.
        """
        positions = _plain_positions(headers) if first == 0 else ()
        if positions:
            return self._admit_plain(positions, offsets, clocks)
        admitted = Admitted()
        kept = admitted.kept
        break_at = next_break(self.time, clocks)
        index = first
        stop = len(offsets)
        while index < stop:
            number, epoch, sequence, time, record_time, marker = read_position(
                headers[index], index
            )
            writer = self.writers.get(number)
            if writer is None:
                writer = self._newcomer(number)
            if epoch < writer.epoch:
                index += 1
                continue
            writer.epoch = epoch
            if marker >= 0 or sequence > writer.sequence:
                self._note_idle(writer, marker == IDLE_MARKER)
                if time > writer.time:
                    self._advance(writer, time)
                if marker == TIME_MARKER:
                    self._count_down(number)
                # Whoever reads on after a drain says so by whatever comes next but silence.
                writer.drained = marker == DRAIN_MARKER or (
                    marker == IDLE_MARKER and writer.drained
                )
                if marker == DRAIN_MARKER and self.drained():
                    admitted.breaks.append(Break(len(kept), offsets[index], self.time, True))
                    break_at = next_break(self.time, clocks)
                elif self.time >= break_at:
                    admitted.breaks.append(Break(len(kept), offsets[index], self.time, False))
                    break_at = next_break(self.time, clocks)
                if marker < 0:
                    writer.sequence = sequence
                    kept.append(index)
                    admitted.writers.append(number)
                    admitted.times.append(record_time)
                    admitted.task_times.append(self.time)
                else:
                    seen = sequence if marker == TIME_MARKER else sequence + BLOCK - 1
                    if seen > writer.marked:
                        writer.marked = seen
            index += 1
        return admitted

    def _admit_plain(
        self, positions: tuple[int, ...], offsets: list[int], clocks: list[StepClock]
    ) -> Admitted:
        """As `admit`, if no record is a marker or has a time of its own."""
        admitted = Admitted()
        kept = admitted.kept
        writers, times, task_times = admitted.writers, admitted.times, admitted.task_times
        break_at: i64 = next_break(self.time, clocks)
        newest: i64 = -1
        """Who wrote the last record that counts, with the epoch; nobody older is let in."""
        number: i64 = 0
        writer = Writer()
        count: i64 = len(offsets)
        index: i64 = 0
        while index < count:
            who: i64 = positions[3 * index]
            sequence: i64 = positions[3 * index + 1]
            time: i64 = positions[3 * index + 2]
            if who != newest:
                newest = -1
                number = who >> 32
                epoch = who & 0xFFFFFFFF
                known = self.writers.get(number)
                writer = self._newcomer(number) if known is None else known
                if epoch < writer.epoch:
                    index += 1
                    continue
                writer.epoch = epoch
                newest = who
            if sequence > writer.sequence:
                if writer.idle > 0:
                    self._note_idle(writer, False)
                if time > writer.time:
                    self._advance(writer, time)
                writer.drained = False
                if self.time >= break_at:
                    admitted.breaks.append(Break(len(kept), offsets[index], self.time, False))
                    break_at = next_break(self.time, clocks)
                writer.sequence = sequence
                kept.append(index)
                writers.append(number)
                times.append(time)
                task_times.append(self.time)
            index += 1
        return admitted

    def _newcomer(self, number: int) -> Writer:
        """A source has got more partitions; until all are heard of, time stands still."""
        writer = Writer()
        self.writers[number] = writer
        self.time = NO_TIME
        return writer

    def _note_idle(self, writer: Writer, idle: bool) -> None:
        if idle and writer.idle != 1:
            writer.idle = 1
            self._settle()
        elif not idle and writer.idle > 0:
            if all(each.idle > 0 for each in self.writers.values()):
                for each in self.writers.values():
                    each.idle = 1 + WAKING_MARKERS
            writer.idle = 0

    def _count_down(self, number: int) -> None:
        """One marker more of time has come: those that were given time to wake up have less."""
        awake = [each for each, writer in self.writers.items() if writer.idle == 0]
        if not awake or min(awake) != number:
            return  # The markers of one writer are counted, however many there are.
        idle_again = False
        for each in self.writers.values():
            if each.idle > 1:
                each.idle -= 1
                idle_again = idle_again or each.idle == 1
        if idle_again:
            self._settle()

    def _advance(self, writer: Writer, time: int) -> None:
        # One that was idle may be far behind.
        held_up = writer.time <= self.time
        writer.time = time
        if held_up:
            self._settle()

    def _settle(self) -> None:
        """Lets time pass as far as nobody holds it up; to the largest of all if all are idle."""
        smallest = FOREVER
        largest = NO_TIME
        for each in self.writers.values():
            if each.time < smallest and each.idle != 1:
                smallest = each.time
            if each.time > largest:
                largest = each.time
        time = largest if smallest == FOREVER else smallest
        if time > self.time:
            self.time = time


def _plain_positions(headers: list[Headers]) -> tuple[int, ...]:
    """Reads positions all of which are plain; returns nothing if one is not.

    Of each: writer and epoch as one number, sequence, time.
    """
    found: list[bytes] = []
    for row in headers:
        if len(row) != 1:
            return ()
        name, data = row[0]
        if data is None or len(data) != POSITION_SIZE or name != HEADER:
            return ()
        found.append(data)
    positions: tuple[int, ...] = struct.unpack(f">{3 * len(found)}q", b"".join(found))
    return positions


def read_position(headers: Headers, index: int) -> tuple[int, int, int, int, int, int]:
    """Reads a position: writer, epoch, sequence, both times, and a marker's kind or -1."""
    if len(headers) != 1:
        raise ForeignRecordError(index)
    name, data = headers[0]
    if data is not None:
        if name == HEADER:
            if len(data) == POSITION_SIZE:
                writer, epoch, sequence, time = _unpack(data)
                return writer, epoch, sequence, time, time, -1
            if len(data) == TIMED_POSITION_SIZE:
                writer, epoch, sequence, time, record_time = TIMED_POSITION.unpack(data)
                return writer, epoch, sequence, time, record_time, -1
        if name == MARKER_HEADER and len(data) == MARKER_SIZE:
            writer, epoch, sequence, time, kind = MARKER.unpack(data)
            return writer, epoch, sequence, time, time, kind
    raise ForeignRecordError(index)


def advance(
    timestamps: list[int], offsets: list[int], time: int, clocks: list[StepClock]
) -> tuple[list[int], list[Break]]:
    """Lets time pass in a source partition; returns it at each record, and where windows close."""
    times: list[int] = []
    breaks: list[Break] = []
    break_at = next_break(time, clocks)
    for timestamp in timestamps:
        if timestamp > time:
            time = timestamp
            if time >= break_at:
                position = len(times)
                breaks.append(Break(position, offsets[position], time, False))
                break_at = next_break(time, clocks)
        times.append(time)
    return times, breaks


def next_break(time: int, clocks: list[StepClock]) -> int:
    """Returns the first time after `time` at which a window may close."""
    nearest = FOREVER
    for lag, size in clocks:
        if time == NO_TIME:
            return NO_TIME + 1
        at = boundary(time, lag, size) + size + lag
        if at < nearest:
            nearest = at
    return nearest


def boundary(time: int, lag: int, size: int) -> int:
    """Returns the last end of a window that is closed at a time."""
    moment = time - lag
    return moment - moment % size


def assign(
    ends: list[int],
    timestamps: list[int],
    times: list[int],
    stop: int,
    size: int,
    grace: int,
    closed_through: int,
) -> None:
    """Appends to `ends` up to index `stop`: the end of a record's window, `LATE` if it is over."""
    for index in range(len(ends), stop):
        timestamp = timestamps[index]
        end = timestamp - timestamp % size + size
        if end + grace <= times[index] or end <= closed_through:
            end = LATE
        ends.append(end)
