"""Tables: for each key the row that holds, and a stream of its changes.

Two streams of nodes stand behind a table, and each is drawn when a verb first needs it:

* its *changes* (`Change[T]`): what the newest row of a key was and is now. An operator keeps that
  row, so there are none without state;
* its *versions* (`T`, or `None` where a row ends), each with the time from which it holds. A table
  that is read from a topic or made of a stream has them before anything is kept, older ones that
  came late included, and joins by event time want just those. Of an aggregate, the new rows are the
  versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Literal, NoReturn, TypeVar, overload

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.change import Change, change_type, nullable_type
from streamlog.processing.dsl.checks import check_function, check_name, check_output
from streamlog.processing.dsl.graph import refuse
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.nodes import FlatMapNode, MapNode, ToNode
from streamlog.processing.location import caller_location

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.processing.dsl.graph import Begun, Graph
    from streamlog.processing.dsl.grouping import GroupedTable
    from streamlog.processing.dsl.nodes import RuntimeType, StreamNode, Value
    from streamlog.processing.dsl.stream import Output, Stream
    from streamlog.processing.location import Location
    from streamlog.serde.base import Serde

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")

_HINT = "To look rows up: stream.join(table, lambda value, row: …)"


class Table(Generic[T]):
    """Rows of one type by key; each verb adds one step.

    Made from a step that puts out changes: `Table(graph, node, row_type)`. The rows of a table have
    the keys of the records that made them, and a record with a null value ends a row.

    Args:
        graph: What is being drawn.
        changes: The step whose values are `Change[T]`, or what draws it when it is needed.
        row_type: `T`, as far as it is known when the program runs.
        name: In messages, and in names of steps that are derived from it.
        versions: Draws the step whose values are rows and `None`s; by default the new rows.
        begun: Notes whether it is used, if it is drawn only when it is needed.
    """

    def __init__(
        self,
        graph: Graph,
        changes: StreamNode | Callable[[], StreamNode],
        row_type: RuntimeType,
        *,
        name: str = "",
        versions: Callable[[], StreamNode] | None = None,
        begun: Begun | None = None,
    ) -> None:
        self.graph = graph
        self.row_type = row_type
        self.location = caller_location() if begun is None else begun.location
        self._begun = begun
        self._changes = changes
        self._versions: Callable[[], StreamNode] | StreamNode = versions or self._new_rows
        self.has_versions = versions is not None
        """Whether rows come with their times before anything is kept."""
        self.name = name or ("" if callable(changes) else changes.name)

    @property
    def node(self) -> StreamNode:
        """The step whose values are `Change[T]`."""
        self._use()
        if callable(self._changes):
            self._changes = self._changes()
        return self._changes

    @property
    def versions(self) -> StreamNode:
        """The step whose values are `T`, or `None` where a row ends."""
        self._use()
        if callable(self._versions):
            self._versions = self._versions()
        return self._versions

    def _use(self) -> None:
        if self._begun is not None:
            self._begun.is_used = True

    def filter(self, function: Callable[[T], object], *, name: str | None = None) -> Table[T]:
        """Keeps the rows for which the function is true; one that is so no more is taken out."""
        check_function(function, "filter", "lambda row: row.active")

        def rows(row: Value) -> Value:
            return row if row is not None and function(row) else None

        return self._derive(rows, self.row_type, check_name(name, function, "filter"))

    def map(
        self, function: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Table[R]:
        """Turns each row into another.

        Args:
            function: From the row to the new row; it has to give equal rows for equal rows, since
                what it gave before is taken out of what follows by calling it again.
            to: The type of the new rows, if neither annotation nor lambda tells it.
            name: The step's name in messages.
        """
        check_function(function, "map", "lambda row: …")

        def rows(row: Value) -> Value:
            return None if row is None else function(row)

        row_type = to or inference.result_type(function)
        return self._derive(rows, row_type, check_name(name, function, "map"))

    def group_by(self, key: Callable[[T], object], *, name: str | None = None) -> GroupedTable[T]:
        """Groups the rows by another key, to be aggregated: `planes.group_by(lambda p: p.owner)`.

        Rows pass a repartition topic here. A row that changes is taken out of what it was counted
        in, and counted again.

        Args:
            key: From the row to the group's key, as for `Stream.key_by`; equal for equal rows.
            name: Names the repartition topic and the state behind it; derived from the function.
        """
        from streamlog.processing.dsl.grouping import group_table

        return group_table(self, key, name)

    @overload
    def join(
        self,
        other: Table[U],
        function: Callable[[T, U], R],
        *,
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]: ...

    @overload
    def join(
        self,
        other: Table[U],
        function: Callable[[T, U | None], R],
        *,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]: ...

    @overload
    def join(
        self,
        other: Table[U],
        function: Callable[[T | None, U | None], R],
        *,
        how: Literal["outer"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]: ...

    def join(
        self,
        other: Table[U],
        function: Callable[..., R],
        *,
        how: Literal["inner", "left", "outer"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]:
        """Joins it with another table by key: the result changes whenever one of the two does.

        Changes come out at once, so what may be seen for a moment depends on which of the two was
        read first; what holds in the end does not.

        Args:
            other: The other table.
            function: Makes a row of the two rows; what there is none of is `None`. It has to give
                equal rows for equal rows, since what it gave before is taken out by calling it
                again. If it returns `None` there is no row.
            how: "inner" has rows for keys that both have, "left" for those of this table, "outer"
                for those of either.
            to: The type of the new rows, if neither annotation nor lambda tells it.
            name: The step's name; by default it is derived from the two tables.
        """
        from streamlog.processing.dsl import joining

        check_function(function, "join", "other, lambda row, other: …", arguments=2)
        self._check_other(other, how, ("inner", "left", "outer"))
        return joining.join_tables(self, other, function, how, to, name)

    @overload
    def join_on(
        self,
        other: Table[U],
        function: Callable[[T, U], R],
        *,
        key: Callable[[T], object],
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]: ...

    @overload
    def join_on(
        self,
        other: Table[U],
        function: Callable[[T, U | None], R],
        *,
        key: Callable[[T], object],
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]: ...

    def join_on(
        self,
        other: Table[U],
        function: Callable[..., R],
        *,
        key: Callable[[T], object],
        how: Literal["inner", "left"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Table[R]:
        """Joins it with another table whose key is in its rows: orders with their customers.

        The result has the keys of this table, and changes whenever a row of either does.

        Args:
            other: The other table.
            function: Makes a row of the two rows, as in `join`.
            key: From a row to the other table's key; `None` meets nothing.
            how: "inner" leaves out rows without one of the other table, "left" keeps them.
            to: The type of the new rows, if neither annotation nor lambda tells it.
            name: Names the steps and topics between them; by default it is derived.
        """
        from streamlog.processing.dsl import joining

        check_function(
            function, "join_on", "other, lambda row, other: …, key=lambda row: row.id", arguments=2
        )
        check_function(key, "join_on", "other, function, key=lambda row: row.id")
        self._check_other(other, how, ("inner", "left"))
        return joining.join_by_foreign_key(self, other, function, key, how, to, name)

    def _check_other(self, other: object, how: str, kinds: tuple[str, ...]) -> None:
        from streamlog.processing.dsl import joining

        if not isinstance(other, Table):
            raise plan_error(
                f"a table is joined with another table, this is {other!r}",
                hint="A stream has no row for each key: stream.table(), or stream.join(table, …)",
            )
        joining.check_options({}, (), how, kinds, "a table")
        joining.check_graph(self.graph, other.graph, other)

    def stream(self, *, name: str | None = None) -> Stream[T]:
        """Returns the new rows as a stream, one for each change; the ends of rows are left out."""
        node = FlatMapNode(
            name=check_name(name, None, f"rows-{self.name}"),
            location=caller_location(),
            value_type=self.row_type,
            parent=self.node,
            function=_new_row,
        )
        return add_step(self.graph, node)

    def to(
        self, topic: str, *, partitions: int | None = None, serde: Serde[T] | None = None
    ) -> Output:
        """Writes the new row at each change, and a null where a row ends.

        The topic is compacted if it is created here: of each key the newest record is kept, so
        whoever reads all of it has the table.

        Args:
            topic: Its name.
            partitions: Of a topic that is created; by default as many as the source has.
            serde: How rows are written; by default text as UTF-8, bytes as they are, else JSON.
        """
        from streamlog.processing.dsl.stream import Output, encoder_of

        encode = encoder_of(self.row_type) if serde is None else serde.encode
        node = ToNode(
            name=check_output(topic, partitions, serde),
            location=caller_location(),
            value_type=self.row_type,
            parent=self.node,
            topic=topic,
            partitions=partitions,
            encode=lambda change: None if change.new is None else encode(change.new),
            compacted=True,
        )
        self.graph.add(node)
        return Output(node)

    def _derive(
        self, rows: Callable[[Value], Value], row_type: RuntimeType, name: str
    ) -> Table[Any]:
        """A table whose rows are a function of this one's rows."""
        location = caller_location()

        def changes() -> StreamNode:
            return self._flat_map(_both(rows), change_type(row_type), name, location, self.node)

        def versions() -> StreamNode:
            node = MapNode(
                name=name,
                location=location,
                value_type=nullable_type(row_type),
                parent=self.versions,
                function=rows,
            )
            self.graph.add(node)
            return node

        return Table(
            self.graph,
            changes,
            row_type,
            name=f"{self.name}-{name}",
            versions=versions if self.has_versions else None,
            begun=self.graph.begin(f"table {self.name}-{name}", 'End it with .to("topic")'),
        )

    def _new_rows(self) -> StreamNode:
        node = MapNode(
            name=f"rows-{self.name}",
            location=self.location,
            value_type=nullable_type(self.row_type),
            parent=self.node,
            function=_new_row_or_none,
        )
        self.graph.add(node)
        return node

    def _flat_map(
        self,
        function: Callable[[Value], tuple[Value, ...]],
        value_type: RuntimeType,
        name: str,
        location: Location,
        parent: StreamNode,
    ) -> StreamNode:
        node = FlatMapNode(
            name=name, location=location, value_type=value_type, parent=parent, function=function
        )
        self.graph.add(node)
        return node

    def __repr__(self) -> str:
        return f"<table {self.name} at {self.location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", _HINT)

    def __len__(self) -> NoReturn:
        refuse(self, "the length", _HINT)

    def __iter__(self) -> Iterator[T]:
        refuse(self, "iteration", _HINT)

    def __getitem__(self, key: object) -> T:
        refuse(self, "a row", _HINT)


def _both(rows: Callable[[Value], Value]) -> Callable[[Value], tuple[Value, ...]]:
    """Applies a function of rows to both sides of a change."""

    def apply(change: Change[Any]) -> tuple[Change[Any], ...]:
        old, new = rows(change.old), rows(change.new)
        return () if old is None and new is None else (Change(old, new),)

    return apply


def _new_row(change: Change[Any]) -> tuple[Value, ...]:
    return () if change.new is None else (change.new,)


def _new_row_or_none(change: Change[Any]) -> Value:
    return change.new
