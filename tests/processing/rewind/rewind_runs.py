"""Runs in any order that are rewound to anywhere, and what is to come out of them."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from rewind_pipelines import PARTITIONS, outcome, totals

from streamlog.processing.worker.placement import TaskName
from streamlog.testing import drive
from streamlog.testing.memory_rewind import MemoryRewind
from streamlog.testing.memory_worker import STEPS

if TYPE_CHECKING:
    import random

    from rewind_pipelines import Feed, Outcome

    from streamlog.testing import Driver

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def fresh(feed: Feed) -> tuple[Outcome, Outcome]:
    """What a run that nothing disturbs comes to, before and after a drain."""
    with drive(totals, partitions=PARTITIONS) as t:
        copy.deepcopy(feed).send_all(t)
        before = outcome(t)
        t.drain()
        return before, outcome(t)


def wander(t: Driver, feed: Feed, rng: random.Random, actions: int) -> None:
    """Sends, processes and takes checkpoints of tasks in any order, and crashes at times."""
    worker = t._worker
    for _ in range(actions):
        name = rng.choice(worker.task_names)
        match rng.randrange(10):
            case 0 | 1 | 2:
                feed.send(t, rng.randrange(PARTITIONS), rng.randrange(12))
            case 3 | 4 | 5:
                worker.step(name, rng.randrange(1, 9))
            case 6 | 7:
                worker.checkpoint(name)
            case 8:
                worker.checkpoint(name, rng.choice(STEPS))
                worker.drop(name)
            case _:
                t.run()


def somewhere(rng: random.Random) -> Any:  # noqa: ANN401
    """A target of a rewind."""
    return rng.choice(
        ["start", "end", -1, -2, -5, *(EPOCH + timedelta(milliseconds=n) for n in (5, 30, 80, 160))]
    )


def rewind_somewhere(t: Driver, rng: random.Random) -> None:
    """Rewinds to anywhere, perhaps in two goes."""
    steps_max = rng.choice([None, None, rng.randrange(20)])
    t.rewind(somewhere(rng), rebuild=True, steps_max=steps_max)
    if steps_max != 1 or rng.random() < 0.5:
        # After the intent alone nobody knows, and whoever runs has it given up.
        MemoryRewind(t._worker).finish()


def stands(t: Driver) -> dict[int, tuple[int, bool]]:
    """Of each source: the next offset, and whether it was drained there."""
    found = {}
    for partition in range(PARTITIONS):
        meta = t._worker.task(TaskName("numbers", partition))._store.meta
        found[partition] = (meta.positions[0][2] if meta.positions else 0, meta.drained)
    return found
