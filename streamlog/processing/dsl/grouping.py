"""Grouping without windows: verbs of streams, `cogroup` of several, tables by another key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl import aggregates, inference
from streamlog.processing.dsl.aggregates import Aggregate
from streamlog.processing.dsl.change import Change, change_type
from streamlog.processing.dsl.checks import check_function, check_name
from streamlog.processing.dsl.graph import Graph, refuse
from streamlog.processing.dsl.kept_types import SAY_THE_TYPE, kept_serde
from streamlog.processing.dsl.nodes import FlatMapNode, KeyByNode, OperatorNode, StreamNode
from streamlog.processing.dsl.result_fields import builder, check_fields
from streamlog.processing.dsl.table import Table
from streamlog.processing.location import caller_location
from streamlog.processing.operators.grouped import GroupStep
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.operators.specs import looks_at_values

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.operators.specs import AggregateSpec

T = TypeVar("T")
R = TypeVar("R")


class GroupingVerbs(Generic[T]):
    """The verbs that make one row of all records of a key; a base of `Stream`."""

    graph: Graph
    node: StreamNode

    def count(self, *, name: str | None = None) -> Table[int]:
        """Counts the records of each key: a table, whose every change comes out."""
        return single(self._grouping(), aggregates.count(), int, name, "count")

    def reduce(
        self, function: Callable[[T, T], T], *, to: type[T] | None = None, name: str | None = None
    ) -> Table[T]:
        """Makes one value of all values of each key, two by two.

        Args:
            function: From the row so far and another value to the next row; the first value of a
                key is its first row. Values come in no particular order: if that shows, put
                `.in_order()` in front.
            to: The type of the values, if it is not known.
            name: The step's name, by which its state is found again.
        """
        check_function(function, "reduce", "lambda one, other: …", arguments=2)
        row_type = self.node.value_type if to is None else to
        hint = f"{SAY_THE_TYPE}; or write: .reduce(function, to=Type)"
        kept_serde(row_type, "reduce keeps the values", hint=hint)
        default = check_name(None, function, "reduce")
        return single(self._grouping(), aggregates.reduce_(function), row_type, name, default)

    def aggregate(
        self, result: type[R], /, *, name: str | Aggregate[T] | None = None, **fields: Aggregate[T]
    ) -> Table[R]:
        """Makes one row of all records of each key: a table, whose every change comes out.

        Args:
            result: The type of the rows; it gets the fields as keyword arguments.
            name: The step's name, by which its state is found again; by default the name of the
                result type. An aggregate here is a field called `name`.
            fields: What fills each field: `flights=count(), delay=mean(lambda f: f.delay)`.
        """
        if isinstance(name, Aggregate):
            fields = {"name": name, **fields}
            name = None
        return into_fields(self._grouping(), result, [fields], name)

    def fields(self, **fields: Aggregate[T]) -> Part:
        """Says which fields of a result this stream fills; for `cogroup`."""
        return Part(self.graph, self.node, fields)

    def _grouping(self) -> Grouping:
        return Grouping(self.graph, (self.node,))


@dataclass(frozen=True, slots=True)
class Grouping:
    """What is grouped: the streams, or a table's changes."""

    graph: Graph
    parents: tuple[StreamNode, ...]
    regrouped: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Part:
    """One stream's share of a `cogroup`; made by `Stream.fields`."""

    graph: Graph
    node: StreamNode
    fields: Mapping[str, Aggregate[Any]]

    def __repr__(self) -> str:
        return f"<fields {', '.join(self.fields)} of {self.node.name} at {self.node.location}>"


