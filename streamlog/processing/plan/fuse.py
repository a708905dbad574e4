"""Turns a tree of steps into one Python function, so that a record costs no more than its steps.

The function gets columns and walks them record by record: what one record causes comes out before
the next one is looked at, however the records are cut into chunks. It is source text, compiled once
per task:

    def run(start, stop, values, keys, timestamps, writers, ends, f0=..., f1=...):
        for i in range(start, stop):
            v0 = values[i]; k0 = keys[i]
            if f0(v0):                                        # filter
                x1 = f1(v0)                                   # key_by
                k1 = x1.encode() if x1.__class__ is str else plain(x1)
                keys_0(k1); values_0(encode_0(v0)); indices_0(i)

It has no `try`: when something raises, the line in the traceback tells which step it was, and the
frame tells `i`. `Fused.blame` looks both up.
"""

from __future__ import annotations

import linecache
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec

from streamlog.processing.dsl.nodes import (
    FilterNode,
    FlatMapNode,
    JoinNode,
    KeyByNode,
    MapNode,
    MergeNode,
    Node,
    PeekNode,
    ToNode,
    WindowNode,
)
from streamlog.processing.errors import PlanError
from streamlog.processing.operators.plain import encode_plain
from streamlog.processing.worker.outbox import Collector
from streamlog.processing.worker.writers import LATE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from streamlog.processing.operators.tables import TableView
    from streamlog.processing.plan.plan import Step, Tree
    from streamlog.processing.state.rows import WindowRows

INDENT_MAX: Final = 90
"""Python takes 100 levels of indentation."""
NESTED_LOOPS_MAX: Final = 18
"""Python takes 20 nested blocks; flat_maps within flat_maps."""

_encode_msgpack = msgspec.msgpack.Encoder(order="deterministic").encode

_HEAD = """\
def run(start, stop, values, keys, timestamps, writers, ends{bound}):
{setup}
    for i in range(start, stop):
        v0 = values[i]
        k0 = keys[i]
{body}
    return ({late})
"""


@dataclass(frozen=True, slots=True)
class Fused:
    """A compiled tree.

    Attributes:
        run: Processes columns from `start` up to `stop`; returns the number of late records of
            each window, in the order of `windows`. `ends` holds a list for each of them: the end
            of each record's window.
        collectors: Where it puts what it writes, by topic.
        windows: The windowed steps that it fills.
        source: Its text, for the curious.
    """

    run: Callable[..., tuple[int, ...]]
    collectors: Mapping[str, Collector]
    windows: tuple[WindowNode, ...]
    source: str
    file: str
    lines: Mapping[int, Node]

    def blame(self, trace: TracebackType | None) -> tuple[Node | None, int]:
        """Returns the step that raised, and the index of the record which it was working on."""
        while trace is not None:
            frame = trace.tb_frame
            if frame.f_code.co_filename == self.file:
                return self.lines.get(trace.tb_lineno), int(frame.f_locals.get("i", 0))
            trace = trace.tb_next
        return None, 0


def fuse(
    tree: Tree,
    label: str,
    tables: Mapping[str, TableView],
    rows: Mapping[str, WindowRows],
) -> Fused:
    """Compiles a tree.

    Args:
        tree: The steps.
        label: Names the text in tracebacks.
        tables: The global tables, by topic.
        rows: The rows of windowed steps, by name.
    """
    writer = _Writer(tables, rows)
    for step in tree.steps:
        writer.write(step, "v0", "k0", indent=2, loops=1)
    setup = [f"    {each}" for each in writer.setup] or ["    pass"]
    source = _HEAD.format(
        bound="".join(f", {name}={name}_" for name in writer.bound),
        setup="\n".join(setup),
        body="\n".join(line for line, _ in writer.body) or "        pass",
        late="".join(f"late_{number}, " for number in range(len(writer.windows))),
    )
    file = f"<streamlog {label}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), writer.scope)
    body_begins = 5 + len(setup)
    return Fused(
        run=writer.scope["run"],
        collectors=writer.collectors,
        windows=tuple(writer.windows),
        source=source,
        file=file,
        lines={body_begins + n: node for n, (_, node) in enumerate(writer.body)},
    )


