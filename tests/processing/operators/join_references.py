"""What tests of joins share: records with their writers' time, and interrupted runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hypothesis import strategies as st

from streamlog.processing.operators.join_rows import encode_row

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from operator_harness import Event, Harness

    from streamlog.processing.operators.operator import Result

LONG = b"long" * 150
KEYS = [b"a", b"b", LONG]


class Timed(NamedTuple):
    """A record, the stream time of its writer, and its number among all."""

    event: Event
    time: int
    number: int


def timed(events: Sequence[Event]) -> list[Timed]:
    """Each record with the stream time of its writer."""
    times: dict[int, int] = {}
    found = []
    for number, event in enumerate(events):
        times[event.writer] = max(times.get(event.writer, event.timestamp), event.timestamp)
        found.append(Timed(event, times[event.writer], number))
    return found


def canonical(results: Sequence[object]) -> list[bytes]:
    """Results without their order."""
    return sorted(encode_row(result) for result in results)


def mixed_anew(events: Sequence[Event], rng: Random) -> list[Event]:
    """The same records of each writer in their order, mixed in another way."""
    queues = [[e for e in events if e.writer == writer] for writer in {e.writer for e in events}]
    mixed = []
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    return mixed


def run_with_restarts(
    harness: Harness, events: Sequence[Event], data: st.DataObject
) -> list[Result]:
    """Sends all records, with checkpoints and restarts between them; returns what counts."""
    results: list[Result] = []
    pending: list[Result] = []
    position = saved = 0
    while position < len(events):
        action = data.draw(st.sampled_from(["send"] * 6 + ["checkpoint", "restart"]))
        if action == "send":
            pending += harness.send(events[position])
            position += 1
        elif action == "checkpoint":
            harness.checkpoint()
            results += pending
            pending, saved = [], position
        else:
            harness.restart()
            pending, position = [], saved
    return results + pending
