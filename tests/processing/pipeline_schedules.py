"""Runs a pipeline in orders that a scheduler, crashes and zombies may bring about, and compares.

`run_straight` reads everything with one worker and never fails. `run_wildly` mixes two workers:
tasks go on in any order by any number of records, inputs arrive at different speeds, tasks die
before or behind any step of a checkpoint, lose their local state, or are taken over while their old
owner still runs and writes. Both must end with the same rows and the same results, byte for byte.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamlog.testing.memory_log import MemoryLog
from streamlog.testing.memory_worker import STEPS, MemoryWorker

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from streamlog.processing.plan.plan import Plan
    from streamlog.processing.worker.placement import TaskName

InputRecord = tuple[bytes | None, bytes, int]
"""Key, value, timestamp."""
Inputs = dict[tuple[str, int], list[InputRecord]]
"""By topic and partition."""
Results = dict[tuple[str, int, bytes | None, int], bytes | None]
"""Values by topic, partition, key and timestamp."""


@dataclass(frozen=True)
class Outcome:
    """What is left when everything was read."""

    rows: dict[TaskName, list[tuple[bytes, bytes]]]
    late: dict[TaskName, int]
    open_windows: dict[TaskName, int]
    early: Results
    """Results before the sources were drained."""
    final: Results


def counts_of(plan: Plan, inputs: Inputs) -> dict[str, int]:
    counts: dict[str, int] = {}
    for topic, partition in inputs:
        counts[topic] = max(counts.get(topic, 0), partition + 1)
    for spec in plan.topic_specs(counts):
        counts[spec.name] = spec.partition_count
    return counts


def run_straight(plan: Plan, inputs: Inputs, folder: Path) -> Outcome:
    log = MemoryLog(counts_of(plan, inputs))
    worker = MemoryWorker(plan, log, folder)
    for (topic, partition), records in inputs.items():
        feed(log, topic, partition, records)
    return finish(plan, log, dict.fromkeys(worker.task_names, worker))


def run_wildly(
    plan: Plan, inputs: Inputs, folder: Path, rng: random.Random, actions: int
) -> Outcome:
    wild = _Wild(plan, inputs, folder, rng)
    for _ in range(actions):
        wild.act()
    wild.feed_rest()
    wild.settle()
    run_to_rest(wild.owners)
    for worker in wild.workers:
        # Draining has to work on what the checkpoints hold as well.
        worker.drop_all()
    return finish(plan, wild.log, wild.owners)


def feed(log: MemoryLog, topic: str, partition: int, records: Sequence[InputRecord]) -> None:
    keys, values, timestamps = zip(*records, strict=True) if records else ((), (), ())
    log.partition(topic, partition).append(keys, values, timestamps)


def finish(plan: Plan, log: MemoryLog, owners: Mapping[TaskName, MemoryWorker]) -> Outcome:
    run_to_rest(owners)
    early = results_of(plan, log)
    tasks = {name: worker.task(name) for name, worker in owners.items()}
    outcome = Outcome(
        rows={name: task._store.rows() for name, task in tasks.items()},
        late={name: task.statistics().late_records for name, task in tasks.items()},
        open_windows={name: task.statistics().open_windows for name, task in tasks.items()},
        early=early,
        final={},
    )
    sources = {sub.name for sub in plan.sub_topologies if not sub.upstream}
    for name, worker in owners.items():
        if name.sub_topology in sources:
            worker.drain(name)
    run_to_rest(owners)
    outcome.final.update(results_of(plan, log))
    for worker in owners.values():
        worker.drop_all()
    return outcome


def run_to_rest(owners: Mapping[TaskName, MemoryWorker]) -> None:
    for _ in range(100):
        for name, worker in owners.items():
            while worker.lag(name):
                worker.step(name, 1_000)
        taken = [worker.checkpoint(name) for name, worker in owners.items()]
        if not any(taken):
            return
    raise AssertionError("the pipeline does not come to rest")


def results_of(plan: Plan, log: MemoryLog) -> Results:
    """The records of the topics of results; repeated ones must repeat themselves exactly."""
    found: Results = {}
    for topic in plan.output_topics:
        for number, partition in enumerate(log.topics[topic]):
            for _, timestamp, key, value, _ in partition.columns.rows():
                place = (topic, number, key, timestamp)
                assert found.setdefault(place, value) == value, (place, found[place], value)
    return found


class _Wild:
    """Two workers that share the tasks, and what happens to them."""

    def __init__(self, plan: Plan, inputs: Inputs, folder: Path, rng: random.Random) -> None:
        self.plan = plan
        self.rng = rng
        self.folder = folder
        self.log = MemoryLog(counts_of(plan, inputs))
        self.rest = {where: list(records) for where, records in inputs.items()}
        self.workers = [MemoryWorker(plan, self.log, folder / name) for name in ("one", "two")]
        self.names = self.workers[0].task_names
        self.owners = {name: rng.choice(self.workers) for name in self.names}
        self.zombies: list[tuple[MemoryWorker, TaskName]] = []

    def act(self) -> None:
        name = self.rng.choice(self.names)
        worker = self.owners[name]
        match self.rng.randrange(12):
            case 0 | 1 | 2:
                self.feed_some()
            case 3 | 4 | 5:
                worker.step(name, self.rng.randint(1, 9))
            case 6:
                worker.checkpoint(name)
            case 7:
                worker.checkpoint(name, self.rng.choice(STEPS))
                worker.drop(name)
            case 8:
                worker.drop(name)
            case 9:
                worker.drop(name)
                shutil.rmtree(worker.folder / name.sub_topology / str(name.partition), True)
            case 10:
                self.take_over(name)
            case _:
                self.haunt()

    def feed_some(self) -> None:
        where = self.rng.choice(list(self.rest))
        count = self.rng.randint(1, 12)
        feed(self.log, *where, self.rest[where][:count])
        del self.rest[where][:count]

    def feed_rest(self) -> None:
        for where, records in self.rest.items():
            feed(self.log, *where, records)

    def take_over(self, name: TaskName) -> None:
        """Another worker gets the task; its owner does not know yet, and goes on."""
        old = self.owners[name]
        new = self.workers[1 - self.workers.index(old)]
        new.drop(name)
        self.zombies = [(w, n) for w, n in self.zombies if (w, n) != (new, name)]
        self.log.generation += 1
        old.task(name)
        self.zombies.append((old, name))
        self.owners[name] = new
        new.task(name)

    def haunt(self) -> None:
        """A zombie goes on with what it has read, and may even try a checkpoint."""
        if not self.zombies:
            return
        worker, name = self.rng.choice(self.zombies)
        if name not in worker._tasks:
            return
        worker.step(name, self.rng.randint(1, 9))
        if name not in worker._tasks:
            # A record failed half-way, so the task was dropped; a zombie does not get it again.
            return
        if self.rng.random() < 0.3:
            worker.checkpoint(name, "changelog")
            assert name not in worker._tasks or worker.task(name)._pending is None

    def settle(self) -> None:
        """The zombies learn that they are none any more."""
        for worker, name in self.zombies:
            if self.owners[name] is not worker:
                worker.drop(name)
