"""A pipeline's plan as text, as JSON and as a Mermaid flowchart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from streamlog.processing.plan.plan import Plan, SubTopologyPlan


def plan_as_text(plan: Plan) -> str:
    """Writes a plan for people."""
    lines = [
        f"pipeline {plan.name}",
        f"  reads {_list(plan.source_topics)}",
        *([f"  looks up {_list(plan.table_topics)}"] if plan.table_topics else []),
        f"  writes {_list(plan.output_topics)}",
    ]
    for sub in plan.sub_topologies:
        lines += ["", f"  sub-topology {sub.name}"]
        lines += [f"    {title:<12}{_list(topics)}" for title, topics in _facts(sub) if topics]
    return "\n".join(lines)


def _facts(sub: SubTopologyPlan) -> list[tuple[str, Sequence[str]]]:
    return [
        ("input", sub.input_topics),
        ("tables", sub.table_topics),
        ("repartitions", sub.repartition_topics),
        ("output", sub.output_topics),
        ("changelog", (sub.changelog_topic,)),
    ]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "nothing"


def plan_as_json(plan: Plan) -> dict[str, object]:
    """Returns a plan as JSON."""
    return {
        "pipeline": plan.name,
        "sources": list(plan.source_topics),
        "tables": list(plan.table_topics),
        "outputs": list(plan.output_topics),
        "sub_topologies": [
            {
                "name": sub.name,
                "level": sub.level,
                "upstream": list(sub.upstream),
                **{title: list(topics) for title, topics in _facts(sub)},
            }
            for sub in plan.sub_topologies
        ],
    }


def plan_as_mermaid(plans: Sequence[Plan]) -> str:
    """Writes plans as one flowchart: topics are cylinders, sub-topologies boxes, stores hang on."""
    ids: dict[str, str] = {}
    lines = ["flowchart LR"]
    edges: list[str] = []

    def topic(name: str) -> str:
        return ids.setdefault(name, f"t{len(ids)}")

    for number, plan in enumerate(plans):
        lines.append(f'  subgraph p{number}["{plan.name}"]')
        for position, sub in enumerate(plan.sub_topologies):
            box = f"p{number}s{position}"
            lines.append(f'    {box}["{sub.name}"]')
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
