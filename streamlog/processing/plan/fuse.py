"""Turns a tree of steps into one Python function, so that a record costs no more than its steps.

The function gets columns and walks them record by record: what one record causes comes out before
the next one is looked at, however the records are cut into chunks. It is source text, compiled once
per task:

    def run(start, stop, batch, f0=..., f1=...):
        values = batch.values; keys = batch.keys
        for i in range(start, stop):
            v0 = values[i]; k0 = keys[i]
            if f0(v0):                                        # filter
                x1 = f1(v0)                                   # key_by
                k1 = x1.encode() if x1.__class__ is str else plain(x1)
                keys_0(k1); values_0(encode_0(v0)); indices_0(i)

It has no `try`: when something raises, the line in the traceback tells which step it was, and the
frame tells `i`. `Fused.blame` looks both up. The line tells as well whether the record had changed
state by then. Where a pipeline goes on behind a failed record, branches that change state are
written behind those that do not, so that most failures come before any change.
"""

from __future__ import annotations

import linecache
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from streamlog.processing.dsl.nodes import (
    OperatorNode,
    SideNode,
    TimestampNode,
    ToNode,
    WindowNode,
)
from streamlog.processing.errors import PlanError
from streamlog.processing.plan.fused_steps import Place, StepWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

    from streamlog.processing.dsl.nodes import Node
    from streamlog.processing.plan.surroundings import Surroundings
    from streamlog.processing.plan.tree import Step, Tree
    from streamlog.processing.repartition.outbox import Collector

INDENT_MAX: Final = 90
"""Python takes 100 levels of indentation."""
NESTED_LOOPS_MAX: Final = 18
"""Python takes 20 nested blocks; flat_maps within flat_maps."""

_HEAD = """\
def run(start, stop, batch{bound}):
{setup}
    for i in range(start, stop):
        v0 = values[i]
        k0 = keys[i]
{body}
    return ({late})
"""
_LINES_BEFORE_SETUP: Final = 1
_LINES_AFTER_SETUP: Final = 3
_COLUMNS: Final = ("values", "keys", "timestamps", "times", "writers")


@dataclass(frozen=True, slots=True)
class Blame:
    """Who raised.

    Attributes:
        node: The step, if it is known.
        index: Of the record which it was working on.
        late: Of each plain window, how many of the records before that one were late for it.
        spoils: Whether the record may have changed state.
    """

    node: Node | None
    index: int
    late: tuple[int, ...]
    spoils: bool


@dataclass(frozen=True, slots=True)
class Fused:
    """A compiled tree.

    Attributes:
        run: Processes a batch from `start` up to `stop`; returns the number of late records of
            each plain window that it fills.
        collectors: Where it puts what it writes, by topic.
        windows: The plain windows whose ends `Batch.ends` has to hold: a list for each of them,
            with the end of each record's window.
        source: Its text, for the curious.
    """

    run: Callable[..., tuple[int, ...]]
    collectors: Mapping[str, Collector]
    windows: tuple[WindowNode, ...]
    source: str
    file: str
    lines: Mapping[int, Node]
    late: tuple[str, ...]
    spoils_from: tuple[tuple[int, int], ...]
    """Of what is done with the records of each source: where it begins, and the first line at which
    state may have changed."""

    def blame(self, trace: TracebackType | None) -> tuple[Node | None, int]:
        """Returns the step that raised, and the index of the record which it was working on."""
        blame = self.blame_of(trace)
        return blame.node, blame.index

    def blame_of(self, trace: TracebackType | None) -> Blame:
        """Returns who raised."""
        while trace is not None:
            frame, line = trace.tb_frame, trace.tb_lineno
            if frame.f_code.co_filename == self.file:
                names = frame.f_locals
                return Blame(
                    self.lines.get(line),
                    int(names.get("i", 0)),
                    tuple(int(names.get(name, 0)) for name in self.late),
                    line >= max(pair for pair in self.spoils_from if pair[0] <= line)[1],
                )
            trace = trace.tb_next
        return Blame(None, 0, (), spoils=True)


