"""The verbs that look at one record at a time: they keep nothing.

They are a base of `Stream`, which adds the verbs that join, group and write.
"""

from __future__ import annotations

import inspect
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar

from streamlog.processing.declaration import check_count, check_span, plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.checks import check_arguments, check_function, check_name
from streamlog.processing.dsl.graph import Graph, refuse
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.nodes import (
    AsyncMapNode,
    ContextNode,
    FilterNode,
    FlatMapNode,
    KeyByNode,
    MapNode,
    MergeNode,
    PeekNode,
    StreamNode,
    TimestampNode,
    WithKeyNode,
)
from streamlog.processing.location import caller_location

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator
    from datetime import datetime

    from streamlog.processing.dsl.message import Message
    from streamlog.processing.dsl.stream import Stream

T = TypeVar("T")
R = TypeVar("R")


class ShapingVerbs(Generic[T]):
    """Records of one type of value; a handle that stands for those that will pass."""

    def __init__(self, graph: Graph, node: StreamNode) -> None:
        self.graph = graph
        self.node = node

    def map(
        self, function: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Stream[R]:
        """Turns each value into another.

        Args:
            function: From the value to the new value.
            to: The type of the new values, if neither annotation nor lambda tells it; only values
                that pass a repartition topic need it.
            name: The step's name in messages.
        """
        check_function(function, "map", "lambda value: …")
        node = MapNode(
            name=check_name(name, function, "map"),
            location=caller_location(),
            value_type=to or inference.result_type(function),
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def filter(self, function: Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """Keeps the records for whose value the function is true."""
        check_function(function, "filter", "lambda value: value.delay is not None")
        node = FilterNode(
            name=check_name(name, function, "filter"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def flat_map(
        self,
        function: Callable[[T], Iterable[R]],
        *,
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Turns each value into any number of others, in their order.

        Args:
            function: From the value to the new values.
            to: The type of one new value, if the function's annotation does not tell it.
            name: The step's name in messages.
        """
        check_function(function, "flat_map", "lambda value: value.lines")
        node = FlatMapNode(
            name=check_name(name, function, "flat_map"),
            location=caller_location(),
            value_type=to or inference.item_type(function),
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def peek(self, function: Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """Shows each value to a function and passes it on; after a crash it is shown again."""
        check_function(function, "peek", "print")
        node = PeekNode(
            name=check_name(name, function, "peek"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def key_by(self, function: Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """Gives each record a new key; what follows sees all records of a key together.

        Text becomes UTF-8, bytes stay, anything else becomes JSON; `None` is a key like others,
        as groups in SQL have it. If a step behind it needs equal keys in one place, records pass
        a repartition topic here.

        Args:
            function: From the value to its key.
            name: Names the repartition topic and the state behind it. Derived from the function:
                `lambda f: f.carrier` gives `by-carrier`.
        """
        check_function(function, "key_by", "lambda value: value.id")
        derived = inference.derived_name(function)
        if derived and not derived.startswith("by-"):
            derived = f"by-{derived}"
        node = KeyByNode(
            name=derived if name is None else check_name(name, function, "key_by"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def merge(self, other: Stream[T], *, name: str | None = None) -> Stream[T]:
        """Puts two streams together; there is no order between the records of the two.

        Args:
            other: The other stream.
            name: Names the repartition topic, if a step behind it needs one. Derived from the
                names of the two.
        """
        if not isinstance(other, ShapingVerbs) or other.graph is not self.graph:
            raise plan_error(
                f"merge takes another stream of the same pipeline, this is {other!r}",
                hint="Write: one.merge(other)",
            )
        left, right = self.node, other.node
        node = MergeNode(
            name=f"{left.name}-{right.name}" if name is None else check_name(name, None, "merge"),
            location=caller_location(),
            value_type=left.value_type if left.value_type == right.value_type else None,
            parents=(left, right),
        )
        return self._next(node)

    def split(self, *conditions: Callable[[T], object]) -> tuple[Stream[T], ...]:
        """Parts the records: each goes to the first condition that is true for its value.

        Returns one stream for each condition, and one more for what none of them takes:

            paid, refused, others = payments.split(is_paid, is_refused)

        Streams of it that are not used are no mistake; their records are left out.
        """
        for condition in conditions:
            check_function(condition, "split", "lambda value: value.paid, lambda value: True")
        if not conditions:
            raise plan_error(
                "split takes at least one condition",
                hint="Write: paid, others = stream.split(lambda value: value.paid)",
            )
        return tuple(
            self._next(
                FilterNode(
                    name=f"split-{number}",
                    location=caller_location(),
                    value_type=self.node.value_type,
                    parent=self.node,
                    function=_first_to_hold(conditions, number),
                    optional=True,
                )
            )
            for number in range(len(conditions) + 1)
        )

    def with_key(self, function: Callable[[T], object], *, name: str | None = None) -> Stream[T]:
        """Gives each record a new key and leaves it where it is: for what is written with `to`.

        Equal keys are not brought together, so no step with state may follow; `key_by` does that.
        """
        check_function(function, "with_key", "lambda value: value.id")
        node = WithKeyNode(
            name=check_name(name, function, "with_key"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def with_timestamp(
        self, function: Callable[[T], datetime | int], *, name: str | None = None
    ) -> Stream[T]:
        """Gives each record a new event time: a datetime with a time zone, or milliseconds.

        Stream time goes on as the input's own times say, so what is moved far back may be late for
        a window. If a value says when it happened, say so where it is read: `Topic(event_time=…)`.
        """
        check_function(function, "with_timestamp", "lambda value: value.at")
        node = TimestampNode(
            name=check_name(name, function, "with_timestamp"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=function,
        )
        return self._next(node)

    def with_context(self, *, name: str | None = None) -> Stream[Message[T]]:
        """Shows each value with its record's key, event time, headers and address.

        The headers are those of the source's record; behind a `key_by` that repartitions there are
        none, so take what is needed out of them before.
        """
        node = ContextNode(
            name=check_name(name, None, "with_context"),
            location=caller_location(),
            value_type=None,
            parent=self.node,
        )
        return self._next(node)

    def repartition(self, partitions: int | None = None, *, name: str | None = None) -> Stream[T]:
        """Has records pass a topic here, with keys as they are, so that more workers share.

        What follows runs behind the topic, with one task for each of its partitions.

        Args:
            partitions: How many; by default as many as the largest topic that feeds it.
            name: Names the topic and what is behind it.
        """
        if partitions is not None:
            check_count(partitions, "repartition(partitions)", example=".repartition(4)")
        node = KeyByNode(
            name=f"{self.node.name}-again" if name is None else check_name(name, None, "topic"),
            location=caller_location(),
            value_type=self.node.value_type,
            parent=self.node,
            function=None,
            partitions=partitions,
            forced=True,
        )
        return self._next(node)

    def map_async(
        self,
        function: Callable[[T], Awaitable[R]],
        *,
        concurrency: int = 16,
        timeout: timedelta = timedelta(seconds=30),
        retries: int = 3,
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Turns each value into another by an async function (trio), many of them at once.

        Records come out in the order in which they came in, and those of one key are never under
        way together. A checkpoint holds no record whose call is not over: after a crash, calls
        whose results were not durable are made again.

        Args:
            function: An async function from the value to the new value.
            concurrency: Calls under way at once in one task.
            timeout: Of one call.
            retries: How often a call that raised or took too long is made again, with growing
                pauses; then the record has failed.
            to: The type of the new values, if the function's annotation does not tell it.
            name: The step's name in messages.
        """
        if not callable(function) or not inspect.iscoroutinefunction(function):
            raise plan_error(
                f"map_async takes an async function, this is {function!r}",
                hint="Write: async def look_up(value: Order) -> Offer, or use map",
            )
        check_arguments(function, "map_async", "Write: async def look_up(value: Order) -> Offer")
        check_count(concurrency, "map_async(concurrency=…)", example="concurrency=16")
        check_count(retries, "map_async(retries=…)", least=0, example="retries=3")
        check_span(timeout, "map_async(timeout=…)", least_ms=1)
        node = AsyncMapNode(
            name=check_name(name, function, "map_async"),
            location=caller_location(),
            value_type=to or inference.result_type(function),
            parent=self.node,
            function=function,
            concurrency=concurrency,
            timeout_s=timeout.total_seconds(),
            retries=retries,
        )
        return self._next(node)

    def _next(self, node: StreamNode) -> Stream[Any]:
        return add_step(self.graph, node)

    def __repr__(self) -> str:
        return f"<stream {self.node.name} at {self.node.location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", "To choose records: stream.filter(lambda value: …)")

    def __len__(self) -> NoReturn:
        refuse(self, "the length", "To count records: stream.count(), or stream.window(…).count()")

    def __iter__(self) -> Iterator[T]:
        refuse(self, "iteration", "To see each value: stream.map(lambda value: …) or peek")

    def __getitem__(self, key: object) -> T:
        refuse(self, "an item", "To see each value: stream.map(lambda value: …)")

    def __eq__(self, other: object) -> bool:
        refuse(self, "comparison", "To compare values: stream.filter(lambda value: value == …)")

    __hash__ = None  # type: ignore[assignment]


def _first_to_hold(
    conditions: tuple[Callable[[Any], object], ...], number: int
) -> Callable[[Any], bool]:
    """Whether the condition of a number holds and none before it does."""
    before = conditions[:number]
    if number == len(conditions):
        return lambda value: not any(each(value) for each in before)
    mine = conditions[number]
    return lambda value: bool(not any(each(value) for each in before) and mine(value))
