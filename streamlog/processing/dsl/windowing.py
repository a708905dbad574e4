"""How `Stream.window` becomes nodes: checks of what the user says, and the step that does it.

A tumbling window that gives one result at its end, and begins where windows begin if nobody says
otherwise, is a `WindowNode`, which the engine runs as part of the fused function. All others are
operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from streamlog.processing.declaration import check_span, plan_error
from streamlog.processing.dsl.checks import check_name
from streamlog.processing.dsl.nodes import OperatorNode, WindowNode
from streamlog.processing.location import caller_location
from streamlog.processing.operators.specs import looks_at_values
from streamlog.processing.operators.windowed import WindowStep
from streamlog.processing.operators.windowed_clock import ClockWindowed
from streamlog.processing.operators.windowed_count import CountWindowed
from streamlog.processing.operators.windowed_late import LateRecords
from streamlog.processing.operators.windowed_sessions import SessionWindowed
from streamlog.processing.operators.windowed_sliding import SlidingWindowed
from streamlog.processing.windows.calendar import CalendarWindows
from streamlog.processing.windows.counted import CountWindows
from streamlog.processing.windows.hopping import HoppingWindows
from streamlog.processing.windows.kinds import ALL_KINDS
from streamlog.processing.windows.sessions import SessionWindows
from streamlog.processing.windows.sliding import SlidingWindows
from streamlog.processing.windows.tumbling import TumblingWindows

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.nodes import RuntimeType, StreamNode, Value
    from streamlog.processing.operators.operator import Operator, OperatorContext
    from streamlog.processing.operators.specs import AggregateSpec
    from streamlog.processing.windows.kinds import ClockWindows, TimeWindows, Windows

Emit: TypeAlias = Literal["final", "changes"] | timedelta

_SELDOM_MS = 365 * 86_400_000
"""For steps that only want to be told of the end: time passes so seldom that it costs nothing."""
_TICKS = 60
"""What closes by itself is looked at so many times in the time that it takes to close."""


@dataclass(frozen=True, slots=True)
class Windowing:
    """What the arguments of `Stream.window` say."""

    windows: Windows
    grace_ms: int
    changes: bool
    interval_ms: int | None

    @property
    def is_plain(self) -> bool:
        """Whether the fused function can do it."""
        final = not self.changes and self.interval_ms is None
        return final and isinstance(self.windows, TumblingWindows)

    @property
    def timed(self) -> TimeWindows:
        """The windows, if time closes them; tumbling ones as the operator sees them."""
        assert not isinstance(self.windows, CountWindows)
        if isinstance(self.windows, TumblingWindows):
            return HoppingWindows(self.windows.size_ms, self.windows.size_ms)
        return self.windows


def check_windowing(windows: object, grace: object, emit: object) -> Windowing:
    """Returns what `Stream.window` was told, or refuses it."""
    if not isinstance(windows, ALL_KINDS):
        raise plan_error(
            f"window takes a kind of window, this is {windows!r}",
            hint="Write: .window(tumbling(timedelta(hours=1))); there are also hopping, sliding, "
            "sessions, count_windows and months",
        )
    changes, interval_ms = _check_emit(windows, emit)
    if grace is None:
        grace_ms = windows.gap_ms if isinstance(windows, SessionWindows) else 0
    elif isinstance(windows, CountWindows):
        raise plan_error(
            "count windows take no grace: none of their records is ever late",
            hint="Leave out grace=…; to have records in the order of their times, put "
            ".in_order(…) in front",
        )
    else:
        grace_ms = check_span(grace, "grace")
    return Windowing(windows, grace_ms, changes, interval_ms)


def _check_emit(windows: Windows, emit: object) -> tuple[bool, int | None]:
    if isinstance(emit, timedelta):
        if isinstance(windows, CountWindows):
            raise plan_error(
                "count windows close by records, not by time, and do not come out at intervals",
                hint='Write emit="changes" for a result after each record',
            )
        return False, check_span(emit, "the interval of results", least_ms=1)
    if emit not in ("final", "changes"):
        raise plan_error(
            f"emit={emit!r} is no way to give results",
            hint='There are emit="final" (one when the window closes), emit="changes" (one after '
            "each record) and an interval: emit=timedelta(minutes=1)",
        )
    return emit == "changes", None


def window_node(
    parent: StreamNode,
    windowing: Windowing,
    name: str,
    value_type: RuntimeType,
    aggregates: tuple[AggregateSpec, ...],
    build: Callable[[list[Value]], Value],
) -> WindowNode | OperatorNode:
    """Returns the step that makes the results."""
    if windowing.is_plain:
        assert isinstance(windowing.windows, TumblingWindows)
        return WindowNode(
            name=name,
            location=caller_location(),
            value_type=value_type,
            parent=parent,
            windows=windowing.windows,
            grace_ms=windowing.grace_ms,
            aggregates=aggregates,
            build=build,
        )
    _check_merging(windowing, aggregates)
    step = WindowStep(
        aggregates=aggregates,
        build=build,
        grace_ms=windowing.grace_ms,
        changes=windowing.changes,
        interval_ms=windowing.interval_ms,
    )
    make, tick_ms, lag_ms = _operator(windowing, step)
    by_records = step.changes or isinstance(windowing.windows, CountWindows)
    kinds = " ".join(spec.label for spec in aggregates)
    return OperatorNode(
        name=name,
        location=caller_location(),
        value_type=value_type,
        parents=(parent,),
        make=make,
        layout=f"{windowing.windows} emit={step.emission} {kinds}",
        lag_ms=lag_ms,
        tick_ms=tick_ms,
        silent=by_records,
        blind=not looks_at_values(aggregates),
    )


def late_node(parent: StreamNode, windowing: Windowing, name: str | None) -> OperatorNode:
    """Returns the step that finds records which are late."""
    if isinstance(windowing.windows, CountWindows):
        raise plan_error(
            "count windows have no late records: time does not close them",
            hint="Count windows take every record",
        )
    step = WindowStep(
        aggregates=(),
        build=list,
        grace_ms=windowing.grace_ms,
        changes=windowing.changes,
        interval_ms=windowing.interval_ms,
    )
    # Told of time as the windows are, it knows what they have closed.
    _, tick_ms, _ = _operator(windowing, step)
    return OperatorNode(
        name=check_name(name, None, "late") if name is not None else "late",
        location=caller_location(),
        value_type=parent.value_type,
        parents=(parent,),
        make=partial(_make_late, windowing.timed, windowing.grace_ms),
        layout="late records",
        tick_ms=tick_ms,
        silent=True,
        needs_key_order=False,
    )


def _check_merging(windowing: Windowing, aggregates: tuple[AggregateSpec, ...]) -> None:
    """Refuses aggregates of which two cannot become one, where that has to be done."""
    merging = isinstance(windowing.windows, SessionWindows | SlidingWindows)
    if not merging and windowing.interval_ms is None:
        return
    for spec in aggregates:
        if not spec.can_merge:
            what = "windows that merge" if merging else "results at intervals"
            raise plan_error(
                f"{spec.label} cannot be used with {what}: nothing says how two of it become one",
                hint="Give it merge=…, a function of two states",
            )


def _operator(
    windowing: Windowing, step: WindowStep
) -> tuple[Callable[[OperatorContext], Operator], int, int]:
    """What makes the operator, how often time passes for it, and how old its results may be."""
    windows, grace_ms = windowing.windows, windowing.grace_ms
    if isinstance(windows, CountWindows):
        return partial(_make_count, windows, step), _SELDOM_MS, 0
    timed = windowing.timed
    make: Callable[[OperatorContext], Operator]
    wait_ms = grace_ms
    match timed:
        case SessionWindows():
            make = partial(_make_sessions, timed, step)
            wait_ms = grace_ms + timed.gap_ms
            tick_ms, exact = max(1, wait_ms // _TICKS), False
        case SlidingWindows():
            make = partial(_make_sliding, timed, step)
            tick_ms, exact = max(1, (timed.span_ms + grace_ms) // _TICKS), False
        case HoppingWindows() | CalendarWindows():
            make = partial(_make_clock, timed, step)
            tick_ms, exact = timed.closing_ms(grace_ms)
    if step.interval_ms is not None:
        # All that can be seen happens at the end of an interval.
        return make, step.interval_ms, grace_ms
    if step.changes:
        return make, tick_ms, grace_ms
    # What closes exactly when time is told is not a tick behind, as the planner has to assume.
    return make, tick_ms, wait_ms - (tick_ms if exact else 0)


def _make_clock(windows: ClockWindows, step: WindowStep, context: OperatorContext) -> Operator:
    return ClockWindowed(context, windows, step)


def _make_sessions(windows: SessionWindows, step: WindowStep, context: OperatorContext) -> Operator:
    return SessionWindowed(context, windows, step)


def _make_sliding(windows: SlidingWindows, step: WindowStep, context: OperatorContext) -> Operator:
    return SlidingWindowed(context, windows, step)


def _make_count(windows: CountWindows, step: WindowStep, context: OperatorContext) -> Operator:
    return CountWindowed(context, windows, step)


def _make_late(windows: TimeWindows, grace_ms: int, context: OperatorContext) -> Operator:
    return LateRecords(context, windows, grace_ms)
