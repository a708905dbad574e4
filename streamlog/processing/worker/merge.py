"""Several sources as one: in which order a task takes the records of all its inputs.

The order is that of time. A record's time here is the largest event time of its input so far, so
within an input the order is that of the log; of two inputs' next records the one with the smaller
time comes first, then the one of the first input. So the order is a function of what is in the log,
and of nothing else: not of which chunk was fetched first, nor of how large it was. As long as it is
kept, nothing comes late: time goes through all inputs at once.

For that, the next record of every input has to be known. An input without one holds the others up,
as far as its next record may still have to come before theirs. Once it is known to be silent (read
to its end, and nothing more for a while) the others go on without it: that depends on the moment,
so it is a decision, and on record before it acts (`decisions`). From then on the input is *idle*,
and what comes from it waits for another decision that says where in the order it was heard again.
If all were idle and one is heard again, all of them are waited for anew: sources fall silent
together and wake up together.

Whoever takes over after a crash has to take the same order as far as its predecessor may have come,
and knows of no more than the last checkpoint. So each checkpoint says how far the others may pass
an idle input by (`pass_until`, a count): up to there it is not heard whatever has come of it since,
and there the question is asked anew.

Places in this order are counted, and these counts are what a task knows as offsets: its decisions,
the sequences of what it writes and the records that failed are known by them. A checkpoint holds
the count, and for each input the next offset, its time and whether it is idle.

The module is written in the typed subset that mypyc compiles.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.worker.merged import MergedColumns

if TYPE_CHECKING:
    from streamlog.records.columns import Columns, Headers

FOREVER: Final = 2**62
RECORDS_WAITING_MAX: Final = 20_000
BYTES_WAITING_MAX: Final = 16 << 20
"""Of one input, beyond which no more of it is fetched for now."""

State: TypeAlias = "list[tuple[int | None, int, bool, int]]"
"""Of each input: the next offset, its time, whether it is idle, and up to which count the others
may pass it by."""


class Opened:
    """A chunk of one input whose values are decoded and whose times are known."""

    __slots__ = (
        "columns",
        "decoded",
        "has_unreadable",
        "moments",
        "next_offset",
        "size_bytes",
        "times",
    )

    def __init__(
        self,
        columns: Columns,
        next_offset: int,
        decoded: list[Any],
        moments: list[int],
        times: list[int],
        has_unreadable: bool,
    ) -> None:
        self.columns = columns
        self.next_offset: int = next_offset
        self.decoded = decoded
        self.moments = moments
        self.times = times
        self.has_unreadable: bool = has_unreadable
        size = 0
        for value in columns.values:
            if value is not None:
                size += len(value)
        self.size_bytes: int = size


class Input:
    """One of the sources.

    Attributes:
        next_offset: Of what is still to be taken; `None`: it was never read.
        time: The largest event time of what was taken.
        end_time: Of what was handed in.
        end_offset: Behind what was handed in.
        idle: Whether nobody waits for it.
        pass_until: If it is: up to which count the others may go without it.
        chunks: What waits, oldest first.
        at: The index of the next record in the first of them.
    """

    __slots__ = (
        "at",
        "chunks",
        "end_offset",
        "end_time",
        "idle",
        "next_offset",
        "pass_until",
        "time",
    )

    def __init__(self, next_offset: int | None, time: int, idle: bool, pass_until: int) -> None:
        self.next_offset = next_offset
        self.time: int = time
        self.idle: bool = idle
        self.pass_until: int = pass_until
        self.end_offset = next_offset
        self.end_time: int = time
        self.chunks: list[Opened] = []
        self.at: int = 0

    def head(self) -> int:
        """The time of the next record; only if there is one."""
        return self.chunks[0].times[self.at]

    def drop(self) -> None:
        """Forgets what waits."""
        self.chunks = []
        self.at = 0
        self.end_offset = self.next_offset
        self.end_time = self.time

    def waiting(self) -> int:
        """Returns how many records wait."""
        count = -self.at
        for chunk in self.chunks:
            count += len(chunk.times)
        return count


class Merge:
    """Takes the records of several inputs in one order.

    Args:
        state: As a checkpoint has it.
        count: How many records were taken before.
    """

    __slots__ = ("_last", "count", "inputs")

    def __init__(self, state: State, count: int) -> None:
        self.inputs: list[Input] = [Input(at, time, idle, until) for at, time, idle, until in state]
        self.count: int = count
        self._last: State = state

    def state(self) -> State:
        """Returns what a checkpoint has to hold, beside the count."""
        return [(each.next_offset, each.time, each.idle, each.pass_until) for each in self.inputs]

    def has_waiting(self) -> bool:
        """Whether any record waits, idle inputs' included."""
        return any(bool(each.chunks) for each in self.inputs)

    def is_full(self, number: int) -> bool:
        """Whether so much of an input waits that no more should be fetched."""
        each = self.inputs[number]
        size = 0
        for chunk in each.chunks:
            size += chunk.size_bytes
        return size > BYTES_WAITING_MAX or each.waiting() > RECORDS_WAITING_MAX

    def offer(self, number: int, chunk: Opened) -> None:
        """Hands in what comes next of an input; it begins behind what was handed in before."""
        each = self.inputs[number]
        each.end_offset = chunk.next_offset
        if chunk.times:
            each.end_time = chunk.times[-1]
            each.chunks.append(chunk)
        elif each.chunks:
            each.chunks[-1].next_offset = chunk.next_offset
        else:
            each.next_offset = chunk.next_offset

    def drop(self) -> None:
        """Forgets what waits; it has to be read again."""
        for each in self.inputs:
            each.drop()

    # Silence.

    def fall_idle(self, number: int, pass_until: int = FOREVER) -> None:
        """The others go on without an input from here on, up to a count."""
        self.inputs[number].idle = True
        self.inputs[number].pass_until = pass_until

    def wake(self, number: int) -> None:
        """An input is heard again from here on."""
        if self._all_idle():
            for each in self.inputs:
                each.idle = False
        self.inputs[number].idle = False

    def _all_idle(self) -> bool:
        return all(each.idle for each in self.inputs)

    def holds_up(self, number: int) -> bool:
        """Whether others wait for the next record of an input, or for word that there is none."""
        mine = self.inputs[number]
        if mine.chunks if not mine.idle else self.count < mine.pass_until:
            return False
        return any(bool(each.chunks) and not each.idle for each in self.inputs)

    # Taking.

    def passable(self) -> int:
        """Returns up to which count idle inputs may be passed by."""
        until = FOREVER
        for each in self.inputs:
            if each.idle and each.pass_until < until:
                until = each.pass_until
        return until

    def take(self, stop: int) -> MergedColumns | None:
        """Takes records as far as their order is known.

        Args:
            stop: The count to go up to at most; see `passable`.

        Returns:
            The records, or nothing if none can be taken now.
        """
        self._last = self.state()
        runs: list[tuple[int, Opened, int, int]] = []
        left = stop - self.count
        while left > 0:
            number = self._first()
            if number < 0:
                break
            each = self.inputs[number]
            chunk = each.chunks[0]
            end = bisect_right(chunk.times, self._limit(number), each.at)
            if end == each.at:
                break
            if end - each.at > left:
                end = each.at + left
            runs.append((number, chunk, each.at, end))
            left -= end - each.at
            self._move(each, chunk, end)
        if not runs:
            return None
        begin = self.count
        self.count = stop - left
        return _columns(runs, begin, self.count)

    def give_back(self, columns: MergedColumns, taken: int) -> None:
        """Goes back to behind the first `taken` records of what was taken last; forgets the rest.

        What waits has to be read again.
        """
        for number, (next_offset, time, _, _) in enumerate(self._last):
            self.inputs[number].next_offset = next_offset
            self.inputs[number].time = time
        for index in range(taken):
            each = self.inputs[columns.inputs[index]]
            each.next_offset = columns.places[index] + 1
            each.time = columns.times[index]
        self.count = columns.offsets[0] + taken
        self.drop()

    def _first(self) -> int:
        """The input whose record is next, as far as is known; -1 if there is none."""
        best = -1
        least = FOREVER
        for number, each in enumerate(self.inputs):
            if each.chunks and not each.idle:
                head = each.head()
                if head < least:
                    best, least = number, head
        return best

    def _limit(self, number: int) -> int:
        """Up to which time an input's records come before those of all others."""
        limit = FOREVER
        for other, each in enumerate(self.inputs):
            if other == number or each.idle:
                continue
            bound = each.head() if each.chunks else each.time
            if other < number:
                bound -= 1
            if bound < limit:
                limit = bound
        return limit

    def _move(self, each: Input, chunk: Opened, end: int) -> None:
        each.time = chunk.times[end - 1]
        if end == len(chunk.times):
            each.next_offset = chunk.next_offset
            each.chunks.pop(0)
            each.at = 0
        else:
            each.next_offset = chunk.columns.offsets[end]
            each.at = end


