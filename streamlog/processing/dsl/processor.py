"""`Processor`: a step of the user's own, with named state for each key and timers.

>>> from datetime import UTC, datetime
>>> from streamlog import Stream, Value, pipeline
>>> from streamlog.testing import drive
>>> class Silence(Processor[float, str]):
...     '''Tells when nothing was heard of a sensor for five minutes.'''
...
...     readings: Value[int]
...
...     def process(self, key, value, ctx):
...         self.readings.set(self.readings.get(0) + 1)
...         ctx.timer(ctx.event_time + timedelta(minutes=5), "silence")
...
...     def on_timer(self, key, timer, ctx):
...         yield f"{key.decode()} fell silent after {self.readings.get()} readings"
...         self.readings.clear()

>>> @pipeline
... def sensors(readings: Stream[float]):
...     readings.process(Silence).to("silences")

>>> with drive(sensors) as t:
...     t.send("readings", 19.5, key="cellar", timestamp=datetime(2013, 1, 1, 12, 0, tzinfo=UTC))
...     t.send("readings", 20.5, key="cellar", timestamp=datetime(2013, 1, 1, 12, 1, tzinfo=UTC))
...     t.send("readings", 25.0, key="attic", timestamp=datetime(2013, 1, 1, 12, 7, tzinfo=UTC))
...     t.run()
...     [record.value for record in t.read("silences")]
['cellar fell silent after 2 readings']
"""

from __future__ import annotations

import copy
import inspect
import sys
import typing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from streamlog.processing.declaration import check_span, plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.checks import check_name
from streamlog.processing.dsl.handles import add_step
from streamlog.processing.dsl.kept_types import kept_serde
from streamlog.processing.dsl.nodes import (
    ContextNode,
    FilterNode,
    FlatMapNode,
    JoinNode,
    MapNode,
    OperatorNode,
    PeekNode,
    StreamNode,
)
from streamlog.processing.location import caller_location, caller_names
from streamlog.processing.operators.in_order import InOrderStep
from streamlog.processing.operators.named_state import List, Map, Value
from streamlog.processing.operators.processor import Calls, ProcessorContext, ProcessorStep, Timer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.dsl.nodes import RuntimeType
    from streamlog.processing.dsl.stream import Stream
    from streamlog.processing.operators.named_state import Place

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_KINDS = (Value, Map, List)
_EXAMPLE = "class Last(Processor[Reading, str]): with a method process(self, key, value, ctx)"


class Processor(Generic[T_contra, R_co]):
    """A step with state and timers: subclass it, and hand the class to `Stream.process`.

    State is declared as annotations: `last: Value[float]`, `seen: Map[str, int]`,
    `recent: List[Reading]`. Each key has its own. It is in checkpoints, changelogs and rewinds like
    any other state; anything else in `self` is not, and is shared by all keys of a task, so keep
    nothing there but settings: `stream.process(Silence(minutes=5))`.

    What it yields goes on with the key and event time of the record, or of the timer.

    Records of a key that come from different writers come in any order, and it depends on that
    which of them have come when a timer is fired. Put `.in_order()` in front where that matters:
    then timers and records come in the order of event time, a timer before a record of its moment.

    Attributes:
        precision: How finely timers of stream time are looked at; finer costs more.
    """

    precision: ClassVar[timedelta] = timedelta(seconds=1)

    def process(
        self, key: bytes | None, value: T_contra, ctx: ProcessorContext
    ) -> Iterable[R_co] | None:
        """Is called for each record.

        Args:
            key: Its key.
            value: Its value.
            ctx: Its event time, and the timers of its key.
        """
        raise AssertionError

    def on_timer(
        self, key: bytes | None, timer: Timer, ctx: ProcessorContext
    ) -> Iterable[R_co] | None:
        """Is called when a timer is due."""
        return ()


class ProcessVerb(Generic[T]):
    """The verb for processors; a base of `Stream`."""

    graph: Graph
    node: StreamNode

    def process(
        self,
        processor: Processor[T, R] | type[Processor[T, R]] | Callable[..., Iterable[R]],
        *,
        to: type[R] | None = None,
        name: str | None = None,
    ) -> Stream[R]:
        """Hands each record to a processor of your own, which may keep state and set timers.

        Args:
            processor: A subclass of `Processor`, or an object of one. Or a function of key, value
                and context, whose further parameters declare its state:
                `def changed(key, value, ctx, last: Value[float]) -> Iterator[Change]`.
            to: The type of what it yields, if its annotations do not tell it.
            name: The step's name, by which its state is found again; by default that of the class
                or function.
        """
        node = _node(self.node, processor, to, name)
        return add_step(self.graph, node)


def _node(parent: StreamNode, processor: object, to: RuntimeType, name: str | None) -> OperatorNode:
    tick_ms: int | None = None
    ordered = _is_ordered(parent)
    if isinstance(processor, type) and issubclass(processor, Processor):
        prototype = _made(processor)
        called = processor.__name__
    elif isinstance(processor, Processor):
        prototype = processor
        called = type(processor).__name__
    elif inspect.isroutine(processor):
        prototype = None
        called = getattr(processor, "__name__", "process")
    else:
        raise plan_error(
            f"process takes a subclass of Processor or a function, this is {processor!r}",
            hint=f"Write: {_EXAMPLE}",
        )
    if prototype is None:
        function = cast("Callable[..., Any]", processor)
        _refuse_async(function)
        step = _function_step(function, called, ordered)
        value_type = to or inference.item_type(function)
    else:
        kind = type(prototype)
        if kind.process is Processor.process:
            raise plan_error(f"{called} has no method process", hint=f"Write: {_EXAMPLE}")
        _refuse_async(kind.process)
        _refuse_async(kind.on_timer)
        step = _class_step(prototype, called, ordered)
        value_type = to or _result_type(kind)
        if kind.on_timer is not Processor.on_timer:
            tick_ms = check_span(kind.precision, f"{called}.precision", least_ms=1)
    return OperatorNode(
        name=inference.slug(called) if name is None else check_name(name, None, "process"),
        location=caller_location(),
        value_type=value_type,
        parents=(parent,),
        make=step.make,
        layout=step.layout,
        tick_ms=tick_ms,
        wall=tick_ms is not None,
    )


