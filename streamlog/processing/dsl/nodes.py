"""The graph that a pipeline's function draws: one node for each verb, pointing to its parents.

Nodes are values without behaviour. The planner walks them; the fuser turns them into one function
per sub-topology. A node's `value_type` is the type of the values that leave it, as far as it is
known when the program runs; only where values pass a topic does it have to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.processing.location import Location
    from streamlog.processing.operators.operator import Operator, OperatorContext
    from streamlog.processing.operators.specs import AggregateSpec
    from streamlog.processing.windows.tumbling import TumblingWindows
    from streamlog.serde.base import Serde

# The engine handles values of every type; which type it is, is checked where the user writes.
Value: TypeAlias = Any
RuntimeType: TypeAlias = object
"""A type as `msgspec` takes it, or `None` where it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourceNode:
    """Records of a topic."""

    name: str
    location: Location
    value_type: RuntimeType
    topic: str
    serde: Serde[Value]
    event_time: Callable[[Value], object] | None
    on_error: FailurePolicy | None = None
    """`None`: as the pipeline says."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SourcesNode:
    """Several sources that one task reads together: what a plan makes of joins of sources."""

    name: str
    location: Location
    """Of the first step that needs them together."""
    sources: tuple[SourceNode, ...]
    """By topic; a record's input is its index here."""
    value_type: RuntimeType = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TableNode:
    """A global table."""

    name: str
    location: Location
    value_type: RuntimeType
    topic: str
    serde: Serde[Value]
    skips: bool = False
    """Whether a record that cannot be read is left out."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MapNode:
    """Each value becomes another."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], Value]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FilterNode:
    """Values for which the function is true go on."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], object]
    optional: bool = False
    """Whether it is no mistake if nothing follows."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FlatMapNode:
    """Each value becomes any number of others."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], Iterable[Value]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PeekNode:
    """Each value is shown to a function."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeyByNode:
    """Each record gets a new key."""

    name: str
    """Empty if none was given and none can be derived; needed only where it names a topic."""
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], object] | None
    """`None` leaves the key as it is: `repartition`."""
    partitions: int | None = None
    """Of the repartition topic; by default as many as the largest that feeds it."""
    forced: bool = False
    """Whether records pass a topic here even if nothing behind needs it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WithKeyNode:
    """Each record gets a new key and stays where it is: equal keys are not together."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TimestampNode:
    """Each record gets a new event time; stream time goes on as the input's records say."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], object]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContextNode:
    """Each value becomes a `Message`: with key, time, headers and address of its record."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AsyncMapNode:
    """Each value becomes another by an async function, many of them under way at once."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    function: Callable[[Value], Awaitable[Value]]
    concurrency: int
    timeout_s: float
    retries: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MergeNode:
    """Two streams become one."""

    name: str
    location: Location
    value_type: RuntimeType
    parents: tuple[StreamNode, StreamNode] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class JoinNode:
    """Each value meets the row of a global table."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    table: TableNode
    function: Callable[[Value, Value], Value]
    key: Callable[[Value], object] | None
    how: Literal["inner", "left"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WindowNode:
    """Values of a key and a span of time become one result, once the span is over."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    windows: TumblingWindows
    grace_ms: int
    aggregates: tuple[AggregateSpec, ...]
    build: Callable[[list[Value]], Value]
    """Makes the result of the aggregates' results, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ToNode:
    """Records go to a topic."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: StreamNode = field(repr=False)
    topic: str
    partitions: int | None
    encode: Callable[[Value], bytes | None]
    headers: Callable[[Value], Iterable[tuple[str, bytes | None]]] | None = None
    compacted: bool = False
    """Whether the topic is a table's changelog, of which only each key's newest value matters."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OperatorNode:
    """A step with state that is none of the above; see `operators.operator`."""

    name: str
    location: Location
    value_type: RuntimeType
    parents: tuple[StreamNode, ...] = field(repr=False)
    """One for each port, in order; the same node may stand on several."""
    make: Callable[[OperatorContext], Operator]
    layout: str
    """What the rows look like, in words and numbers: state of another layout is refused."""
    lag_ms: int = 0
    """How far the timestamps of results may be behind the task's time: waiting and grace."""
    tick_ms: int | None = None
    """Multiples of this are when `advance` is called; `None`: never."""
    silent: bool = False
    """Whether nothing comes out of `advance`: it only forgets, so results are no tick behind."""
    in_time: bool = False
    """Whether no result is ever late for what follows: each is within the lag of the task's time,
    whatever the times of the writers that it goes back to."""
    waits: bool = False
    """Whether whatever comes out has waited until the times of all inputs had passed it. Then
    sources can be read together, in the order of time, and nothing comes later for it."""
    sure_tick_ms: int | None = None
    """If set: where records come in the order of time, and of equal times those of port 1 first,
    the step acts on each as it comes (`OperatorContext.is_sure`), and time is told in these
    steps."""
    wall: bool = False
    """Whether `tick` is called."""
    needs_key_order: bool = True
    """Whether equal keys must be together; false for steps that look at single records."""
    blind: bool = False
    """Whether it does nothing with a value, and does not need it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideNode:
    """What leaves an operator by another exit than its results."""

    name: str
    location: Location
    value_type: RuntimeType
    parent: OperatorNode = field(repr=False)
    exit: str


StreamNode: TypeAlias = (
    SourceNode
    | MapNode
    | FilterNode
    | FlatMapNode
    | PeekNode
    | KeyByNode
    | WithKeyNode
    | TimestampNode
    | ContextNode
    | AsyncMapNode
    | MergeNode
    | JoinNode
    | WindowNode
    | OperatorNode
    | SideNode
)
Node: TypeAlias = StreamNode | ToNode | TableNode | SourcesNode
StatefulNode: TypeAlias = WindowNode | OperatorNode


def parents_of(node: Node) -> tuple[StreamNode, ...]:
    """Returns the nodes from which a node gets its records."""
    match node:
        case SourceNode() | SourcesNode() | TableNode():
            return ()
        case MergeNode() | OperatorNode():
            return node.parents
        case _:
            return (node.parent,)