def _columns(runs: list[tuple[int, Opened, int, int]], begin: int, end: int) -> MergedColumns:
    timestamps: list[int] = []
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    inputs: list[int] = []
    places: list[int] = []
    decoded: list[Any] = []
    moments: list[int] = []
    times: list[int] = []
    headers: list[Headers] | None = None
    has_unreadable = False
    for number, chunk, start, stop in runs:
        columns = chunk.columns
        if columns.headers is not None:
            if headers is None:
                headers = [()] * len(inputs)
            headers += columns.headers[start:stop]
        elif headers is not None:
            headers += [()] * (stop - start)
        timestamps += columns.timestamps[start:stop]
        keys += columns.keys[start:stop]
        values += columns.values[start:stop]
        places += columns.offsets[start:stop]
        decoded += chunk.decoded[start:stop]
        moments += chunk.moments[start:stop]
        times += chunk.times[start:stop]
        inputs += [number] * (stop - start)
        has_unreadable = has_unreadable or chunk.has_unreadable
    return MergedColumns(
        list(range(begin, end)),
        timestamps,
        keys,
        values,
        headers,
        inputs,
        places,
        decoded,
        moments,
        times,
        has_unreadable,
    )


def running(moments: list[int], time: int) -> list[int]:
    """Returns the largest moment so far at each, beginning with a time."""
    times: list[int] = []
    for moment in moments:
        if moment > time:
            time = moment
        times.append(time)
    return times
