"""`@pipeline`: turns a function of handles into a pipeline.

The function runs once, when the plan is asked for; the decorator only notes it, so that a module
with pipelines imports quickly and whole.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from typing import TYPE_CHECKING, Annotated, Any, Generic, ParamSpec, TypeVar, overload

from streamlog.errors import StreamlogError
from streamlog.processing.declaration import check_count, check_span, check_topic_name, plan_error
from streamlog.processing.dsl.change import nullable_type
from streamlog.processing.dsl.checks import check_arguments, check_name, check_serde
from streamlog.processing.dsl.global_table import GlobalTable
from streamlog.processing.dsl.graph import Graph
from streamlog.processing.dsl.joining import table_of
from streamlog.processing.dsl.nodes import SourceNode, TableNode, ToNode
from streamlog.processing.dsl.options import IDLE_AFTER, STOP, PipelineOptions
from streamlog.processing.dsl.stream import Stream
from streamlog.processing.dsl.table import Table
from streamlog.processing.dsl.topic import Topic
from streamlog.processing.failures.policy import Skip, Stop, check_policy, suffixed
from streamlog.processing.location import Location, caller_location, function_location
from streamlog.processing.plan.build import build_plan
from streamlog.processing.plan.naming import Naming
from streamlog.serde.default import serde_for
from streamlog.serde.nullable import NullableSerde

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from streamlog.processing.dsl.nodes import Node
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.processing.plan.plan import Plan

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_RIGHT_WAY = "Write: def delays(flights: Stream[Flight], airlines: GlobalTable[Airline])"


class Pipeline(Generic[P, R_co]):
    """A pipeline: its function, still callable, and its plan.

    Attributes:
        name: Names its consumer group, its internal topics and its state.
        function: The function.
    """

    def __init__(
        self,
        function: Callable[P, R_co],
        name: str | None,
        options: PipelineOptions,
        names_in_scope: dict[str, Any],
    ) -> None:
        self.function = function
        self.name = check_name(name or function.__name__, None, "pipeline")
        self.location = function_location(function) or caller_location()
        self.options = options
        self._names_in_scope = names_in_scope
        self._plans: dict[Naming, Plan] = {}
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """Calls the function itself."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<pipeline {self.name} at {self.location}>"

    def plan(self, naming: Naming | None = None) -> Plan:
        """Returns the plan; runs the function at the first call.

        Args:
            naming: Under which names it runs; by default its own.

        Raises:
            PlanError: If it cannot be run as it is declared.
        """
        naming = naming or Naming(self.name)
        if naming not in self._plans:
            self._plans[naming] = self._draw(naming)
        return self._plans[naming]

    def _draw(self, naming: Naming) -> Plan:
        graph = Graph(repr(self))
        handles = {}
        for name, annotation in self._inputs().items():
            node, handle = _input(graph, name, annotation, self.location, naming.suffix)
            graph.add(node)
            handles[name] = handle
        if inspect.iscoroutinefunction(self.function):
            raise plan_error(
                f"the function of {self.name} is async",
                hint="It only describes the steps: write def, and wait in .map_async(…)",
                at=self.location,
            )
        self.function(**handles)  # type: ignore[arg-type, call-arg]
        graph.is_drawn = True
        graph.nodes = [_suffixed(node, naming.suffix) for node in graph.nodes]
        on_error = suffixed(self.options.on_error, naming.suffix)
        options = dataclasses.replace(self.options, on_error=on_error)
        return build_plan(naming.name, graph, self.location, options)

    def _inputs(self) -> dict[str, object]:
        """The parameters, with their annotations as objects."""
        parameters = inspect.signature(self.function).parameters
        try:
            hints = typing.get_type_hints(
                self.function, localns=self._names_in_scope, include_extras=True
            )
        except NameError as error:
            raise plan_error(
                f"an annotation of {self.name} cannot be resolved: {error}",
                hint="Types of inputs are needed when the program runs: import or define them at "
                "the top of the module, not under TYPE_CHECKING",
                at=self.location,
            ) from error
        for name in parameters:
            if name not in hints:
                raise plan_error(
                    f"parameter {name} of {self.name} has no annotation, so its type is unknown",
                    hint=_RIGHT_WAY,
                    at=self.location,
                )
        if not parameters:
            raise plan_error(
                f"{self.name} has no parameter, so it reads nothing",
                hint=_RIGHT_WAY,
                at=self.location,
            )
        return {name: hints[name] for name in parameters}


