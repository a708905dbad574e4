"""Which worker runs which task, and which keeps a warm copy: the same on every machine.

A task is a sub-topology and a partition, and owns that partition of every topic which its
sub-topology reads, so they are placed together or not at all. The rules, in their order:

1. every task has exactly one worker;
2. the loads of any two workers differ by at most one task, in total and per sub-topology where
   stickiness allows it: the tasks of one sub-topology cost alike, those of two do not;
3. a task stays where it was, because moving it costs a restore;
4. a task without a worker goes to who has the newest copy of its state, within the balance.

A copy is known by the offset of the changelog up to which it goes. Copies that are not further
apart than `LAG_ACCEPTABLE` are equally good: what is between them is restored in no time.

Where rule 2 would move a task away from a worker that runs it to one without a good copy, the move
waits: the task stays, and the other one warms a copy up (`Placement.warming`). Once that has caught
up, its worker asks for a rebalance, and the task moves with next to nothing to restore.

Standbys are copies kept warm for the case that a worker is lost. They stand in other state folders
than the task, because workers that share a folder share what is in it.

These are pure functions of their arguments; the group protocol around them is in `assignor`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LAG_ACCEPTABLE = 10_000
"""Offsets of a changelog that are restored faster than a rebalance takes."""
ABSENT = -1
"""In place of an offset: there is no copy."""


@dataclass(frozen=True, slots=True, order=True)
class TaskName:
    """A task's name: the sub-topology's name and the partition."""

    sub_topology: str
    partition: int

    def __str__(self) -> str:
        return f"{self.sub_topology}[{self.partition}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerView:
    """What a worker says of itself."""

    owned: Sequence[TaskName] = ()
    """The tasks that it runs now."""
    copies: Mapping[TaskName, int] = field(default_factory=dict)
    """The state in its folder: up to which offset of the changelog each task's goes."""
    folder: str = ""
    """Names its state folder; empty if it does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Who does what; workers are sorted, and so are their tasks."""

    active: Mapping[str, list[TaskName]]
    """Who runs what."""
    warming: Mapping[str, list[TaskName]]
    """Tasks that will move to a worker once its copy is good."""
    standbys: Mapping[str, list[TaskName]]
    """Copies that are kept warm."""


def place(
    tasks: Sequence[TaskName], workers: Mapping[str, WorkerView], standbys: int = 0
) -> Placement:
    """Places all tasks of a pipeline, and copies of them.

    Args:
        tasks: All tasks.
        workers: What each worker says.
        standbys: How many warm copies each task is to have.
    """
    owned = {worker: view.owned for worker, view in workers.items()}
    copies = _shared_copies(workers)
    ideal = place_tasks(tasks, owned, copies)
    owner = {task: worker for worker in sorted(owned) for task in owned[worker]}
    active: dict[str, list[TaskName]] = {worker: [] for worker in ideal}
    warming: dict[str, list[TaskName]] = {worker: [] for worker in ideal}
    for worker, given in ideal.items():
        for task in given:
            runs = owner.get(task, worker)
            here = copies[worker].get(task, ABSENT)
            if runs != worker and copies[runs].get(task, ABSENT) - here > LAG_ACCEPTABLE:
                active[runs].append(task)
                warming[worker].append(task)
            else:
                active[worker].append(task)
    placed = {worker: sorted(own) for worker, own in active.items()}
    return Placement(
        active=placed,
        warming={worker: sorted(own) for worker, own in warming.items()},
        standbys=_place_standbys(sorted(set(tasks)), workers, placed, standbys),
    )


def _shared_copies(workers: Mapping[str, WorkerView]) -> dict[str, dict[TaskName, int]]:
    """What state each worker can begin from: all that any worker tells of its folder."""
    newest: dict[str, dict[TaskName, int]] = {}
    found: dict[str, dict[TaskName, int]] = {}
    for worker in sorted(workers):
        view = workers[worker]
        found[worker] = newest.setdefault(view.folder, {}) if view.folder else {}
        for task, position in view.copies.items():
            found[worker][task] = max(found[worker].get(task, ABSENT), position)
    return found


def place_tasks(
    tasks: Sequence[TaskName],
    owned: Mapping[str, Sequence[TaskName]],
    copies: Mapping[str, Mapping[TaskName, int]] | None = None,
) -> dict[str, list[TaskName]]:
    """Places every task on one of the workers, in balance.

    Args:
        tasks: All tasks of the pipeline.
        owned: What each worker says it runs now; every worker is a key, new ones with nothing.
        copies: What state each worker has.

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
    floor, extra = divmod(len(free), len(workers))
    for worker, kept in _kept(sorted(free), owned, workers).items():
        placed[worker].extend(kept)
        free.difference_update(kept)
    per_sub: Counter[tuple[str, str]] = Counter(
        (worker, task.sub_topology) for worker, own in placed.items() for task in own
    )

    def rank(worker: str, task: TaskName) -> tuple[int, int, str]:
        # Fewest of this sub-topology first would unbalance the total: the total decides, then it.
        return len(placed[worker]), per_sub[worker, task.sub_topology], worker

    def give(worker: str, task: TaskName) -> None:
        placed[worker].append(task)
        per_sub[worker, task.sub_topology] += 1
        free.discard(task)

    for task in sorted(free):
        full = sum(len(own) > floor for own in placed.values())
        good = [
            worker
            for worker in _best_copies(task, copies or {})
            if len(placed[worker]) < floor or (len(placed[worker]) == floor and full < extra)
        ]
        if good:
            give(min(good, key=lambda worker: rank(worker, task)), task)
    for task in sorted(free):
        give(min(workers, key=lambda worker: rank(worker, task)), task)
    return {worker: sorted(own) for worker, own in placed.items()}


def _best_copies(task: TaskName, copies: Mapping[str, Mapping[TaskName, int]]) -> list[str]:
    """The workers with copies that are good enough, if they make a difference."""
    known = {worker: has[task] for worker, has in copies.items() if task in has}
    best = max(known.values(), default=0)
    if best <= LAG_ACCEPTABLE:
        # Even who has nothing restores it in no time.
        return []
    return [worker for worker, position in known.items() if best - position <= LAG_ACCEPTABLE]


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


def _place_standbys(
    tasks: Sequence[TaskName],
    workers: Mapping[str, WorkerView],
    active: Mapping[str, Sequence[TaskName]],
    count: int,
) -> dict[str, list[TaskName]]:
    """Copies of each task in other folders than its own: where one is, then where there are few."""
    given: dict[str, list[TaskName]] = {worker: [] for worker in sorted(workers)}
    if count < 1 or not workers:
        return given
    home = {task: worker for worker, own in active.items() for task in own}
    share = -(-len(tasks) * count // len(workers))
    for task in tasks:
        taken = {workers[home[task]].folder}
        for _ in range(count):
            candidates = [
                worker
                for worker, view in workers.items()
                if view.folder and view.folder not in taken
            ]
            if not candidates:
                break
            best = min(
                candidates,
                key=lambda worker: (
                    len(given[worker]) >= share,
                    -workers[worker].copies.get(task, ABSENT),
                    len(given[worker]),
                    len(active[worker]),
                    worker,
                ),
            )
            given[best].append(task)
            taken.add(workers[best].folder)
    return given
