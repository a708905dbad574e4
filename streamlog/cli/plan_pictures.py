"""A pipeline's plan as text, as JSON and as a Mermaid flowchart, with how it runs if that is known.

How it runs comes as words for each sub-topology (`Running`), so that a picture is a picture whether
the pipeline runs or not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamlog.processing.dsl.nodes import (
    AsyncMapNode,
    ContextNode,
    FilterNode,
    FlatMapNode,
    JoinNode,
    KeyByNode,
    MapNode,
    MergeNode,
    OperatorNode,
    PeekNode,
    SideNode,
    SourceNode,
    TableNode,
    TimestampNode,
    ToNode,
    WindowNode,
    WithKeyNode,
)
from streamlog.processing.failures.policy import Stop, in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from streamlog.processing.dsl.nodes import Node, StatefulNode
    from streamlog.processing.plan.plan import Plan, SubTopologyPlan
    from streamlog.processing.plan.tree import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How a pipeline runs."""

    state: str
    tasks: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Of each sub-topology, by the topic that it reads: a line for each task."""
    totals: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Likewise: some words that fit a box."""
    records: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    """Likewise, for JSON."""


VERBS: dict[type, str] = {
    SourceNode: "read",
    TableNode: "look up",
    MapNode: "map",
    FilterNode: "filter",
    FlatMapNode: "flat_map",
    PeekNode: "peek",
    KeyByNode: "key_by",
    MergeNode: "merge",
    JoinNode: "join",
    WindowNode: "window",
    OperatorNode: "",
    SideNode: "exit",
    WithKeyNode: "with_key",
    TimestampNode: "with_timestamp",
    ContextNode: "with_context",
    AsyncMapNode: "map_async",
    ToNode: "to",
}


def plan_as_text(plan: Plan, running: Running | None = None) -> str:
    """Writes a plan for people."""
    lines = [f"pipeline {plan.name}" + (f" ({running.state})" if running else "")]
    for title, topics in (
        ("reads", plan.source_topics),
        ("looks up", plan.table_topics),
        ("writes", plan.output_topics),
    ):
        if topics:
            lines.append(f"  {title:<9} {', '.join(topics)}")
    for sub in plan.sub_topologies:
        lines += ["", f"  sub-topology {sub.name}"]
        tasks = running.tasks.get(sub.input_topics[0], ()) if running else ()
        for title, entries in (*_facts(sub), ("tasks", tasks)):
            for position, entry in enumerate(entries):
                lines.append(f"    {title if position == 0 else '':<13} {entry}")
    return "\n".join(lines)


def _facts(sub: SubTopologyPlan) -> list[tuple[str, Sequence[str]]]:
    stops = isinstance(sub.on_error, Stop)
    return [
        ("input", sub.input_topics),
        ("tables", sub.table_topics),
        ("steps", list(_steps(sub))),
        ("stores", _stores(sub)),
        ("repartitions", sub.repartition_topics),
        ("output", sub.output_topics),
        ("changelog", (sub.changelog_topic,)),
        *([] if stops else [("on error", (in_words(sub.on_error, sub.pipeline),))]),
    ]


def _steps(sub: SubTopologyPlan) -> Iterator[str]:
    """The steps in the order in which a record passes them, with the user's lines."""
    # What follows an operator stands behind it twice: for what it puts out at once, and in time.
    seen: set[tuple[Node, str | None]] = set()

    def walk(steps: Sequence[Step]) -> Iterator[str]:
        for step in steps:
            if (step.node, step.topic) in seen:
                continue
            seen.add((step.node, step.topic))
            verb = VERBS[type(step.node)]
            name = step.node.name.removeprefix(verb).removeprefix("-")
            name = f" {name}" if name else ""
            target = f" -> {step.topic}" if step.topic else ""
            if step.shown:
                yield f"{verb}{name}".strip() + f" ({step.node.location}){target}"
            yield from walk(step.children)

    for tree in (sub.entry, *sub.timed):
        yield from walk(tree.steps)


def _stores(sub: SubTopologyPlan) -> list[str]:
    """The steps with state, with what they keep."""
    return [f"{node.name}: {_kept_by(node)}" for node in sub.stateful]


def _kept_by(node: StatefulNode) -> str:
    if isinstance(node, OperatorNode):
        return node.layout
    fields = [f"{each.field}={each.kind}" if each.field else each.kind for each in node.aggregates]
    return (
        f"tumbling {_span(node.windows.size_ms)}, grace {_span(node.grace_ms)}: {', '.join(fields)}"
    )


def _span(milliseconds: int) -> str:
    """Writes a duration in its largest whole unit.

    >>> _span(86_400_000), _span(90_000), _span(0)
    ('1 d', '90 s', '0 s')
    """
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)):
        if milliseconds % size == 0 and (milliseconds or unit == "s"):
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms"


def plan_as_json(plan: Plan, running: Running | None = None) -> dict[str, object]:
    """Returns a plan as JSON."""

    def tasks(sub: SubTopologyPlan) -> dict[str, object]:
        return {"tasks": running.records.get(sub.input_topics[0], ())} if running else {}

    return {
        "pipeline": plan.name,
        **({"state": running.state} if running else {}),
        "sources": list(plan.source_topics),
        "tables": list(plan.table_topics),
        "outputs": list(plan.output_topics),
        "sub_topologies": [
            {
                "name": sub.name,
                "level": sub.level,
                "upstream": list(sub.upstream),
                **{title: list(entries) for title, entries in _facts(sub)},
                **tasks(sub),
            }
            for sub in plan.sub_topologies
        ],
    }


def plan_as_mermaid(plans: Sequence[Plan], running: Mapping[str, Running] | None = None) -> str:
    """Writes plans as a flowchart: topics are cylinders, sub-topologies boxes with stores."""
    ids: dict[str, str] = {}
    lines = ["flowchart LR"]
    edges: list[str] = []

    def topic(name: str) -> str:
        return ids.setdefault(name, f"t{len(ids)}")

    for number, plan in enumerate(plans):
        runs = (running or {}).get(plan.name)
        title = f"{plan.name} ({runs.state})" if runs else plan.name
        lines.append(f'  subgraph p{number}["{title}"]')
        for position, sub in enumerate(plan.sub_topologies):
            box = f"p{number}s{position}"
            stores = "".join(f"<br/>store {node.name}" for node in sub.stateful)
            totals = runs.totals.get(sub.input_topics[0], ()) if runs else ()
            words = stores + "".join(f"<br/>{each}" for each in totals)
            lines.append(f'    {box}["{sub.name}{words}"]')
            edges += [f"  {topic(name)} --> {box}" for name in sub.input_topics]
            edges += [f"  {topic(name)} -.->|look up| {box}" for name in sub.table_topics]
            edges += [
                f"  {box} --> {topic(name)}"
                for name in (*sub.repartition_topics, *sub.output_topics)
            ]
            edges.append(f"  {box} -.->|changelog| {topic(sub.changelog_topic)}")
        lines.append("  end")
    lines += [f'  {node}[("{name}")]' for name, node in ids.items()]
    return "\n".join(lines + edges)