def _is_ordered(node: StreamNode) -> bool:
    """Whether records come in the order of event time: steps that keep their order lead here."""
    while isinstance(node, MapNode | FilterNode | FlatMapNode | PeekNode | JoinNode | ContextNode):
        node = node.parent
    make = node.make if isinstance(node, OperatorNode) else None
    return isinstance(getattr(make, "__self__", None), InOrderStep)


def _made(kind: type[Processor[Any, Any]]) -> Processor[Any, Any]:
    try:
        inspect.signature(kind).bind()
    except TypeError as error:
        raise plan_error(
            f"{kind.__name__} cannot be made without arguments: {error}",
            hint=f"Hand over an object: .process({kind.__name__}(…))",
        ) from error
    return kind()


def _class_step(prototype: Processor[Any, Any], called: str, ordered: bool) -> ProcessorStep:
    states: dict[str, object] = {}
    for kind in reversed(type(prototype).__mro__):
        names = {**vars(sys.modules[kind.__module__]), **caller_names()}
        states |= _states(inspect.get_annotations(kind), names)
    makers = _makers(states)

    def bind(place: Place) -> Calls:
        # Tasks must not see each other's state, so each has an object of its own.
        mine = copy.copy(prototype)
        for name, make in makers.items():
            setattr(mine, name, make(place))
        return Calls(mine.process, mine.on_timer)

    return ProcessorStep(name=called, bind=bind, layout=_layout(states), ordered=ordered)


def _function_step(function: Callable[..., Any], called: str, ordered: bool) -> ProcessorStep:
    names = {**getattr(function, "__globals__", {}), **caller_names()}
    states = _states(inspect.get_annotations(function), names)
    parameters = list(inspect.signature(function).parameters)
    unknown = [name for name in parameters[3:] if name not in states]
    if len(parameters) < 3 or unknown or set(states) - set(parameters[3:]):
        raise plan_error(
            f"{called} has the parameters {', '.join(parameters)}, but process calls its function "
            "with key, value and context, and with states, which are declared by annotations",
            hint="Write: def changed(key, value, ctx, last: Value[float])",
        )
    makers = _makers(states)

    def bind(place: Place) -> Calls:
        kept = {name: make(place) for name, make in makers.items()}

        def process(key: bytes | None, value: Any, ctx: ProcessorContext) -> Any:  # noqa: ANN401
            return function(key, value, ctx, **kept)

        return Calls(process, lambda key, timer, ctx: None)

    return ProcessorStep(name=called, bind=bind, layout=_layout(states), ordered=ordered)


def _states(annotations: Mapping[str, object], names: Mapping[str, Any]) -> dict[str, object]:
    """Those of the annotations that declare state, as types."""
    states: dict[str, object] = {}
    for name, annotation in annotations.items():
        found = annotation
        if isinstance(annotation, str):
            try:
                found = eval(annotation, dict(names))
            except Exception as error:
                if not annotation.startswith(tuple(f"{kind.__name__}[" for kind in _KINDS)):
                    continue
                raise plan_error(
                    f"{name}: {annotation} cannot be resolved: {error}",
                    hint="Types of state are needed when the program runs: import or define them "
                    "at the top of the module, not under TYPE_CHECKING",
                ) from error
        if found in _KINDS:
            raise plan_error(
                f"{name} is declared as {found.__name__}, but not of what",
                hint=f"Write: {name}: Map[str, int]"
                if found is Map
                else f"Write: {name}: {found.__name__}[int]",
            )
        if typing.get_origin(found) in _KINDS:
            states[name] = found
    return states


def _makers(states: Mapping[str, object]) -> dict[str, Callable[[Place], object]]:
    return {name: _maker(name, declared) for name, declared in states.items()}


def _maker(name: str, declared: object) -> Callable[[Place], object]:
    kind: Any = typing.get_origin(declared)
    types = typing.get_args(declared)
    serdes = [kept_serde(each, f"the state {name}: {declared!r} is kept") for each in types]
    return lambda place: kind(place, name, *serdes)


def _layout(states: Mapping[str, object]) -> str:
    shapes = []
    for name, declared in sorted(states.items()):
        kind: Any = typing.get_origin(declared)
        types = ", ".join(inspect.formatannotation(each) for each in typing.get_args(declared))
        shapes.append(f"{name}: {kind.__name__}[{types}]")
    return f"processor {'; '.join(shapes)}".strip()


def _result_type(kind: type[Processor[Any, Any]]) -> RuntimeType:
    """What the objects of a class yield: by the annotation of `process`, or by the base's."""
    found = inference.item_type(kind.process)
    if found is not None:
        return found
    for each in kind.__mro__:
        for base in getattr(each, "__orig_bases__", ()):
            if typing.get_origin(base) is Processor:
                result = typing.get_args(base)[1]
                return None if result is Any or isinstance(result, TypeVar) else result
    return None


def _refuse_async(function: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise plan_error(
            f"process takes plain functions, {function.__qualname__} is async",
            hint="To wait for something, put .map_async(…) in front",
        )
