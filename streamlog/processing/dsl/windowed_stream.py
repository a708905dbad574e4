"""A stream whose records are grouped by key and window, waiting for an aggregate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, get_args

from streamlog.processing.dsl import aggregates, inference
from streamlog.processing.dsl.aggregates import Aggregate
from streamlog.processing.dsl.checks import check_name
from streamlog.processing.dsl.graph import Graph, refuse
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.result_fields import builder, check_fields
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.dsl.windowing import late_node, window_node
from streamlog.processing.operators.specs import AggregateSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.processing.dsl.nodes import RuntimeType, StreamNode, Value
    from streamlog.processing.dsl.stream import Stream
    from streamlog.processing.dsl.windowing import Windowing

T = TypeVar("T")
R = TypeVar("R")


class WindowedStream(Generic[T]):
    """What `Stream.window` returns: name the result."""

    def __init__(self, graph: Graph, parent: StreamNode, windowing: Windowing) -> None:
        self._graph = graph
        self._parent = parent
        self._windowing = windowing
        self._begun = graph.begin(
            "this window", "Name what to make of its records: .count(), .aggregate(…), .late()"
        )

    def late(self, *, name: str | None = None) -> Stream[T]:
        """The records that come too late for all their windows, as they are.

        They are counted and left out of the windows all the same. A record that is late for some
        of its windows only, as hopping and sliding ones may have it, is not among them.

        Args:
            name: The step's name, by which its state is found again.
        """
        self._begun.is_used = True
        node = late_node(self._parent, self._windowing, name)
        return add_step(self._graph, node)

    def aggregate(
        self, result: type[R], /, *, name: str | Aggregate[T] | None = None, **fields: Aggregate[T]
    ) -> Stream[Windowed[R]]:
        """Makes one result for each key and window.

        Args:
            result: The type of the result; it gets the fields as keyword arguments.
            name: The step's name, by which its state is found again; by default the name of the
                result type. An aggregate here is a field called `name`.
            fields: What fills each field: `flights=count(), delay=mean(lambda f: f.delay)`.
        """
        if isinstance(name, Aggregate):
            fields = {"name": name, **fields}
            name = None
        check_fields(result, fields)
        kept = inference.field_types(result)
        specs = tuple(each.spec(key, kept.get(key)) for key, each in fields.items())

        return self._step(
            name,
            inference.slug(result.__name__),
            specs,
            builder(result, tuple(fields)),
            Windowed[result],  # type: ignore[valid-type]
        )

    def count(self, *, name: str | None = None) -> Stream[Windowed[int]]:
        """Counts the records of each key and window."""
        spec = AggregateSpec("", "count", None)
        return self._step(name, "count", (spec,), _only, Windowed[int])

    def sum_(
        self, selector: Callable[[T], float | None], *, name: str | None = None
    ) -> Stream[Windowed[float]]:
        """Adds up what the selector yields, exactly."""
        return self._single(aggregates.sum_(selector), name, Windowed[int | float])

    def mean(
        self, selector: Callable[[T], float | None], *, name: str | None = None
    ) -> Stream[Windowed[float | None]]:
        """The mean of what the selector yields; `None` of nothing."""
        return self._single(aggregates.mean(selector), name, Windowed[float | None])

    def min_(
        self, selector: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Stream[Windowed[R]]:
        """The smallest of what the selector yields."""
        return self._single(aggregates.min_(selector), name, _windowed(to, selector))

    def max_(
        self, selector: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Stream[Windowed[R]]:
        """The largest of what the selector yields."""
        return self._single(aggregates.max_(selector), name, _windowed(to, selector))

    def first(
        self, selector: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Stream[Windowed[R]]:
        """What the selector yields for the earliest record, by event time."""
        return self._single(aggregates.first(selector), name, _windowed(to, selector))

    def last(
        self, selector: Callable[[T], R], *, to: type[R] | None = None, name: str | None = None
    ) -> Stream[Windowed[R]]:
        """What the selector yields for the latest record, by event time."""
        return self._single(aggregates.last(selector), name, _windowed(to, selector))

    def _single(
        self, aggregate: Aggregate[T], name: str | None, value_type: RuntimeType
    ) -> Stream[Any]:
        assert aggregate.selector is not None
        kept = get_args(value_type)[0] if value_type is not None else None
        spec = aggregate.spec("", kept)
        derived = inference.derived_name(aggregate.selector)
        default = f"{aggregate.kind}-{derived}" if derived else aggregate.kind
        return self._step(name, default, (spec,), _only, value_type)

    def _step(
        self,
        name: str | None,
        default: str,
        specs: tuple[AggregateSpec, ...],
        build: Callable[[list[Value]], Value],
        value_type: RuntimeType,
    ) -> Stream[Any]:
        self._begun.is_used = True
        node = window_node(
            self._parent,
            self._windowing,
            default if name is None else check_name(name, None, "window"),
            value_type,
            specs,
            build,
        )
        return add_step(self._graph, node)

    def __repr__(self) -> str:
        return f"<windowed stream at {self._begun.location}>"

    def __bool__(self) -> NoReturn:
        refuse(self, "the truth", "To get results: stream.window(…).count()")

    def __len__(self) -> NoReturn:
        refuse(self, "the length", "To count records: stream.window(…).count()")

    def __iter__(self) -> Iterator[T]:
        refuse(self, "iteration", "To get results: stream.window(…).count()")

    def __eq__(self, other: object) -> bool:
        refuse(self, "comparison", "To get results: stream.window(…).count()")

    __hash__ = None  # type: ignore[assignment]


def _only(values: list[Value]) -> Value:
    return values[0]


def _windowed(to: RuntimeType, selector: Callable[..., object]) -> RuntimeType:
    found = to or inference.result_type(selector)
    return None if found is None else Windowed[found]  # type: ignore[valid-type]
