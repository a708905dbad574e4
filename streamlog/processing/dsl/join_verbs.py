"""The verbs that put a stream together with something else: `join`, `as_of` and `table`."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Generic, Literal, TypeVar, overload

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl import joining
from streamlog.processing.dsl.checks import check_function
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.shaping import ShapingVerbs

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.global_table import GlobalTable
    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import StreamNode
    from streamlog.processing.dsl.stream import Stream
    from streamlog.processing.dsl.table import Table

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")

NO_GRACE = timedelta(0)


class JoinVerbs(Generic[T]):
    """Verbs that put a stream together with something else; a base of `Stream`."""

    graph: Graph
    node: StreamNode

    @overload
    def join(
        self,
        other: GlobalTable[U],
        function: Callable[[T, U], R],
        *,
        key: Callable[[T], object] | None = None,
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: GlobalTable[U],
        function: Callable[[T, U | None], R],
        *,
        key: Callable[[T], object] | None = None,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: Table[U],
        function: Callable[[T, U], R],
        *,
        grace: timedelta = NO_GRACE,
        history: timedelta | None = None,
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: Table[U],
        function: Callable[[T, U | None], R],
        *,
        grace: timedelta = NO_GRACE,
        history: timedelta | None = None,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: Stream[U],
        function: Callable[[T, U], R],
        *,
        within: timedelta | None = None,
        before: timedelta | None = None,
        after: timedelta | None = None,
        grace: timedelta = NO_GRACE,
        where: Callable[[T, U], object] | None = None,
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: Stream[U],
        function: Callable[[T, U | None], R],
        *,
        within: timedelta | None = None,
        before: timedelta | None = None,
        after: timedelta | None = None,
        grace: timedelta = NO_GRACE,
        where: Callable[[T, U], object] | None = None,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def join(
        self,
        other: Stream[U],
        function: Callable[[T | None, U | None], R],
        *,
        within: timedelta | None = None,
        before: timedelta | None = None,
        after: timedelta | None = None,
        grace: timedelta = NO_GRACE,
        where: Callable[[T, U], object] | None = None,
        how: Literal["outer"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    def join(
        self,
        other: GlobalTable[U] | Table[U] | Stream[U],
        function: Callable[..., R],
        *,
        key: Callable[[T], object] | None = None,
        within: timedelta | None = None,
        before: timedelta | None = None,
        after: timedelta | None = None,
        grace: timedelta | None = None,
        history: timedelta | None = None,
        where: Callable[..., object] | None = None,
        how: Literal["inner", "left", "outer"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Puts each value together with one of the same key from somewhere else.

        With a `GlobalTable`: the row that holds when the record is processed.

        With a `Table`: the row that held at the record's event time. Records wait until stream time
        has passed theirs by `grace`, because until then an older row may come.

        With a `Stream`: each record of it whose event time is from `before` earlier to `after`
        later; `within` stands for both. Pairs come out at once, with the later of the two times.
        Records of an outer side that have met nothing come out when stream time has passed their
        interval by `grace`. A stream may be joined with itself: then each record meets itself as
        well, as in SQL, unless `where` says that it does not.

        A record without a key meets nothing.

        Args:
            other: A global table, a table, or a stream.
            function: Makes the new value of the two; what there is none of is `None`.
            key: What to look up in a global table; by default the record's key.
            within: How far apart the two records may be.
            before: How much earlier the other record may be; negative: has to be later by.
            after: How much later the other record may be; negative: has to be earlier by.
            grace: How long to wait for records that are out of order.
            history: With a table: how late a record may be and still be joined, and how long rows
                that hold no more are kept for that; by default a day, at least `grace`.
            where: With a stream: says which two records belong together.
            how: "inner" leaves out records that meet nothing, "left" keeps those of this stream,
                "outer" those of the other stream as well.
            to: The type of the new values, if neither annotation nor lambda tells it.
            name: The step's name; by default it is derived from what is joined.
        """
        check_function(function, "join", "other, lambda value, row: …", arguments=2)
        options = {
            "key": key,
            "within": within,
            "before": before,
            "after": after,
            "grace": grace,
            "history": history,
            "where": where,
        }
        said = {option: value for option, value in options.items() if value is not None}
        node = joining.join(self.graph, self.node, other, function, how, to, name, said)
        return self._joined(node)

    @overload
    def as_of(
        self,
        other: Stream[U],
        function: Callable[[T, U], R],
        *,
        direction: Literal["backward", "forward"] = "backward",
        tolerance: timedelta | None = None,
        exact: bool = True,
        grace: timedelta = NO_GRACE,
        history: timedelta | None = None,
        how: Literal["inner"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    @overload
    def as_of(
        self,
        other: Stream[U],
        function: Callable[[T, U | None], R],
        *,
        direction: Literal["backward", "forward"] = "backward",
        tolerance: timedelta | None = None,
        exact: bool = True,
        grace: timedelta = NO_GRACE,
        history: timedelta | None = None,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    def as_of(
        self,
        other: Stream[U],
        function: Callable[..., R],
        *,
        direction: Literal["backward", "forward"] = "backward",
        tolerance: timedelta | None = None,
        exact: bool = True,
        grace: timedelta = NO_GRACE,
        history: timedelta | None = None,
        how: Literal["inner", "left"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Puts each value together with the nearest one of the same key in another stream.

        Nearest is by event time: the newest record at or before this one's time, or, forward, the
        oldest at or after it. Records wait until nothing nearer can come, and come out with their
        own time.

        Args:
            other: The other stream.
            function: Makes the new value of the two.
            direction: "backward" looks at earlier records, "forward" at later ones.
            tolerance: How far away the other record may be; forward needs one, since a record that
                nothing follows would wait for ever.
            exact: Whether a record of the very same time counts. A stream that is put together with
                itself wants `False`, or each record meets itself.
            grace: How long to wait for records that are out of order.
            history: How late a record may be and still be joined; by default a day.
            how: "inner" leaves out records that meet nothing, "left" gives `None` in its place.
            to: The type of the new values, if neither annotation nor lambda tells it.
            name: The step's name; by default it is derived from what is joined.
        """
        check_function(function, "as_of", "other, lambda value, other: …", arguments=2)
        if not isinstance(other, ShapingVerbs):
            raise plan_error(
                f"as_of takes a stream, this is {other!r}",
                hint="A table has a row for each time already: stream.join(table, …)",
            )
        joining.check_options({}, (), how, ("inner", "left"), "the nearest record")
        joining.check_graph(self.graph, other.graph, other)
        node = joining.as_of(
            self.node,
            other.node,
            function,
            how,
            to,
            name,
            direction=direction,
            tolerance=tolerance,
            exact=exact,
            grace=grace,
            history=history,
        )
        return self._joined(node)

    def table(self, *, name: str | None = None) -> Table[T]:
        """Makes a table: of each key the value with the newest event time is the row.

        Args:
            name: The step's name; by default it is derived from the stream's.
        """
        return joining.table_of(self.graph, self.node, name, self.node.value_type)

    def _joined(self, node: StreamNode) -> Stream[R]:
        return add_step(self.graph, node)
