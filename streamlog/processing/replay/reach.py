"""How far in time the results in a topic are complete, and what kind of results they are.

Results of two pipelines can be compared up to where both have put out all that there is. That is
read from the tasks' last checkpoints: windows that end at or before what a step has closed through
are out; what passes a task at once is out up to the task's time. Lags of steps on the way count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_origin

from streamlog.processing.dsl.change import Change
from streamlog.processing.dsl.nodes import OperatorNode, SideNode, ToNode, WindowNode, parents_of
from streamlog.processing.dsl.windowed import Windowed
from streamlog.processing.replay.diff import ALWAYS, NEVER
from streamlog.processing.replay.result import Kind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from streamlog.processing.dsl.nodes import Node, StatefulNode
    from streamlog.processing.plan.plan import Plan, SubTopologyPlan
    from streamlog.processing.plan.tree import Step, Tree
    from streamlog.processing.state.meta import TaskMeta

TaskEnds = dict[str, list["TaskMeta"]]
"""The last checkpoints of tasks that have read anything, by sub-topology."""


def reach(
    plan: Plan,
    topic: str,
    ends: TaskEnds,
    writer_counts: Mapping[str, int],
    *,
    to_the_end: bool,
) -> int:
    """Returns the time through which an output topic is complete.

    Args:
        plan: Of the pipeline, or of one like it: where a step or a sub-topology has other names,
            the slowest of all tasks is believed.
        topic: Which output topic of the plan.
        ends: The last checkpoints.
        writer_counts: By sub-topology, how many writers its tasks have to hear of.
        to_the_end: Whether nobody has read more than these tasks. If somebody has, what a drain put
            out of windows that were still open is incomplete.
    """
    through = ALWAYS
    everything = [meta for metas in ends.values() for meta in metas]
    for sub in plan.sub_topologies:
        for tree in (sub.entry, *sub.timed):
            for lag_ms in _lags(tree.steps, topic):
                count = writer_counts.get(sub.name, 0) if sub.name in ends else 0
                for meta in ends.get(sub.name) or everything:
                    if _has_nothing(meta, count) or (to_the_end and is_drained(meta)):
                        continue
                    through = min(through, _tree_reach(sub, tree, meta, count) - lag_ms)
    return through


def _tree_reach(sub: SubTopologyPlan, tree: Tree, meta: TaskMeta, writer_count: int) -> int:
    """Through when a task has put out what leaves the root of a tree."""
    root = tree.root
    if tree is sub.entry:
        return _time_of(meta, writer_count)
    if root.name in meta.layout and not is_drained(meta):
        own_lag_ms = root.lag_ms if isinstance(root, OperatorNode) else 0
        return meta.closed_through.get(root.name, NEVER) - own_lag_ms
    return _time_of(meta, writer_count) - tree.lag_ms


def is_drained(meta: TaskMeta) -> bool:
    """Whether a task has moved time to the end."""
    return meta.drained or (bool(meta.writers) and all(each.drained for each in meta.writers))


def _has_nothing(meta: TaskMeta, writer_count: int) -> bool:
    """Whether a task reads a source that has not held a record yet: it has nothing to put out."""
    return not meta.writers and not writer_count and meta.stream_time_ms is None


def _time_of(meta: TaskMeta, writer_count: int) -> int:
    if not meta.writers and not writer_count:
        return NEVER if meta.stream_time_ms is None else meta.stream_time_ms
    heard = [each for each in meta.writers if each.idle or each.stream_time_ms is not None]
    if len(heard) < max(writer_count, len(meta.writers)):
        return NEVER  # A writer that was never heard of holds everything open.
    times = [
        each.stream_time_ms for each in heard if each.stream_time_ms is not None and not each.idle
    ]
    return min(times, default=NEVER)


def _lags(steps: Iterable[Step], topic: str, lag_ms: int = 0) -> Iterator[int]:
    """How far behind their root records may be where steps write a topic."""
    for step in steps:
        behind = lag_ms + step.lag_ms
        if isinstance(step.node, ToNode) and step.node.topic == topic:
            yield behind
        yield from _lags(step.children, topic, behind)


@dataclass(frozen=True, slots=True)
class TopicKind:
    """What the records of an output topic are."""

    kind: Kind
    window_ms: int | None = None
    waits: bool = False
    """Whether they come out as time passes, and so not before some time after their input."""


def kind_of(plan: Plan, topic: str) -> TopicKind:
    """Returns what a plan writes into a topic: it follows from the last step with state before."""
    nodes = list(_writers_of(plan, topic))
    if any(node.compacted for node in nodes):
        return TopicKind(Kind.ROWS)
    kinds = {_kind_behind(parent) for node in nodes for parent in parents_of(node)}
    return kinds.pop() if len(kinds) == 1 else TopicKind(Kind.EVENTS)


def _writers_of(plan: Plan, topic: str) -> Iterator[ToNode]:
    pending: list[Step] = [
        step
        for sub in plan.sub_topologies
        for tree in (sub.entry, *sub.timed)
        for step in tree.steps
    ]
    while pending:
        step = pending.pop()
        if isinstance(step.node, ToNode) and step.node.topic == topic:
            yield step.node
        pending.extend(step.children)


def _kind_behind(node: Node) -> TopicKind:
    while not isinstance(node, WindowNode | OperatorNode | SideNode):
        parents = parents_of(node)
        if len(parents) != 1:
            kinds = {_kind_behind(parent) for parent in parents}
            return kinds.pop() if len(kinds) == 1 else TopicKind(Kind.EVENTS)
        node = parents[0]
    if isinstance(node, WindowNode):
        return TopicKind(Kind.WINDOWS, node.windows.size_ms, waits=True)
    if isinstance(node, OperatorNode) and get_origin(node.value_type) is Windowed:
        return TopicKind(Kind.WINDOWS, waits=True)
    if isinstance(node, OperatorNode) and get_origin(node.value_type) is Change:
        return TopicKind(Kind.ROWS)
    return TopicKind(Kind.EVENTS, waits=isinstance(node, OperatorNode))


def looks_back_ms(plan: Plan) -> int:
    """Returns how far before its own time a result may depend on records, windows aside.

    What was left out at a replay's beginning shows in results so long after it: sessions that had
    begun, records that waited for their match.
    """
    steps: dict[StatefulNode, None] = {
        node: None for sub in plan.sub_topologies for node in sub.stateful
    }
    return sum(node.lag_ms for node in steps if isinstance(node, OperatorNode))