def fuse(tree: Tree, label: str, surroundings: Surroundings, *, state_last: bool = False) -> Fused:
    """Compiles a tree.

    Args:
        tree: The steps.
        label: Names the text in tracebacks.
        surroundings: What they use.
        state_last: Whether branches that change state come behind those that do not.
    """
    writer = StepWriter(
        surroundings,
        _topics_behind(tree.steps, lambda node: isinstance(node, OperatorNode | TimestampNode)),
        _with_headers(tree.steps),
        _topics_behind(tree.steps, lambda node: isinstance(node, OperatorNode) and node.in_time),
    )
    steps = _state_last(tree.steps) if state_last else tree.steps
    if isinstance(tree.root, OperatorNode) and all(s.node is not tree.root for s in steps):
        _write_results(writer, tree.root, steps, Place())
    else:
        _write(writer, steps, Place())
    columns = [f"    {each} = batch.{each}" for each in _COLUMNS]
    setup = [*columns, *(f"    {each}" for each in writer.setup)]
    source = _HEAD.format(
        bound="".join(f", {name}={name}_" for name in writer.bound),
        setup="\n".join(setup),
        body="\n".join(line for line, _ in writer.body) or "        pass",
        late="".join(f"{name}, " for name in writer.late),
    )
    file = f"<streamlog {label}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), writer.scope)
    body_begins = _LINES_BEFORE_SETUP + len(setup) + _LINES_AFTER_SETUP + 1
    return Fused(
        run=writer.scope["run"],
        collectors=writer.collectors,
        windows=tuple(writer.windows),
        source=source,
        file=file,
        lines={body_begins + n: node for n, (_, node) in enumerate(writer.body)},
        late=tuple(writer.late),
        spoils_from=tuple(
            (body_begins + begin if begin else 0, body_begins + _first_effect(writer, begin, end))
            for begin, end in _branches(writer)
        ),
    )


def _branches(writer: StepWriter) -> list[tuple[int, int]]:
    """Returns the parts of the body of which a record passes one."""
    begins = writer.branches or [0]
    return list(zip(begins, [*begins[1:], len(writer.body)], strict=True))


def _first_effect(writer: StepWriter, begin: int, end: int) -> int:
    """Returns where in a part of the body state may first have changed; its end if it never does.

    In a loop that is the loop's first line: an earlier turn may have been there.
    """
    first = min((each for each in writer.effects if begin <= each < end), default=end)
    lines = [line for line, _ in writer.body]
    depth = len(lines[first]) - len(lines[first].lstrip()) if first < len(lines) else 0
    for number in range(first - 1, begin - 1, -1):
        text = lines[number].lstrip()
        if len(lines[number]) - len(text) < depth:
            depth = len(lines[number]) - len(text)
            if text.startswith("for "):
                first = number
    return first


def _state_last(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Puts the branches with state behind the others, at each fork."""
    sorted_within = [replace(step, children=_state_last(step.children)) for step in steps]
    return tuple(sorted(sorted_within, key=_has_state))


def _has_state(step: Step) -> bool:
    return any(
        isinstance(each.node, WindowNode)
        or (isinstance(each.node, OperatorNode) and each.topic is None)
        for each in _walk([step])
    )


def _write(writer: StepWriter, steps: Iterable[Step], place: Place) -> None:
    """Writes steps that stand side by side, and what follows each."""
    for step in steps:
        _check_depth(step.node, place)
        behind = writer.write(step, place)
        if isinstance(step.node, OperatorNode):
            _write_results(writer, step.node, step.children, behind)
        else:
            _write(writer, step.children, behind)


def _write_results(
    writer: StepWriter, node: OperatorNode, steps: Iterable[Step], place: Place
) -> None:
    """What follows an operator: results go one way, what leaves by another exit goes there."""
    results = [step for step in steps if not isinstance(step.node, SideNode)]
    if results:
        _write(writer, results, writer.open_results(node, place))
    for step in steps:
        if isinstance(step.node, SideNode):
            _write(writer, step.children, writer.open_exit(step.node, place))


def _walk(steps: Iterable[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        yield from _walk(step.children)


def _topics_behind(steps: Iterable[Step], counts: Callable[[Node], bool]) -> frozenset[str]:
    """The topics that get records from behind steps of a kind."""
    found: set[str] = set()

    def walk(steps: Iterable[Step], *, behind: bool) -> None:
        for step in steps:
            topics = {step.topic} if step.topic else set()
            if isinstance(step.node, ToNode):
                topics.add(step.node.topic)
            if behind:
                found.update(topics)
            walk(step.children, behind=behind or counts(step.node))

    walk(steps, behind=False)
    return frozenset(found)


def _with_headers(steps: Iterable[Step]) -> frozenset[str]:
    """The topics that get records with headers of the user's."""
    return frozenset(
        step.node.topic
        for step in _walk(steps)
        if isinstance(step.node, ToNode) and step.node.headers is not None
    )


def _check_depth(node: Node, place: Place) -> None:
    if place.indent >= INDENT_MAX or place.loops >= NESTED_LOOPS_MAX:
        raise PlanError(
            f"{node.location}: step {node.name} stands in more filters and flat_maps than "
            "Python can nest",
            hint="Put several of them into one function",
        )
