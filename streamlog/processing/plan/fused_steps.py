"""The text of each kind of step inside a fused function; see `fuse`.

Four variables follow a record through the text: its value, its key, its timestamp, and the stream
time by which lateness is judged. A step writes its lines where it stands and says in which
variables they are behind it.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from streamlog.processing.dsl.message import Message
from streamlog.processing.dsl.nodes import (
    AsyncMapNode,
    ContextNode,
    FilterNode,
    FlatMapNode,
    JoinNode,
    KeyByNode,
    MapNode,
    MergeNode,
    Node,
    OperatorNode,
    PeekNode,
    SideNode,
    SourceNode,
    TimestampNode,
    ToNode,
    WindowNode,
    WithKeyNode,
)
from streamlog.processing.operators.calls import Call
from streamlog.processing.operators.event_time import milliseconds_of
from streamlog.processing.operators.operator import Side
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.repartition.outbox import Collector
from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.repartition.writers import LATE
from streamlog.processing.state.count_rows import CountRows
from streamlog.serde.formats import encode_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.plan.surroundings import Surroundings
    from streamlog.processing.plan.tree import Step

TIMESTAMP: Final = "timestamps[i]"
"""The timestamp of the tree's own record."""
TIME: Final = "times[i]"
"""The stream time of the tree's own record."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the text.

    Attributes:
        value: The variable that holds the value here.
        key: The variable that holds the key.
        timestamp: The expression of the event time.
        time: The expression of the stream time by which lateness is judged.
        indent: How deep it stands.
        loops: How many loops it stands in.
        in_time: Whether `time` is not the tree's record's.
    """

    value: str = "v0"
    key: str = "k0"
    timestamp: str = TIMESTAMP
    time: str = TIME
    indent: int = 2
    loops: int = 1
    in_time: bool = False


