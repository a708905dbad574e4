"""What a plan is refused for: a topic that is used for two things."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl.nodes import SourceNode, TableNode, ToNode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.dsl.graph import Graph
    from streamlog.processing.location import Location
    from streamlog.processing.plan.plan import Plan


def check_topics(plan: Plan, graph: Graph, location: Location) -> None:
    """Refuses a topic that is used for two things, of which one would spoil the other."""
    inputs = _inputs(graph)
    internal = {
        topic: f"the pipeline keeps {what} there"
        for sub in plan.sub_topologies
        for topic, what in (
            (sub.changelog_topic, "its state"),
            *((topic, "what it repartitions") for topic in sub.repartition_topics),
        )
    } | dict.fromkeys(plan.dead_letter_topics, "its dead letters go there")
    for topic, reason in internal.items():
        if topic in inputs:
            raise plan_error(
                f"input {inputs[topic].name} reads topic {topic}, but {reason}",
                hint="Read it in another pipeline, or name another topic",
                at=location,
            )
    outputs: dict[str, ToNode] = {}
    for node in graph.nodes:
        if isinstance(node, ToNode):
            _check_output(node, inputs, internal, outputs.setdefault(node.topic, node))


def _check_output(
    node: ToNode,
    inputs: Mapping[str, SourceNode | TableNode],
    internal: Mapping[str, str],
    first: ToNode,
) -> None:
    """Refuses an output that reads itself, is something else, or is declared twice in two ways."""
    if node.topic in inputs:
        loop = "each record would come round for ever"
        if isinstance(inputs[node.topic], TableNode):
            loop = "a record would meet what others have written by chance"
        raise plan_error(
            f"topic {node.topic} is read and written: {loop}",
            hint="Write to another topic",
            at=node.location,
        )
    if node.topic in internal:
        raise plan_error(
            f"records go to topic {node.topic}, but {internal[node.topic]}",
            hint="Write to another topic",
            at=node.location,
        )
    if node.compacted != first.compacted:
        raise plan_error(
            f"topic {node.topic} gets a stream and a table, here and at {first.location}: of the "
            "stream too, only the newest record of each key would be kept",
            hint="Write to two topics, or write the table's rows as a stream: table.stream().to(…)",
            at=node.location,
        )
    if None not in (node.partitions, first.partitions) and node.partitions != first.partitions:
        raise plan_error(
            f"topic {node.topic} is to have {node.partitions} partitions here and "
            f"{first.partitions} at {first.location}",
            hint="Say one number, in one of the two places",
            at=node.location,
        )


def _inputs(graph: Graph) -> dict[str, SourceNode | TableNode]:
    """The inputs by topic; a stream and a global table may be of one."""
    return {node.topic: node for node in graph.nodes if isinstance(node, SourceNode | TableNode)}
