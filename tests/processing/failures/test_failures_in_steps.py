"""A record that fails in the middle of a step's state leaves nothing of it behind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import (
    Output,
    Processor,
    ProcessorContext,
    Stream,
    Value,
    collect,
    count,
    hopping,
    max_,
    pipeline,
    sessions,
    skip,
    sliding,
    sum_,
)
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Event(Struct):
    number: int
    broken: bool = False


class Total(Struct):
    events: int
    numbers: list[int]
    sum: int
    largest: int


def number_of(event: Event) -> int:
    return event.number


def picky(event: Event) -> int:
    if event.broken:
        raise ValueError(f"{event.number} is broken")
    return event.number


class Adder(Processor[Event, int]):
    total: Value[int]

    def process(self, key: bytes | None, value: Event, ctx: ProcessorContext) -> Iterator[int]:
        self.total.set(self.total.get(0) + 1)
        yield self.total.get(0)
        picky(value)
        self.total.set(self.total.get(0) + value.number)
        yield self.total.get(0)


def fields() -> dict[str, Any]:
    """The one that fails stands behind some that have taken the record, and before another."""
    return {
        "events": count(),
        "numbers": collect(number_of, limit=100),
        "sum": sum_(picky),
        "largest": max_(number_of),
    }


MINUTE = timedelta(minutes=1)

STEPS: dict[str, Callable[[Stream[Event]], Output]] = {
    "grouped": lambda s: s.aggregate(Total, **fields()).to("out"),
    "sessions": lambda s: s.window(sessions(MINUTE)).aggregate(Total, **fields()).to("out"),
    "hopping": lambda s: (
        s.window(hopping(2 * MINUTE, advance=MINUTE)).aggregate(Total, **fields()).to("out")
    ),
    "sliding": lambda s: s.window(sliding(MINUTE)).aggregate(Total, **fields()).to("out"),
    "processor": lambda s: s.process(Adder).to("out"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("seed", [None, 1, 2, 3])
def test_a_record_that_fails_in_a_step_was_never_there(step: str, seed: int | None) -> None:
    def newest(*, broken: bool) -> dict[tuple[object, object], object]:
        @pipeline(name="steps", on_error=skip())
        def steps(events: Stream[Event]) -> Output:
            kept = events if broken else events.filter(lambda e: not e.broken)
            return STEPS[step](kept)

        with drive(steps, partitions=2, seed=seed) as t:
            for number in range(60):
                event = Event(number, broken=number % 7 in (2, 3))
                time = number * 15_000 + (120_000 if number > 40 else 0)
                key = "ab"[number % 3 == 1]
                t.send("events", event, key=key, timestamp=time, partition=ord(key) % 2)
                if number % 20 == 19:
                    t.run()
            t.drain()
            assert t.skipped_records == (18 if broken else 0)
            return {(each.key, each.timestamp): each.value for each in t.read("out")}

    assert newest(broken=True) == newest(broken=False)