class _Writer:
    """Writes the text of one function.

    Attributes:
        scope: The names that the text uses.
        bound: Those that become locals, by being defaults of parameters.
        setup: Lines before the loop.
        body: Lines in the loop, with the step that each belongs to.
    """

    def __init__(self, tables: Mapping[str, TableView], rows: Mapping[str, WindowRows]) -> None:
        self.scope: dict[str, Any] = {"plain": encode_plain, "LATE": LATE}
        self.bound: list[str] = []
        self.setup: list[str] = []
        self.body: list[tuple[str, Node]] = []
        self.collectors: dict[str, Collector] = {}
        self.windows: list[WindowNode] = []
        self._tables = tables
        self._rows = rows
        self._names = 0

    def write(self, step: Step, value: str, key: str, indent: int, loops: int) -> None:
        """Writes a step and what follows it.

        Args:
            step: The step.
            value: The variable that holds its value.
            key: The variable that holds its key.
            indent: How deep it stands.
            loops: How many loops it stands in.
        """
        node = step.node
        _check_depth(node, indent, loops)
        match node:
            case FilterNode():
                self._line(node, indent, f"if {self._bind(node.function)}({value}):")
                indent += 1
            case MapNode():
                value = self._assign(node, indent, f"{self._bind(node.function)}({value})")
            case PeekNode():
                shown = f"{self._bind(node.function)}({value})" if step.shown else "pass"
                self._line(node, indent, shown)
            case FlatMapNode():
                name = self._name("v")
                self._line(node, indent, f"for {name} in {self._bind(node.function)}({value}):")
                value, indent, loops = name, indent + 1, loops + 1
            case KeyByNode():
                key = self._key(node, indent, f"{self._bind(node.function)}({value})")
            case JoinNode():
                value, indent = self._join(node, indent, value, key)
            case WindowNode():
                self._window(node, indent, value, key)
            case ToNode():
                self._collect(node, indent, value, key, node.topic, node.encode)
            case _:
                assert isinstance(node, MergeNode)
        if step.topic is not None:
            self._collect(node, indent, value, key, step.topic, _encode_msgpack)
        for child in step.children:
            self.write(child, value, key, indent, loops)

    def _join(self, node: JoinNode, indent: int, value: str, key: str) -> tuple[str, int]:
        lookup = key
        if node.key is not None:
            lookup = self._key(node, indent, f"{self._bind(node.key)}({value})")
        table = self._bind(self._tables[node.table.topic].rows.get)
        row = self._assign(node, indent, f"{table}({lookup})")
        if node.how == "inner":
            self._line(node, indent, f"if {row} is not None:")
            indent += 1
        return self._assign(node, indent, f"{self._bind(node.function)}({value}, {row})"), indent

    def _window(self, node: WindowNode, indent: int, value: str, key: str) -> None:
        """Adds to the row of the key and window; the last window's rows are at hand."""
        number = len(self.windows)
        self.windows.append(node)
        rows = self._rows[node.name]
        window, touch = self._bind(rows.window), self._bind(rows.touch)
        # The accumulators skip None, so a selector's None leaves the record out.
        selected = "".join(
            f"{self._bind(spec.selector)}({value}), "
            if spec.selector is not None
            else ("1, " if spec.kind == "count" else f"{value}, ")
            for spec in node.aggregates
        )
        self.setup += [
            f"late_{number} = 0",
            f"end_{number} = LATE",
            f"ends_{number} = ends[{number}]",
        ]
        text = f"""\
            e = ends_{number}[i]
            if e == LATE:
                late_{number} += 1
            else:
                if e != end_{number}:
                    end_{number} = e
                    rows_{number} = {window}(e)
                row = rows_{number}.get({key})
                if row is None:
                    row = {touch}(e, {key})
                row.add(({selected}), timestamps[i], writers[i])"""
        for line in textwrap.dedent(text).splitlines():
            self._line(node, indent, line)

    def _collect(
        self,
        node: Node,
        indent: int,
        value: str,
        key: str,
        topic: str,
        encode: Callable[[Any], bytes | None],
    ) -> None:
        """Puts a record into a topic's collector; encoded here, before anybody can change it."""
        collector = self.collectors.setdefault(topic, Collector())
        keys, values = self._bind(collector.keys.append), self._bind(collector.values.append)
        indices = self._bind(collector.indices.append)
        self._line(node, indent, f"{values}({self._bind(encode)}({value}))")
        self._line(node, indent, f"{keys}({key}); {indices}(i)")

    def _key(self, node: Node, indent: int, call: str) -> str:
        name = self._name("k")
        self._line(node, indent, f"{name} = {call}")
        self._line(
            node, indent, f"{name} = {name}.encode() if {name}.__class__ is str else plain({name})"
        )
        return name

    def _assign(self, node: Node, indent: int, expression: str) -> str:
        name = self._name("v")
        self._line(node, indent, f"{name} = {expression}")
        return name

    def _bind(self, thing: object) -> str:
        """Makes something known to the text, as a local variable."""
        name = self._name("f")
        self.scope[f"{name}_"] = thing
        self.bound.append(name)
        return name

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}{self._names}"

    def _line(self, node: Node, indent: int, text: str) -> None:
        self.body.append((f"{'    ' * indent}{text}", node))


def _check_depth(node: Node, indent: int, loops: int) -> None:
    if indent >= INDENT_MAX or loops >= NESTED_LOOPS_MAX:
        raise PlanError(
            f"{node.location}: step {node.name} stands in more filters and flat_maps than "
            "Python can nest",
            hint="Put several of them into one function",
        )
