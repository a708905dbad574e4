"""The handles that a pipeline's function gets and makes: streams, windowed streams, tables.

The function runs once, before there is any record. A handle stands for the records that will pass,
and each verb adds one step. Nothing here touches data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Literal, NoReturn, TypeVar, get_origin, overload

from streamlog.processing.dsl import inference
from streamlog.processing.dsl.checks import check_function, check_name, check_topic_name, plan_error
from streamlog.processing.dsl.graph import refuse
from streamlog.processing.dsl.grouping import GroupingVerbs
from streamlog.processing.dsl.location import caller_location
from streamlog.processing.dsl.nodes import (
    JoinNode,
    TableNode,
    ToNode,
)
from streamlog.processing.dsl.ordering import OrderingVerbs
from streamlog.processing.dsl.shaping import ShapingVerbs
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.dsl.windowed_stream import WindowedStream
from streamlog.processing.dsl.windowing import check_windowing
from streamlog.processing.operators.plain import encode_json, encode_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import timedelta

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import RuntimeType, Value
    from streamlog.processing.dsl.windowing import Emit
    from streamlog.processing.windows.kinds import Windows
    from streamlog.serde.base import Serde

T = TypeVar("T")
U = TypeVar("U")
R = TypeVar("R")


class Output:
    """The end of a stream: a topic."""

    def __init__(self, node: ToNode) -> None:
        self.topic = node.topic
        self.node = node

    def __repr__(self) -> str:
        return f"<output {self.topic} at {self.node.location}>"


class GlobalTable(Generic[T]):
    """A small reference table, of which every worker keeps a whole copy.

    The newest record of a key holds; a null value removes the key. It is loaded to its end before
    the first event, and has no time: an event meets whatever holds when it is processed.
    """

    def __init__(self, graph: Graph, node: TableNode) -> None:
        self.graph = graph
        self.node = node

    def __repr__(self) -> str:
        return f"<global table {self.node.topic} at {self.node.location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", "To use it: stream.join(table, lambda value, row: …)")

    def __len__(self) -> NoReturn:
        refuse(self, "the length", "To use it: stream.join(table, lambda value, row: …)")

    def __iter__(self) -> Iterator[T]:
        refuse(self, "iteration", "To use it: stream.join(table, lambda value, row: …)")

    def __getitem__(self, key: object) -> T:
        refuse(self, "a row", "To look one up: stream.join(table, lambda value, row: …, key=…)")


class Stream(ShapingVerbs[T], GroupingVerbs[T], OrderingVerbs[T]):
    """Records of one type of value, each with a key and an event time; each verb adds one step.

    A source's key is the bytes of the record's key, until `key_by` chooses another.
    """

    @overload
    def join(
        self,
        table: GlobalTable[U],
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
        table: GlobalTable[U],
        function: Callable[[T, U | None], R],
        *,
        key: Callable[[T], object] | None = None,
        how: Literal["left"],
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]: ...

    def join(
        self,
        table: GlobalTable[U],
        function: Callable[..., R],
        *,
        key: Callable[[T], object] | None = None,
        how: Literal["inner", "left"] = "inner",
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Puts each value together with the row of a global table that has its key.

        Args:
            table: The table.
            function: From the value and the row to the new value.
            key: What to look up; by default the record's key.
            how: "inner" leaves out records without a row, "left" gives `None` in its place.
            to: The type of the new values, if neither annotation nor lambda tells it.
            name: The step's name in messages.
        """
        check_function(function, "join", "lambda value, row: …")
        if not isinstance(table, GlobalTable):
            raise plan_error(
                f"join takes a global table, this is {table!r}",
                hint="Declare the parameter as GlobalTable[…]",
            )
        if how not in ("inner", "left"):
            raise plan_error(f'how={how!r} is no kind of join; there are "inner" and "left"')
        node = JoinNode(
            name=check_name(name, None, f"join-{table.node.name}"),
            location=caller_location(),
            value_type=to or inference.result_type(function),
            parent=self.node,
            table=table.node,
            function=function,
            key=key,
            how=how,
        )
        return self._next(node)

    def window(
        self, windows: Windows, *, grace: timedelta | None = None, emit: Emit = "final"
    ) -> WindowedStream[T]:
        """Groups records by key and window, to be aggregated.

        A window closes when stream time has passed its end by `grace`. A record for which all its
        windows are closed is late: it is counted and left out, and `late()` of what is returned has
        those as a stream.

        Args:
            windows: How records are put together: `tumbling`, `hopping`, `sliding`, `sessions`,
                `count_windows` or `months`.
            grace: How long after its end a window waits for records that are out of order; by
                default not at all, but `sessions` wait for as long as their gap.
            emit: When results come out: "final", one when the window closes; "changes", one after
                each record; or an interval of stream time, at whose multiples the windows that
                have changed since show what they have.
        """
        return WindowedStream(self.graph, self.node, check_windowing(windows, grace, emit))

    def to(
        self,
        topic: str,
        *,
        partitions: int | None = None,
        serde: Serde[T] | None = None,
        headers: Callable[[T], Iterable[tuple[str, bytes | None]]] | None = None,
    ) -> Output:
        """Writes the records to a topic, which is created if it is missing.

        Args:
            topic: Its name.
            partitions: Of a topic that is created; by default as many as the source has.
            serde: How values are written; by default text as UTF-8, bytes as they are, else JSON.
            headers: From the value to the record's headers; by default there are none.
        """
        node = ToNode(
            name=check_topic_name(topic),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            topic=topic,
            partitions=partitions,
            encode=encoder_of(self.node.value_type) if serde is None else serde.encode,
            headers=headers,
        )
        self.graph.add(node)
        return Output(node)


def encoder_of(value_type: RuntimeType) -> Callable[[Value], bytes | None]:
    """How values are written if nobody says: it must work without knowing the type."""
    if isinstance(value_type, type) and value_type not in (str, bytes, object):
        return encode_json
    return encode_json if get_origin(value_type) is Windowed else encode_plain