def cogroup(result: type[R], /, *parts: Part, name: str | None = None) -> Table[R]:
    """Groups several streams by their keys into one table.

        cogroup(
            Account,
            orders.fields(orders=count(), spent=sum_(lambda o: o.amount)),
            payments.fields(paid=sum_(lambda p: p.amount)),
        )

    A row begins with the first record of its key in any of the streams. A field may be filled by
    several of them with aggregates of one kind: `seen=max_(…)` in each.

    Args:
        result: The type of the rows; it gets the fields as keyword arguments.
        parts: What `Stream.fields` made of each stream.
        name: The step's name, by which its state is found again; by default the name of the
            result type.
    """
    example = "cogroup(Account, orders.fields(spent=sum_(…)), payments.fields(paid=sum_(…)))"
    for part in parts:
        if not isinstance(part, Part) or part.graph is not parts[0].graph:
            raise plan_error(
                f"cogroup takes fields of streams of one pipeline, this is {part!r}",
                hint=f"Write: {example}",
            )
    if not parts:
        raise plan_error("cogroup has no streams", hint=f"Write: {example}")
    grouping = Grouping(parts[0].graph, tuple(part.node for part in parts))
    return into_fields(grouping, result, [part.fields for part in parts], name)


class GroupedTable(Generic[T]):
    """The rows of a table, grouped by another key; what `Table.group_by` returns.

    Each change of the table takes the old row out of the group in which it was, and puts the new
    one into its own. A group without rows ends.
    """

    def __init__(self, grouping: Grouping, row_type: RuntimeType) -> None:
        self._grouping = grouping
        self._row_type = row_type
        self._location = caller_location()

    def count(self, *, name: str | None = None) -> Table[int]:
        """Counts the rows of each group."""
        return single(self._grouping, aggregates.count(), int, name, "count")

    def sum_(
        self, selector: Callable[[T], float | None], *, name: str | None = None
    ) -> Table[float]:
        """Adds up what the selector yields for the rows of each group, exactly."""
        default = check_name(None, selector, "sum")
        return single(self._grouping, aggregates.sum_(selector), int | float, name, default)

    def reduce(
        self,
        function: Callable[[T, T], T],
        remove: Callable[[T, T], T],
        *,
        name: str | None = None,
    ) -> Table[T]:
        """Makes one value of all rows of each group.

        Args:
            function: From the reduced value and another row to the next reduced value.
            remove: From the reduced value and a row that went into it to that without it.
            name: The step's name, by which its state is found again.
        """
        example = "lambda one, other: …, lambda one, other: …"
        check_function(function, "reduce", example, arguments=2)
        check_function(remove, "reduce", example, arguments=2)
        reduced = aggregates.reduce_(function, remove=remove)
        default = check_name(None, function, "reduce")
        return single(self._grouping, reduced, self._row_type, name, default)

    def aggregate(
        self, result: type[R], /, *, name: str | Aggregate[T] | None = None, **fields: Aggregate[T]
    ) -> Table[R]:
        """Makes one row of all rows of each group.

        `min_`, `max_` and `top_k` keep all of the group's values, so that they know what comes next
        when the first is taken back; `first`, `last` and `collect` have no meaning here, since the
        rows of a table are not one after the other.

        Args:
            result: The type of the rows; it gets the fields as keyword arguments.
            name: The step's name; by default the name of the result type.
            fields: What fills each field: `planes=count(), seats=sum_(lambda p: p.seats)`.
        """
        if isinstance(name, Aggregate):
            fields = {"name": name, **fields}
            name = None
        return into_fields(self._grouping, result, [fields], name)

    def __repr__(self) -> str:
        return f"<grouped table at {self._location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", "To get results: table.group_by(…).count()")

    def __len__(self) -> NoReturn:
        refuse(self, "the length", "To get results: table.group_by(…).count()")


def group_table(
    table: Table[T], key: Callable[[T], object], name: str | None = None
) -> GroupedTable[T]:
    """Groups the rows of a table by what a function yields for them."""
    check_function(key, "group_by", "lambda row: row.owner")
    derived = inference.derived_name(key)
    if derived and not derived.startswith("by-"):
        derived = f"by-{derived}"
    row_type = table.row_type
    kept_serde(row_type, "group_by keeps the table's rows")
    location = caller_location()
    halves = FlatMapNode(
        name=f"changes-{derived}" if derived else "changes",
        location=location,
        value_type=change_type(row_type),
        parent=table.node,
        function=_halves(key),
    )
    keyed = KeyByNode(
        name=derived if name is None else check_name(name, None, "group_by"),
        location=location,
        value_type=change_type(row_type),
        parent=halves,
        function=lambda change: key(change.old if change.new is None else change.new),
    )
    table.graph.add(halves)
    table.graph.add(keyed)
    return GroupedTable(Grouping(table.graph, (keyed,), regrouped=True), row_type)