def _suffixed(node: Node, suffix: str) -> Node:
    """The node, with a suffix behind the topic that it writes."""
    if not suffix or not isinstance(node, ToNode):
        return node
    topic = check_topic_name(node.topic + suffix)
    return dataclasses.replace(node, name=topic, topic=topic)


def _input(
    graph: Graph, name: str, annotation: object, location: Location, suffix: str
) -> tuple[SourceNode | TableNode, Stream[Any] | Table[Any] | GlobalTable[Any]]:
    """The node and the handle of a parameter."""
    topic = Topic()
    if typing.get_origin(annotation) is Annotated:
        annotation, *extras = typing.get_args(annotation)
        topic = _topic_of(name, extras, location)
    kind = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if kind not in (Stream, Table, GlobalTable) or len(arguments) != 1:
        raise plan_error(
            f"parameter {name} is a {annotation!r}, but inputs are streams, tables or global "
            "tables",
            hint=_RIGHT_WAY,
            at=location,
        )
    value_type = arguments[0]
    topic_name = check_topic_name(topic.name or name)
    try:
        serde = topic.serde or serde_for(value_type)
    except StreamlogError as error:
        raise plan_error(
            f"parameter {name}: {error.message}", hint=error.hint, at=location
        ) from error
    if kind is GlobalTable:
        table = TableNode(
            name=name,
            location=location,
            value_type=value_type,
            topic=topic_name,
            serde=serde,
            skips=_skips(topic, name, location),
        )
        return table, GlobalTable(graph, table)
    source = SourceNode(
        name=name,
        location=location,
        value_type=nullable_type(value_type) if kind is Table else value_type,
        topic=topic_name,
        serde=NullableSerde(serde) if kind is Table else serde,
        event_time=topic.event_time,
        on_error=None
        if topic.on_error is None
        else suffixed(check_policy(topic.on_error, f"{location}: input {name}"), suffix),
    )
    if kind is Table:
        return source, table_of(graph, source, None, value_type, is_input=True)
    return source, Stream(graph, source)


def _check_spans(**spans: timedelta | None) -> None:
    for what, span in spans.items():
        if span is not None:
            check_span(span, what, least_ms=0 if what == "history" else 1)


def _check_counts(**counts: int | None) -> None:
    for what, count in counts.items():
        if count is not None:
            example = f"{what}=2**28" if what.endswith("bytes") else f"{what}=1"
            check_count(count, what, least=0, example=example)


def _topic_of(name: str, extras: list[object], location: Location) -> Topic:
    """What is said of an input beside its type; notes of other tools are left alone."""
    for each in extras:
        if isinstance(each, str) or each is Topic:
            raise plan_error(
                f"parameter {name} is annotated with {each!r}, which says nothing of its topic",
                hint='Write: Annotated[Stream[Flight], Topic("flights.v2")]',
                at=location,
            )
    topic = next((each for each in extras if isinstance(each, Topic)), Topic())
    check_serde(topic.serde, f"the serde of input {name}", at=location)
    if topic.event_time is not None and not callable(topic.event_time):
        raise plan_error(
            f"the event_time of input {name} is {topic.event_time!r}, but it has to be a function",
            hint="Write: Topic(event_time=lambda flight: flight.departed)",
            at=location,
        )
    if topic.event_time is not None:
        hint = "Write: Topic(event_time=lambda flight: flight.departed)"
        check_arguments(topic.event_time, f"the event_time of input {name}", hint, at=location)
    return topic