class StepWriter:
    """Writes the text of one function.

    Args:
        surroundings: What the steps use.
        retimed: Topics that get records whose time is not that of the tree's record.
        with_headers: Topics that get records with headers.
        in_time: Topics that get records whose lateness goes by a time of their own.

    Attributes:
        scope: The names that the text uses.
        bound: Those that become locals, by being defaults of parameters.
        setup: Lines before the loop.
        body: Lines in the loop, with the step that each belongs to.
        late: The variables that count late records.
        windows: The plain windows that take `Batch.ends`.
        effects: Where in the body state begins to change, for each step with state.
        branches: Where in the body what is done with the records of each source begins, where
            several are read together.
    """

    def __init__(
        self,
        surroundings: Surroundings,
        retimed: frozenset[str],
        with_headers: frozenset[str],
        in_time: frozenset[str],
    ) -> None:
        self.scope: dict[str, Any] = {
            "plain": encode_plain,
            "LATE": LATE,
            "NO_TIME": NO_TIME,
            "Side": Side,
            "Message": Message,
            "Call": Call,
        }
        self.bound: list[str] = []
        self.setup: list[str] = []
        self.body: list[tuple[str, Node]] = []
        self.late: list[str] = []
        self.collectors: dict[str, Collector] = {}
        self.windows: list[WindowNode] = []
        self.effects: list[int] = []
        self.branches: list[int] = []
        self._around = surroundings
        self._retimed = retimed
        self._with_headers = with_headers
        self._in_time = in_time
        self._names = 0

    def write(self, step: Step, place: Place) -> Place:
        """Writes a step; returns where what follows it stands."""
        node = step.node
        value = place.value
        match node:
            case SourceNode():
                self.branches.append(len(self.body))
                self._set_up("ports = batch.ports")
                self._line(node, place, f"if ports[i] == {step.port}:")
                place = replace(place, indent=place.indent + 1)
            case FilterNode():
                self._line(node, place, f"if {self._bind(node.function)}({value}):")
                place = replace(place, indent=place.indent + 1)
            case MapNode():
                mapped = self._assign(node, place, f"{self._bind(node.function)}({value})")
                place = replace(place, value=mapped)
            case PeekNode():
                shown = f"{self._bind(node.function)}({value})" if step.shown else "pass"
                self._line(node, place, shown)
            case FlatMapNode():
                name = self._name("v")
                self._line(node, place, f"for {name} in {self._bind(node.function)}({value}):")
                place = replace(place, value=name, indent=place.indent + 1, loops=place.loops + 1)
            case JoinNode():
                place = self._join(node, place)
            case WindowNode():
                self._window(node, place)
            case ToNode():
                headers = None if node.headers is None else self._bind(node.headers)
                self._collect(node, place, node.topic, node.encode, headers)
            case OperatorNode() if step.topic is None:
                return self._operator(step, node, place)
            case _:
                place = self._around_value(node, place)
        if step.topic is not None:
            self._collect(node, place, step.topic, encoder_of_port(node, step.port))
        return place

    # Steps without state.

    def _around_value(self, node: Node, place: Place) -> Place:
        """Writes a step that leaves the value, or makes another of more than the value."""
        value = place.value
        match node:
            case KeyByNode() | WithKeyNode():
                if node.function is not None:
                    key = self._key(node, place, f"{self._bind(node.function)}({value})")
                    place = replace(place, key=key)
            case TimestampNode():
                convert = self._bind(milliseconds_of)
                name = self._assign(node, place, f"{convert}({self._bind(node.function)}({value}))")
                place = replace(place, timestamp=name)
            case ContextNode():
                place = self._context(node, place)
            case AsyncMapNode():
                place = self._async(node, place)
            case _:
                assert isinstance(node, MergeNode | OperatorNode)
        return place

    def _join(self, node: JoinNode, place: Place) -> Place:
        lookup = place.key
        if node.key is not None:
            lookup = self._key(node, place, f"{self._bind(node.key)}({place.value})")
        table = self._bind(self._around.tables[node.table.topic].rows.get)
        row = self._assign(node, place, f"{table}({lookup})")
        if node.how == "inner":
            self._line(node, place, f"if {row} is not None:")
            place = replace(place, indent=place.indent + 1)
        function = self._bind(node.function)
        return replace(place, value=self._assign(node, place, f"{function}({place.value}, {row})"))

    def _context(self, node: ContextNode, place: Place) -> Place:
        offsets = "offsets = batch.offsets if batch.places is None else batch.places"
        self._set_up("headers = batch.headers", offsets)
        message = (
            f"Message({place.value}, {place.key}, {place.timestamp}, "
            f"headers[i] if headers is not None else (), {self._around.partition}, offsets[i])"
        )
        return replace(place, value=self._assign(node, place, message))

    def _async(self, node: AsyncMapNode, place: Place) -> Place:
        """Takes the answer, or only notes the call."""
        calls = self._around.calls
        if calls is None:
            take = self._bind(self._around.answers[node].take)
            return replace(place, value=self._assign(node, place, f"{take}(i)"))
        note, step = self._bind(calls.append), self._bind(node)
        self._line(node, place, f"{note}(Call({step}, i, {place.key}, {place.value}))")
        return place

    # Steps with state.

    def _window(self, node: WindowNode, place: Place) -> None:
        """Adds to the row of the key and window; the last window's rows are at hand."""
        number = len(self.late)
        late, end = f"late_{number}", f"end_{number}"
        self.late.append(late)
        self._set_up(f"{late} = 0", f"{end} = LATE")
        if place.timestamp == TIMESTAMP and place.time == TIME:
            self._set_up(f"ends_{number} = batch.ends[{len(self.windows)}]")
            self.windows.append(node)
            self._line(node, place, f"e = ends_{number}[i]")
        else:
            closed = self._bind(self._around.closed_through)
            self._set_up(f"closed_{number} = {closed}.get({node.name!r}, NO_TIME)")
            size, time = node.windows.size_ms, place.timestamp
            self._line(node, place, f"e = {time} - {time} % {size} + {size}")
            late_if = f"e + {node.grace_ms} <= {place.time} or e <= closed_{number}"
            self._line(node, place, f"if {late_if}:")
            self._line(node, place, "    e = LATE")
        rows = self._around.rows[node.name]
        window, touch = self._bind(rows.window), self._bind(rows.touch)
        # The accumulators skip None, so a selector's None leaves the record out.
        selected = "".join(
            f"{self._bind(spec.selector)}({place.value}), "
            if spec.selector is not None
            else ("1, " if spec.kind == "count" else f"{place.value}, ")
            for spec in node.aggregates
        )
        select, add = f"x = ({selected})", f"row.add(x, {place.timestamp}, writers[i])"
        if isinstance(rows, CountRows):
            select, add = "pass", f"rows_{number}[{place.key}] = row + 1"
        text = f"""\
            if e == LATE:
                {late} += 1
            else:
                {select}
                if e != {end}:
                    {end} = e
                    rows_{number} = {window}(e)
                row = rows_{number}.get({place.key})
                if row is None:
                    row = {touch}(e, {place.key})
                {add}"""
        # What may raise for want of a good value, the selectors, comes before what is kept.
        self.effects.append(len(self.body) + 4)
        for line in textwrap.dedent(text).splitlines():
            self._line(node, place, line)

    def _operator(self, step: Step, node: OperatorNode, place: Place) -> Place:
        """Hands the record over; what follows stands in the loop over the results."""
        process = self._bind(self._around.operators[node.name].process)
        port: object = step.port
        if step.port < 0:
            self._set_up("ports = batch.ports")
            port = "ports[i]"
        key, value, timestamp = self._name("k"), self._name("v"), self._name("t")
        self.effects.append(len(self.body))
        self._line(
            node,
            place,
            f"for {key}, {value}, {timestamp} in {process}({port}, {place.key}, {place.value}, "
            f"{place.timestamp}, {place.time}, writers[i]):",
        )
        if not step.children:
            self._line(node, replace(place, indent=place.indent + 1), "pass")
        if node.in_time:
            time = timestamp
        else:
            time = f"{place.time} - {step.lag_ms}" if step.lag_ms else place.time
        in_time = node.in_time or place.in_time
        return Place(value, key, timestamp, time, place.indent + 1, place.loops + 1, in_time)

    def open_results(self, node: OperatorNode, place: Place) -> Place:
        """Begins what takes an operator's results; what left by another exit is not among them."""
        self._line(node, place, f"if {place.value}.__class__ is not Side:")
        return replace(place, indent=place.indent + 1)

    def open_exit(self, node: SideNode, place: Place) -> Place:
        """Begins what takes the values that leave by one other exit."""
        is_here = f"{place.value}.__class__ is Side and {place.value}.exit == {node.exit!r}"
        self._line(node, place, f"if {is_here}:")
        inner = replace(place, indent=place.indent + 1)
        return replace(inner, value=self._assign(node, inner, f"{place.value}.value"))

    # Outputs.

    def _collect(
        self,
        node: Node,
        place: Place,
        topic: str,
        encode: Callable[[Any], bytes | None],
        headers: str | None = None,
    ) -> None:
        """Puts a record into a topic's collector; encoded here, before anybody can change it."""
        collector = self.collectors.setdefault(topic, Collector())
        keys, values = self._bind(collector.keys.append), self._bind(collector.values.append)
        indices = self._bind(collector.indices.append)
        made = f"{headers}({place.value})" if headers is not None else "()"
        if topic in self._with_headers:
            made = self._assign(node, place, f"tuple({made})")
        unread = topic in self._around.unread
        written = "None" if unread else f"{self._bind(encode)}({place.value})"
        self._line(node, place, f"{values}({written})")
        line = f"{keys}({place.key}); {indices}(i)"
        if topic in self._retimed:
            line += f"; {self._bind(collector.timestamps.append)}({place.timestamp})"
        if topic in self._in_time:
            time = place.time if place.in_time else TIME
            line += f"; {self._bind(collector.times.append)}({time})"
        if topic in self._with_headers:
            line += f"; {self._bind(collector.headers.append)}({made})"
        self._line(node, place, line)

    # Text.

    def _key(self, node: Node, place: Place, call: str) -> str:
        name = self._name("k")
        self._line(node, place, f"{name} = {call}")
        self._line(
            node, place, f"{name} = {name}.encode() if {name}.__class__ is str else plain({name})"
        )
        return name

    def _assign(self, node: Node, place: Place, expression: str) -> str:
        name = self._name("v")
        self._line(node, place, f"{name} = {expression}")
        return name

    def _bind(self, thing: object) -> str:
        """Makes something known to the text, as a local variable."""
        name = self._name("f")
        self.scope[f"{name}_"] = thing
        self.bound.append(name)
        return name

    def _set_up(self, *lines: str) -> None:
        self.setup += [line for line in lines if line not in self.setup]

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _line(self, node: Node, place: Place, text: str) -> None:
        self.body.append((f"{'    ' * place.indent}{text}", node))


def encoder_of_port(node: Node, port: int) -> Callable[[Any], bytes]:
    """Returns how values are written to a repartition topic: an operator's with their port."""
    if not isinstance(node, OperatorNode):
        return encode_msgpack
    prefix = bytes([port])
    return lambda value: prefix + encode_msgpack(value)
