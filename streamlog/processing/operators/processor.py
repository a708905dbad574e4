"""The user's own step with state and timers, as an operator.

Everything that the user's code does goes by what is in the log: it is called for each record, and
for each timer that is due, in the order of due time, key and name. Behind `in_order`, a timer is
fired before the first record that is not older than it, so there records and timers have one order,
however writers are mixed. Timers of the wall clock know nothing of the moment at which they are
fired, so if a crash repeats that at a later moment, what comes out begins in the same way.

A call that fails leaves no trace in state and timers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003 (the public signatures name it)
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from streamlog.processing.dsl.moments import utc
from streamlog.processing.operators.event_time import milliseconds_of
from streamlog.processing.operators.named_state import Place, key_token
from streamlog.processing.operators.operator import NOTHING, Operator
from streamlog.processing.operators.timers import Timers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.timers import Due

TIMER_NAME_SIZE_MAX: Final = 64

Outputs: TypeAlias = "Iterable[Any] | None"


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer that is due.

    Args:
        name: As it was set.
        at: When it was due; never later than the clock that it goes by.
        wall: Whether it goes by the wall clock, and not by stream time.
    """

    name: str
    at: datetime
    wall: bool = False


class ProcessorContext:
    """What a processor's function is called with beside the record.

    Attributes:
        key: The record's key, or that of the timer.
        timestamp: The event time of the record, in milliseconds since 1970; of a timer when it was
            due. What the call yields has it as well.
    """

    def __init__(self, event_timers: Timers, wall_timers: Timers) -> None:
        self.key: bytes | None = None
        self.timestamp = 0
        self._event_timers = event_timers
        self._wall_timers = wall_timers
        self._fired: tuple[int, bool] | None = None

    @property
    def event_time(self) -> datetime:
        """`timestamp` as a datetime."""
        return utc(self.timestamp)

    def timer(self, at: datetime | int, name: str = "") -> None:
        """Has `on_timer` called when stream time has come to a moment.

        A key has one timer of each name: setting it again moves it. A moment that has passed
        already is due at once.

        Args:
            at: A datetime with a time zone, or milliseconds since 1970.
            name: Tells the timers of a key apart.
        """
        moment = self._moment(at, name, wall=False)
        self._event_timers.set(self.key, name, moment, self.timestamp)

    def wall_timer(self, at: datetime | int, name: str = "") -> None:
        """Has `on_timer` called when the clock on the wall has come to a moment.

        For what has to happen though no records come. When it was fired is written to the log, so
        that whoever processes it again fires it at the same place.

        Args:
            at: A datetime with a time zone, or milliseconds since 1970: `ctx.event_time +
                timedelta(minutes=5)` is five minutes after the record, if records are new.
            name: Tells the timers of a key apart; those of the wall clock have names of their own.
        """
        moment = self._moment(at, name, wall=True)
        self._wall_timers.set(self.key, name, moment, self.timestamp)

    def cancel(self, name: str = "") -> None:
        """Removes a timer of `timer`, if it is set."""
        self._event_timers.cancel(self.key, name)

    def cancel_wall(self, name: str = "") -> None:
        """Removes a timer of `wall_timer`, if it is set."""
        self._wall_timers.cancel(self.key, name)

    def _moment(self, at: datetime | int, name: str, *, wall: bool) -> int:
        if len(name.encode()) > TIMER_NAME_SIZE_MAX:
            raise ValueError(
                f"{name!r} is too long for a timer's name: at most {TIMER_NAME_SIZE_MAX} bytes"
            )
        moment = milliseconds_of(at)
        if self._fired is not None and self._fired[1] is wall and moment <= self._fired[0]:
            raise ValueError(
                f"a timer that was due at {utc(self._fired[0])} sets one for "
                f"{utc(moment)}, which would be fired at once, and again and again"
            )
        return moment

    def begin(self, key: bytes | None, timestamp: int, fired: tuple[int, bool] | None) -> None:
        """A call begins."""
        self.key = key
        self.timestamp = timestamp
        self._fired = fired


