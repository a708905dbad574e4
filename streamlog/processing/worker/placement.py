"""Which worker runs which task: sticky, balanced per sub-topology, the same on every machine.

A task is a sub-topology and a partition, and owns that partition of every topic which its
sub-topology reads, so they are placed together or not at all. The rules, in their order:

1. every task has exactly one worker;
2. the loads of any two workers differ by at most one task, in total and per sub-topology where
   stickiness allows it: the tasks of one sub-topology cost alike, those of two do not;
3. a task stays where it was, because moving it costs a restore.

This is a pure function of its arguments; the group protocol around it is in `assignor`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, order=True)
class TaskName:
    """A task's name: the sub-topology's name and the partition."""

    sub_topology: str
    partition: int

    def __str__(self) -> str:
        return f"{self.sub_topology}[{self.partition}]"


def place_tasks(
    tasks: Sequence[TaskName], owned: Mapping[str, Sequence[TaskName]]
) -> dict[str, list[TaskName]]:
    """Places every task on one of the workers.

    Args:
        tasks: All tasks of the pipeline.
        owned: What each worker says it runs now; every worker is a key, new ones with nothing.

    Returns:
        The tasks of each worker, sorted.

    >>> both = [TaskName("flights", 0), TaskName("flights", 1)]
    >>> place_tasks(both, {"a": both, "b": []})
    {'a': [TaskName(sub_topology='flights', partition=0)], \
'b': [TaskName(sub_topology='flights', partition=1)]}
    """
    workers = sorted(owned)
    placed: dict[str, list[TaskName]] = {worker: [] for worker in workers}
    if not workers:
        return placed
    free = set(tasks)
    for worker, kept in _kept(sorted(set(tasks)), owned, workers).items():
        placed[worker].extend(kept)
        free.difference_update(kept)
    per_sub: Counter[tuple[str, str]] = Counter(
        (worker, task.sub_topology) for worker, own in placed.items() for task in own
    )
    for task in sorted(free):
        # Fewest of this sub-topology first would unbalance the total: the total decides, then it.
        worker = min(workers, key=lambda w: (len(placed[w]), per_sub[w, task.sub_topology], w))
        placed[worker].append(task)
        per_sub[worker, task.sub_topology] += 1
    return {worker: sorted(own) for worker, own in placed.items()}


def _kept(
    tasks: Sequence[TaskName], owned: Mapping[str, Sequence[TaskName]], workers: Sequence[str]
) -> dict[str, list[TaskName]]:
    """What each worker keeps of its own: within its share, evenly over the sub-topologies."""
    known = set(tasks)
    claimed: set[TaskName] = set()
    claims: dict[str, list[TaskName]] = {}
    for worker in workers:
        claims[worker] = [t for t in sorted(set(owned[worker])) if t in known - claimed]
        claimed.update(claims[worker])
    floor, extra = divmod(len(tasks), len(workers))
    kept: dict[str, list[TaskName]] = {}
    for worker in sorted(workers, key=lambda w: (-len(claims[w]), w)):
        share = floor
        if extra and len(claims[worker]) > floor:
            share, extra = floor + 1, extra - 1
        kept[worker] = _spread(claims[worker])[:share]
    return kept


def _spread(tasks: Sequence[TaskName]) -> list[TaskName]:
    """Orders tasks so that any prefix holds about as many of each sub-topology."""
    seen: Counter[str] = Counter()
    ranked: list[tuple[int, TaskName]] = []
    for task in tasks:
        ranked.append((seen[task.sub_topology], task))
        seen[task.sub_topology] += 1
    return [task for _, task in sorted(ranked)]
