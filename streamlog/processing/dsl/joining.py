"""Draws the steps of joins: what the verbs of streams and tables say, as nodes."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from streamlog.processing.declaration import check_span, plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.change import change_type, nullable_type
from streamlog.processing.dsl.checks import check_function, check_name
from streamlog.processing.dsl.global_table import GlobalTable
from streamlog.processing.dsl.kept_types import kept_serde
from streamlog.processing.dsl.nodes import JoinNode, KeyByNode, OperatorNode
from streamlog.processing.dsl.shaping import ShapingVerbs
from streamlog.processing.dsl.table import Table
from streamlog.processing.location import caller_location
from streamlog.processing.operators import foreign_key
from streamlog.processing.operators.as_of_next import AsOfNext, AsOfNextSpec
from streamlog.processing.operators.interval_join import IntervalJoin, IntervalJoinSpec
from streamlog.processing.operators.join_rows import CLEANING_TICK_MS, tick_of
from streamlog.processing.operators.table_join import TableJoin, TableJoinSpec
from streamlog.processing.operators.table_source import LAYOUT, TableSource
from streamlog.processing.operators.versioned_join import (
    SURE_TICK_MS,
    VersionedJoin,
    VersionedJoinSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import RuntimeType, StreamNode, Value

NO_GRACE = timedelta(0)
HISTORY = timedelta(days=1)


# Checks.


def check_options(
    options: Mapping[str, object],
    allowed: Sequence[str],
    how: object,
    kinds: Sequence[str],
    what: str,
) -> None:
    """Refuses options that mean nothing for what is joined."""
    for option in options:
        if option not in allowed:
            raise plan_error(
                f"{option}= means nothing in a join with {what}",
                hint=f"What may be said there: {', '.join((*allowed, 'how', 'to', 'name'))}",
            )
    if how not in kinds:
        known = " and ".join(f'"{kind}"' for kind in kinds)
        raise plan_error(f"how={how!r} is no kind of join with {what}; there are {known}")


def check_graph(mine: Graph, other: Graph, handle: object) -> None:
    """Refuses what belongs to another pipeline."""
    if mine is not other:
        raise plan_error(
            f"{handle!r} belongs to another pipeline",
            hint="Make it a parameter of this one",
        )


def _kept(node: StreamNode, verb: str) -> RuntimeType:
    """The type of the values of a node, which a join keeps; refused if it cannot be."""
    return _checked(node.value_type, node, verb)


def _checked(value_type: RuntimeType, node: StreamNode, verb: str) -> RuntimeType:
    kept_serde(value_type, f"{verb} keeps values of {node.name} ({node.location})")
    return value_type


def _history(history: timedelta | None, grace_ms: int) -> int:
    """How late a record may be; never less than what is waited for."""
    if history is None:
        return max(check_span(HISTORY, "history"), grace_ms)
    history_ms = check_span(history, "history")
    if history_ms < grace_ms:
        raise plan_error(
            f"history is {history}, but it has to be grace at least",
            hint="Leave it out: it is a day, or grace if that is more",
        )
    return history_ms


# Streams.


def join(
    graph: Graph,
    left: StreamNode,
    other: object,
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
    options: Mapping[str, Any],
) -> StreamNode:
    """Draws a join of a stream with whatever it is."""
    draw: Callable[..., StreamNode]
    allowed: tuple[str, ...]
    kinds: tuple[str, ...] = ("inner", "left")
    right: Any = other
    if isinstance(other, GlobalTable):
        what, allowed, draw = "a global table", ("key",), join_global
    elif isinstance(other, Table):
        what, allowed, draw = "a table", ("grace", "history"), join_table
    elif isinstance(other, ShapingVerbs):
        what, draw, right = "a stream", join_stream, other.node
        allowed = ("within", "before", "after", "grace", "where")
        kinds = ("inner", "left", "outer")
    else:
        raise plan_error(
            f"join takes a stream, a table or a global table, this is {other!r}",
            hint="Declare the parameter as Stream[…], Table[…] or GlobalTable[…]",
        )
    check_options(options, allowed, how, kinds, what)
    check_graph(graph, other.graph, other)
    return draw(left, right, function, how, to, name, **options)


def join_global(
    left: StreamNode,
    table: GlobalTable[Any],
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
    *,
    key: Callable[..., object] | None = None,
) -> StreamNode:
    """Draws a join with a global table."""
    if key is not None:
        check_function(key, "join", "table, function, key=lambda value: value.id")
    return JoinNode(
        name=check_name(name, None, f"join-{table.node.name}"),
        location=caller_location(),
        value_type=to or inference.result_type(function),
        parent=left,
        table=table.node,
        function=function,
        key=key,
        how=cast("Literal['inner', 'left']", how),
    )


def join_table(
    left: StreamNode,
    table: Table[Any],
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
    *,
    grace: timedelta = NO_GRACE,
    history: timedelta | None = None,
) -> StreamNode:
    """Draws a join with a table by event time."""
    right = table.versions
    grace_ms = check_span(grace, "grace")
    spec = VersionedJoinSpec(
        how=cast("Literal['inner', 'left']", how),
        grace_ms=grace_ms,
        history_ms=_history(history, grace_ms),
        function=function,
        types=(_kept(left, "join"), nullable_type(_kept(right, "join"))),
        tick_ms=tick_of(grace_ms),
        table=table.name,
    )
    return OperatorNode(
        name=check_name(name, None, f"join-{left.name}-{table.name}"),
        location=caller_location(),
        value_type=to or inference.result_type(function),
        parents=(left, right),
        make=partial(VersionedJoin, spec=spec),
        layout=spec.layout,
        lag_ms=grace_ms,
        tick_ms=spec.tick_ms,
        waits=True,
        sure_tick_ms=None if grace_ms else SURE_TICK_MS,
    )


def join_stream(
    left: StreamNode,
    right: StreamNode,
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
    *,
    within: timedelta | None = None,
    before: timedelta | None = None,
    after: timedelta | None = None,
    grace: timedelta = NO_GRACE,
    where: Callable[..., object] | None = None,
) -> StreamNode:
    """Draws an interval join."""
    if (within is None) == (before is None and after is None):
        raise plan_error(
            "a join of two streams needs to know how far apart their records may be",
            hint="Write within=timedelta(…), or before= and after= for either direction",
        )
    if where is not None:
        check_function(where, "join", "other, function, where=lambda one, other: …", arguments=2)
    within = within if within is not None else timedelta(0)
    before_ms = check_span(within if before is None else before, "before", least_ms=None)
    after_ms = check_span(within if after is None else after, "after", least_ms=None)
    if before_ms + after_ms < 0:
        raise plan_error(
            f"no record is within the interval: it begins {before} before and ends {after} after",
            hint="The end has to be behind the beginning: -before <= after",
        )
    spec = IntervalJoinSpec(
        before_ms=before_ms,
        after_ms=after_ms,
        grace_ms=check_span(grace, "grace"),
        how=cast("Literal['inner', 'left', 'outer']", how),
        function=function,
        where=where,
        types=(_kept(left, "join"), _kept(right, "join")),
        tick_ms=tick_of(max(before_ms, after_ms, 0)),
    )
    return OperatorNode(
        name=check_name(name, None, f"join-{left.name}-{right.name}"),
        location=caller_location(),
        value_type=to or inference.result_type(function),
        parents=(left, right),
        make=partial(IntervalJoin, spec=spec),
        layout=spec.layout,
        lag_ms=spec.lag_ms,
        tick_ms=spec.tick_ms,
        # Which of the two came last depends on how writers are mixed: neither's time may count.
        in_time=True,
    )


def as_of(
    left: StreamNode,
    right: StreamNode,
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
    *,
    direction: str,
    tolerance: timedelta | None,
    exact: bool,
    grace: timedelta,
    history: timedelta | None,
) -> StreamNode:
    """Draws a join with the nearest record."""
    if direction not in ("backward", "forward"):
        raise plan_error(f'direction={direction!r}; there are "backward" and "forward"')
    grace_ms = check_span(grace, "grace")
    tolerance_ms = None if tolerance is None else check_span(tolerance, "tolerance")
    common: dict[str, Any] = {
        "how": how,
        "grace_ms": grace_ms,
        "history_ms": _history(history, grace_ms),
        "tolerance_ms": tolerance_ms,
        "exact": exact,
        "function": function,
    }
    types = _kept(left, "as_of"), _kept(right, "as_of")
    make: Callable[..., Any]
    spec: VersionedJoinSpec | AsOfNextSpec
    if direction == "backward":
        types = types[0], nullable_type(types[1])
        lag_ms = grace_ms
        spec = VersionedJoinSpec(
            **common, types=types, tick_ms=tick_of(grace_ms), table=right.name, is_nearest=True
        )
        make = partial(VersionedJoin, spec=spec)
    else:
        if tolerance_ms is None:
            raise plan_error(
                "as_of forward needs a tolerance, or a record that nothing follows waits for ever",
                hint="Write: tolerance=timedelta(…)",
            )
        lag_ms = grace_ms + tolerance_ms
        spec = AsOfNextSpec(**common, types=types, tick_ms=tick_of(lag_ms))
        make = partial(AsOfNext, spec=spec)
    return OperatorNode(
        name=check_name(name, None, f"as-of-{left.name}-{right.name}"),
        location=caller_location(),
        value_type=to or inference.result_type(function),
        parents=(left, right),
        make=make,
        layout=spec.layout,
        lag_ms=lag_ms,
        tick_ms=spec.tick_ms,
        waits=True,
        sure_tick_ms=SURE_TICK_MS if direction == "backward" and not grace_ms else None,
    )


# Tables.


def table_of(
    graph: Graph,
    node: StreamNode,
    name: str | None,
    row_type: RuntimeType,
    *,
    is_input: bool = False,
) -> Table[Any]:
    """Returns the table of the newest values of a stream; its state is drawn when it is needed."""
    step = check_name(name, None, f"table-{node.name}")
    if is_input:
        hint = f"Remove the parameter, or write: {node.name}.to(…)"
        begun = graph.begin(f"input {node.name}", hint, at=node.location)
    else:
        begun = graph.begin(f"table {step}", 'End it with .to("topic")')

    def changes() -> StreamNode:
        source = OperatorNode(
            name=step,
            location=begun.location,
            value_type=change_type(_checked(row_type, node, "a table")),
            parents=(node,),
            make=partial(TableSource, row_type=row_type),
            layout=LAYOUT,
            tick_ms=CLEANING_TICK_MS,
            silent=True,
        )
        graph.add(source)
        return source

    return Table(
        graph,
        changes,
        row_type,
        name=name or node.name,
        versions=lambda: node,
        begun=begun,
    )


def join_tables(
    left: Table[Any],
    right: Table[Any],
    function: Callable[..., Value],
    how: str,
    to: RuntimeType,
    name: str | None,
) -> Table[Any]:
    """Draws a join of two tables by key."""
    parents = left.versions, right.versions
    types = tuple(_checked(each.row_type, each.versions, "join") for each in (left, right))
    spec = TableJoinSpec(
        how=cast("Literal['inner', 'left', 'outer']", how),
        function=function,
        types=cast("tuple[RuntimeType, RuntimeType]", types),
        by_time=(left.has_versions, right.has_versions),
    )
    row_type = to or inference.result_type(function)
    node = OperatorNode(
        name=check_name(name, None, f"join-{left.name}-{right.name}"),
        location=caller_location(),
        value_type=change_type(row_type),
        parents=parents,
        make=partial(TableJoin, spec=spec),
        layout=spec.layout,
        tick_ms=CLEANING_TICK_MS,
        silent=True,
    )
    left.graph.add(node)
    return Table(left.graph, node, row_type)


def join_by_foreign_key(
    left: Table[Any],
    right: Table[Any],
    function: Callable[..., Value],
    key: Callable[..., object],
    how: str,
    to: RuntimeType,
    name: str | None,
) -> Table[Any]:
    """Draws the steps of a join by foreign key, with a change of key between each two."""
    location = caller_location()
    step = check_name(name, None, f"join-{left.name}-{right.name}")
    changes, rows = left.node, right.versions
    types = (
        _checked(left.row_type, changes, "join_on"),
        _checked(right.row_type, rows, "join_on"),
    )
    subscribe = OperatorNode(
        name=f"{step}-subscribe",
        location=location,
        value_type=foreign_key.subscription_type(types[0]),
        parents=(changes,),
        make=partial(foreign_key.Subscribe, foreign_key=key),
        layout="numbers of changes",
    )
    there = KeyByNode(
        name=f"{step}-by-foreign-key",
        location=location,
        value_type=subscribe.value_type,
        parent=subscribe,
        function=lambda subscription: subscription.foreign,
    )
    side = OperatorNode(
        name=step,
        location=location,
        value_type=foreign_key.answer_type(*types),
        parents=(there, rows),
        make=partial(foreign_key.ForeignSide, types=types, by_time=right.has_versions),
        layout=f"subscriptions by foreign key, by time {right.has_versions}",
        tick_ms=CLEANING_TICK_MS,
        silent=True,
    )
    back = KeyByNode(
        name=f"{step}-results",
        location=location,
        value_type=side.value_type,
        parent=side,
        function=lambda answer: answer.primary,
    )
    spec = foreign_key.ResolveSpec(
        how=cast("Literal['inner', 'left']", how), function=function, types=types
    )
    row_type = to or inference.result_type(function)
    resolve = OperatorNode(
        name=f"{step}-table",
        location=location,
        value_type=change_type(row_type),
        parents=(back,),
        make=partial(foreign_key.Resolve, spec=spec),
        layout=f"answers by key {how}",
        tick_ms=CLEANING_TICK_MS,
        silent=True,
    )
    for node in (subscribe, there, side, back, resolve):
        left.graph.add(node)
    return Table(left.graph, resolve, row_type)