@dataclass(frozen=True, slots=True)
class Calls:
    """A processor of one task, bound to its state."""

    process: Callable[[bytes | None, Value, ProcessorContext], Outputs]
    on_timer: Callable[[bytes | None, Timer, ProcessorContext], Outputs]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorStep:
    """What the user declared.

    Args:
        name: Of the class or function, for messages.
        bind: Makes the user's object for one task, whose states are kept in a place.
        layout: What its states look like.
        ordered: Whether records come in the order of event time.
    """

    name: str
    bind: Callable[[Place], Calls]
    layout: str
    ordered: bool = False

    def make(self, context: OperatorContext) -> Operator:
        """Returns the operator of a task."""
        return ProcessorOperator(self, context)


class ProcessorOperator(Operator):
    """Calls the user's code.

    Args:
        step: What it is.
        context: Of its task.
    """

    def __init__(self, step: ProcessorStep, context: OperatorContext) -> None:
        tables = [context.table(number) for number in range(5)]
        super().__init__(tables)
        self._place = Place(tables[0])
        self._event_timers = Timers(tables[1], tables[2])
        self._wall_timers = Timers(tables[3], tables[4])
        self._context = ProcessorContext(self._event_timers, self._wall_timers)
        self._step = step
        self._calls = step.bind(self._place)

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        """Calls `process`."""
        first: Sequence[Result] = NOTHING
        if self._step.ordered:
            # Nothing older can follow. Time itself may go on in larger steps, of which it depends
            # on the mix of the writers how large.
            first = self._fire(self._event_timers, timestamp, wall=False)
        self._context.begin(key, timestamp, None)
        self._enter(key)
        failed = True
        try:
            outputs = self._calls.process(key, value, self._context)
            results = self._results(outputs, "process")
            failed = False
        finally:
            self._leave(failed)
        return [*first, *results] if first else results

    def advance(self, time: int) -> Sequence[Result]:
        """Calls `on_timer` for what is due."""
        self.now = max(self.now, time)
        return self._fire(self._event_timers, self.now, wall=False)

    def drain(self) -> Sequence[Result]:
        """Calls `on_timer` as if time went on until the last timer that is set now."""
        last = self._event_timers.last()
        return NOTHING if last is None else self._fire(self._event_timers, last, wall=False)

    def tick(self, wall_ms: int) -> Sequence[Result]:
        """Calls `on_timer` for what is due by the wall clock."""
        return self._fire(self._wall_timers, wall_ms, wall=True)

    def next_tick(self) -> int | None:
        """Returns when the first timer of the wall clock is due."""
        return self._wall_timers.first

    def _fire(self, timers: Timers, through: int, *, wall: bool) -> Sequence[Result]:
        results: list[Result] = []
        for due in timers.fire(through):
            results += self._call_timer(due, wall=wall)
        return results

    def _call_timer(self, due: Due, *, wall: bool) -> Sequence[Result]:
        # What comes out must not be older than what it comes of; nor, of the wall clock, than
        # what stream time has passed.
        timestamp = max(due.set_at, self.now if wall else due.at)
        timer = Timer(due.name, utc(due.at), wall)
        self._context.begin(due.key, timestamp, (due.at, wall))
        self._enter(due.key)
        failed = True
        try:
            outputs = self._calls.on_timer(due.key, timer, self._context)
            results = self._results(outputs, "on_timer")
            failed = False
        finally:
            self._leave(failed)
        return results

    def _enter(self, key: bytes | None) -> None:
        self._place.enter(key_token(key))

    def _leave(self, failed: bool) -> None:
        self._place.leave(failed=failed)
        self._event_timers.call_is_over(failed=failed)
        self._wall_timers.call_is_over(failed=failed)

    def _results(self, outputs: Outputs, what: str) -> Sequence[Result]:
        """What a call of the user's code has put out; a generator runs here."""
        if outputs is None:
            return NOTHING
        key, timestamp = self._context.key, self._context.timestamp
        values = list(_iterable(outputs, self._step.name, what))
        return [(key, value, timestamp) for value in values] if values else NOTHING


def _iterable(outputs: object, name: str, what: str) -> Iterable[Any]:
    if outputs.__class__ is list or outputs.__class__ is tuple:
        return outputs
    if isinstance(outputs, str | bytes | dict) or not hasattr(outputs, "__iter__"):
        raise TypeError(
            f"{name}.{what} returned {outputs!r}: write `yield` in place of `return`, or return a "
            "list of what shall come out"
        )
    return outputs