def _halves(key: Callable[[Any], object]) -> Callable[[Change[Any]], tuple[Change[Any], ...]]:
    """Divides a change that moves a row from one group to another."""

    def divide(change: Change[Any]) -> tuple[Change[Any], ...]:
        if change.old is None or change.new is None or _same_key(key, change):
            return (change,)
        return Change(change.old, None), Change(None, change.new)

    return divide


def _same_key(key: Callable[[Any], object], change: Change[Any]) -> bool:
    # What counts is the key's bytes: 1 and True are equal, and their bytes are not.
    return encode_plain(key(change.old)) == encode_plain(key(change.new))


def single(
    grouping: Grouping,
    aggregate: Aggregate[Any],
    row_type: RuntimeType,
    name: str | None,
    default: str,
) -> Table[Any]:
    """Draws a step whose rows are one aggregate."""
    spec = _spec(grouping, "", aggregate, row_type)
    ports = tuple((spec,) for _ in grouping.parents)
    step = GroupStep(aggregates=(spec,), ports=ports, build=_only, regrouped=grouping.regrouped)
    return _table(grouping, step, row_type, default if name is None else name)


def into_fields(
    grouping: Grouping,
    result: type[R],
    parts: list[Mapping[str, Aggregate[Any]]] | list[dict[str, Aggregate[Any]]],
    name: str | None,
) -> Table[R]:
    """Draws a step whose rows have one field for each aggregate."""
    fields: dict[str, Aggregate[Any]] = {}
    for part in parts:
        for key, aggregate in part.items():
            first = fields.setdefault(key, aggregate)
            if isinstance(first, Aggregate) and isinstance(aggregate, Aggregate):
                _check_same(key, first, aggregate)
    check_fields(result, fields)
    types = inference.field_types(result)
    specs = {key: _spec(grouping, key, each, types.get(key)) for key, each in fields.items()}
    ports: list[tuple[AggregateSpec | None, ...]] = []
    for part in parts:
        mine = {key: _spec(grouping, key, each, types.get(key)) for key, each in part.items()}
        ports.append(tuple(mine.get(key) for key in fields))
    step = GroupStep(
        aggregates=tuple(specs.values()),
        ports=tuple(ports),
        build=builder(result, tuple(fields)),
        regrouped=grouping.regrouped,
    )
    return _table(grouping, step, result, inference.slug(result.__name__) if name is None else name)


def _spec(
    grouping: Grouping, field: str, aggregate: Aggregate[Any], field_type: RuntimeType
) -> AggregateSpec:
    if grouping.regrouped and not aggregate.can_remove:
        raise plan_error(
            f"{aggregate!r} cannot take back a row of a table that has changed",
            hint="There are count, sum_, mean, min_, max_, top_k, distinct, count_distinct, "
            "quantiles, and fold(…, remove=…)",
        )
    return aggregate.spec(field, field_type, takes_back=grouping.regrouped)


def _check_same(field: str, first: Aggregate[Any], other: Aggregate[Any]) -> None:
    if first.kind != other.kind:
        raise plan_error(
            f"field {field} is filled by {first!r} of one stream and by {other!r} of another",
            hint="What several streams fill has to be of one kind in all of them",
        )


def _table(grouping: Grouping, step: GroupStep, row_type: RuntimeType, name: str) -> Table[Any]:
    node = OperatorNode(
        name=check_name(name, None, "aggregate"),
        location=caller_location(),
        value_type=change_type(row_type),
        parents=grouping.parents,
        make=step.make,
        layout=step.layout,
        blind=not step.regrouped and not looks_at_values([*step.aggregates, *_fed(step)]),
    )
    grouping.graph.add(node)
    return Table(grouping.graph, node, row_type)


def _fed(step: GroupStep) -> list[AggregateSpec]:
    """The aggregates as each input feeds them."""
    return [spec for port in step.ports for spec in port if spec is not None]


def _only(values: list[Value]) -> Value:
    return values[0]