def _skips(topic: Topic, name: str, location: Location) -> bool:
    """Whether a global table leaves out what it cannot read; that is all it can do beside stop."""
    if topic.on_error is None:
        return False
    policy = check_policy(topic.on_error, f"{location}: input {name}")
    if not isinstance(policy, Stop | Skip):
        raise plan_error(
            f"input {name} is a global table, which every worker reads for itself",
            hint="Records that it cannot read stop it or are left out: on_error=skip()",
            at=location,
        )
    return isinstance(policy, Skip)


@overload
def pipeline(function: Callable[P, R], /) -> Pipeline[P, R]: ...


@overload
def pipeline(
    *,
    name: str | None = None,
    checkpoint_interval: timedelta | None = None,
    history: timedelta | None = None,
    history_bytes: int | None = None,
    snapshots: timedelta | None = None,
    snapshots_kept: int | None = None,
    snapshots_bytes: int | None = None,
    on_error: FailurePolicy = ...,
    standbys: int | None = None,
    idle: timedelta | None = ...,
    quiet: timedelta | None = None,
) -> Callable[[Callable[P, R]], Pipeline[P, R]]: ...


def pipeline(
    function: Callable[P, R] | None = None,
    /,
    *,
    name: str | None = None,
    checkpoint_interval: timedelta | None = None,
    history: timedelta | None = None,
    history_bytes: int | None = None,
    snapshots: timedelta | None = None,
    snapshots_kept: int | None = None,
    snapshots_bytes: int | None = None,
    on_error: FailurePolicy = STOP,
    standbys: int | None = None,
    idle: timedelta | None = IDLE_AFTER,
    quiet: timedelta | None = None,
) -> Pipeline[P, R] | Callable[[Callable[P, R]], Pipeline[P, R]]:
    """Declares a pipeline: a function whose parameters are its inputs.

    The function runs once and describes the steps; it never sees a record.

    Args:
        function: The function, when used without parentheses.
        name: The pipeline's name; by default the function's.
        checkpoint_interval: How often its tasks make their work durable; by default every second.
        history: For how long tasks keep what a rewind needs to undo their checkpoints.
        history_bytes: How many bytes of it one task keeps at most.
        snapshots: How often tasks copy their whole state, for rewinds to where history does not
            reach; by default once a day.
        snapshots_kept: How many copies one task keeps, by default seven; 0: it makes none.
        snapshots_bytes: How many bytes of them one task keeps at most, by default a gibibyte; state
            that is larger alone is not copied.
        on_error: What happens to a record that cannot be read or whose function raises: `stop()`,
            `skip()`, `retry(…)` or `dead_letter(…)`.
        standbys: How many other workers keep a warm copy of each task's state.
        idle: A source partition that was read to its end and is silent for so long no longer holds
            up the windows and joins that wait for all partitions; `None`: it does for ever. What
            comes there later and is older than what has closed by then is late.
        quiet: When a source partition is silent for so long, its time goes on as the wall clock
            does, and windows close without another record; by default only records move time. The
            decision is logged, and repeated when its records are processed again.
    """
    check_policy(on_error, f"{caller_location()}: @pipeline")
    _check_spans(checkpoint_interval=checkpoint_interval, history=history, idle=idle, quiet=quiet)
    _check_spans(snapshots=snapshots)
    _check_counts(
        history_bytes=history_bytes,
        snapshots_kept=snapshots_kept,
        snapshots_bytes=snapshots_bytes,
        standbys=standbys,
    )
    # Types that are defined inside a function, as tests do, are found in the caller's names.
    frame = inspect.currentframe()
    scope = dict(frame.f_back.f_locals) if frame is not None and frame.f_back is not None else {}
    options = PipelineOptions(
        checkpoint_interval=checkpoint_interval,
        history=history,
        history_bytes=history_bytes,
        snapshots=snapshots,
        snapshots_kept=snapshots_kept,
        snapshots_bytes=snapshots_bytes,
        on_error=on_error,
        standbys=standbys,
        idle=idle,
        quiet=quiet,
    )

    def decorate(function: Callable[P, R]) -> Pipeline[P, R]:
        return Pipeline(function, name, options, scope)

    return decorate if function is None else decorate(function)
