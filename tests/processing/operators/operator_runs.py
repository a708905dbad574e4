"""Orders of records and restarts under which an operator has to give the same."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st
from operator_harness import Event, Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streamlog.processing.operators.operator import Operator, OperatorContext, Result


class Stop(NamedTuple):
    """What happens before the record at a position."""

    position: int
    crash: bool
    """Whether the task begins again from its last checkpoint; else a checkpoint is taken."""


stops = st.lists(st.builds(Stop, st.integers(0, 30), st.booleans()), max_size=4)


def run(
    make: Callable[[OperatorContext], Operator],
    events: Sequence[Event],
    stops: Sequence[Stop] = (),
    tick_ms: int | None = 1,
    writers: int = 3,
) -> tuple[list[Result], Harness]:
    """Sends records, with checkpoints and crashes between them.

    Returns:
        All results, each once, and what is left, with its changes checkpointed.
    """
    harness = Harness(make, tick_ms, writers)
    results: list[Result] = []
    position = saved = saved_results = 0
    for stop in [*sorted(stops), Stop(len(events), crash=False)]:
        at = min(stop.position, len(events))
        results += harness.send_all(events[position:at])
        position = at
        if stop.crash:
            harness.restart()
            del results[saved_results:]
            position = saved
            results += harness.send_all(events[position:at])
            position = at
        else:
            harness.checkpoint()
            saved, saved_results = position, len(results)
    return results, harness


def mixed(events: Sequence[Event], seed: int) -> list[Event]:
    """Another order in which the records may arrive: a writer's own stay in theirs."""
    by_writer: dict[int, list[Event]] = {}
    for event in events:
        by_writer.setdefault(event.writer, []).append(event)
    rng = random.Random(seed)
    result = []
    while by_writer:
        writer = rng.choice(sorted(by_writer))
        result.append(by_writer[writer].pop(0))
        if not by_writer[writer]:
            del by_writer[writer]
    return result


def order(result: Result) -> tuple[str, ...]:
    """For sorting results whose order is not promised."""
    return tuple(map(repr, result))
