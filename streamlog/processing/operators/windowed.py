"""What all windowed steps have in common: what is aggregated, what comes out and when.

Three ways of emission:

* *final*: one result for each key and window, when the window closes;
* *changes*: the window's value after each record, at once, and nothing when it closes;
* *interval*: at each multiple of an interval of stream time, the value of each window that has
  changed since. What counts is which records their writers had sent by then, so results do not
  depend on how writers are mixed. A window closes at the end of an interval, so the last result
  is the final one.

A result's timestamp is the last moment of its window, or the stream time of the change if that is
earlier.

A record is late for a window when its writer's time has come to the window's last moment, the
grace and one millisecond. (If the writer was taken for idle and is behind the task's time, that
counts in its place.) If the input was drained, all windows that began are over as well, for ever:
`Mark` keeps up to where.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamlog.processing.dsl.moments import utc
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.operators.specs import row_factory
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.state.row_table import RowTable, time_name, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.accumulators import Row, RowFactory
    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.processing.operators.specs import AggregateSpec

MARK_TABLE: Final = 9
_MARK: Final = b"drained through"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowStep:
    """What the user said about a windowed step, but for the windows themselves.

    Args:
        aggregates: What a row has.
        build: Makes the result of the aggregates' results, in their order.
        grace_ms: How long after their end windows wait for records out of order.
        changes: Whether each change comes out at once.
        interval_ms: How often changes come out, if they do so at intervals.
    """

    aggregates: tuple[AggregateSpec, ...]
    build: Callable[[list[Value]], Value]
    grace_ms: int = 0
    changes: bool = False
    interval_ms: int | None = None

    @property
    def emission(self) -> str:
        """The way of emission, in words for a layout."""
        if self.interval_ms is not None:
            return f"every {self.interval_ms} ms"
        return "changes" if self.changes else "final"

    def rows(self) -> RowFactory:
        """Returns what makes the step's rows."""
        return row_factory(self.aggregates)

    @property
    def can_merge_again(self) -> bool:
        """Whether a row that another took in is still good: of all that need no maker it is."""
        return all(spec.make is None for spec in self.aggregates)

    def due(self, time: int) -> int:
        """Returns when a change of a writer's time comes out: at the end of its interval."""
        assert self.interval_ms is not None
        return time - time % self.interval_ms + self.interval_ms

    def closing(self, time: int) -> int:
        """Returns when a window closes whose time to close is `time`."""
        if self.interval_ms is None:
            return time
        return time + -time % self.interval_ms

    def closed(self, now: int) -> int:
        """Returns the latest time to close of windows that are closed; see `closing`."""
        return now if self.interval_ms is None else now - now % self.interval_ms

    def selection(self) -> Callable[[Value], tuple[object, ...]]:
        """Returns a function that takes from a value what each aggregate looks at."""
        scope: dict[str, Any] = {}
        parts = []
        for number, spec in enumerate(self.aggregates):
            if spec.selector is not None:
                scope[f"f{number}"] = spec.selector
                parts.append(f"f{number}(value), ")
            else:
                parts.append("1, " if spec.kind == "count" else "value, ")
        selection: Callable[[Value], tuple[object, ...]] = eval(
            f"lambda value: ({''.join(parts)})", scope
        )
        return selection

    def result(
        self, start: int, end: int, row: Row, replaces: Sequence[tuple[int, int]] = ()
    ) -> Windowed[Value]:
        """Returns what comes out for a window."""
        value = self.build(row.results())
        if not replaces:
            return Windowed(utc(start), utc(end), value)
        spans = tuple([(utc(first), utc(last)) for first, last in replaces])
        return Windowed(utc(start), utc(end), value, spans)


class Mark(RowTable):
    """One time that is kept: up to where windows are over because the input was drained.

    Args:
        context: Of the operator.
    """

    def __init__(self, context: OperatorContext) -> None:
        super().__init__(context.store, context.store_id, MARK_TABLE)
        stored = self.get(_MARK)
        self.time = NO_TIME if stored is None else time_of(stored)

    def move(self, time: int) -> None:
        """Raises the mark."""
        if time > self.time:
            self.time = time
            self.put(_MARK, time_name(time))


def order_of(result: Result) -> tuple[int, bool, bytes]:
    """Orders results by time and key; no key comes before every key."""
    key, _, timestamp = result
    return timestamp, key is not None, key or b""


def order_of_key(key: bytes | None) -> tuple[bool, bytes]:
    """Orders keys; no key comes before every key."""
    return key is not None, key or b""
