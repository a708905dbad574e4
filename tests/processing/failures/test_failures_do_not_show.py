"""Records that fail leave nothing behind, whatever happens: results and state are as without them.

A pipeline whose functions raise for some records is compared with one that filters these records
out where they come in, and whose log does not hold those that cannot be read.
"""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pipeline_schedules import Inputs, Outcome, run_straight, run_wildly

from streamlog import (
    Pipeline,
    Stream,
    Topic,
    count,
    dead_letter,
    pipeline,
    retry,
    skip,
    sum_,
    tumbling,
)
from streamlog.processing.failures.desk import STORE
from streamlog.processing.state.keys import store_id
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.failures.policy import FailurePolicy


class Event(Struct):
    number: int
    group: str
    at: int
    kind: str = ""


class Total(Struct):
    events: int
    numbers: int


class Broken(Exception):
    """What the functions of these tests raise."""


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


def happened(event: Event) -> int:
    if event.kind == "time":
        raise Broken(event.kind)
    return event.at


def fails_for(kind: str) -> Callable[[Event], int]:
    def number(event: Event) -> int:
        if event.kind == kind:
            raise Broken(f"{event.kind} {event.number}")
        return event.number

    return number


def draw(events: Stream[Event], kinds: list[str]) -> None:
    """The steps, of which those fail that are named: each at another distance from state."""
    first, second, plain, loop, behind = kinds

    def double(event: Event) -> list[Event]:
        return [event, replace_kind(event, "loop" if event.kind == "loop" else "")]

    total: dict[str, Any] = {"events": count()}
    one = events.window(tumbling(ms(20)), grace=ms(11))
    one.aggregate(Total, **total, numbers=sum_(fails_for(first)), name="one").to("one")
    two = events.window(tumbling(ms(50)))
    two.aggregate(Total, **total, numbers=sum_(fails_for(second)), name="two").to("two")
    events.map(fails_for(plain)).key_by(lambda number: number).to("plain")
    looped = events.flat_map(double, to=Event).window(tumbling(ms(30)))
    looped.aggregate(Total, **total, numbers=sum_(fails_for(loop)), name="loop").to("loop")
    keyed = events.key_by(lambda e: e.group, name="by-group")
    if behind != "behind":
        keyed = keyed.filter(lambda e: e.kind != "behind")
    keyed.window(tumbling(ms(40)), grace=ms(5)).aggregate(
        Total, **total, numbers=sum_(fails_for(behind)), name="groups"
    ).to("groups")


def replace_kind(event: Event, kind: str) -> Event:
    return Event(event.number, event.group, event.at, kind)


KINDS = ["first", "second", "plain", "loop", "behind"]


def failing(policy: FailurePolicy) -> Pipeline[..., None]:
    @pipeline(name="risky", on_error=policy)
    def risky(events: Annotated[Stream[Event], Topic(event_time=happened)]) -> None:
        draw(events, KINDS)

    return risky


@pipeline(name="risky")
def filtered(events: Annotated[Stream[Event], Topic(event_time=happened)]) -> None:
    draw(events.filter(lambda e: e.kind in ("", "behind")), ["-"] * 5)


UNREADABLE = ("time", "bytes")
PARTITIONS = 2


def inputs_of(seed: int, records: int, bad: float) -> Inputs:
    rng = random.Random(seed)
    inputs: Inputs = {("events", number): [] for number in range(PARTITIONS)}
    at = [0] * PARTITIONS
    for number in range(records):
        partition = rng.randrange(PARTITIONS)
        at[partition] += rng.randint(0, 6)
        kind = rng.choice([*KINDS, *UNREADABLE]) if rng.random() < bad else ""
        # A record that is late for a window is not shown to its functions, so it does not fail.
        late = 0 if kind else rng.randint(0, 9)
        event = Event(number, rng.choice("xyz"), at[partition] - late, kind)
        value = b"{" if kind == "bytes" else msgspec.json.encode(event)
        key = rng.choice([b"a%d" % partition, b"b%d" % partition, None])
        inputs["events", partition].append((key, value, 0))
    return inputs


def kind_of(value: bytes) -> str:
    return "bytes" if value == b"{" else str(json.loads(value)["kind"])


def readable(inputs: Inputs) -> Inputs:
    return {
        where: [record for record in records if kind_of(record[1]) not in UNREADABLE]
        for where, records in inputs.items()
    }


def without_desk(outcome: Outcome) -> Outcome:
    """The rows of the steps alone."""
    ours = store_id(STORE)
    return replace(
        outcome,
        rows={
            name: [row for row in rows if not row[0].startswith(ours)]
            for name, rows in outcome.rows.items()
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "policy",
    [skip(), dead_letter(), retry(attempts=3, then=skip())],
    ids=["skip", "dead_letter", "retry"],
)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32), actions=st.integers(0, 60), bad=st.sampled_from([0.03, 0.3]))
def test_failed_records_do_not_show(
    policy: FailurePolicy, seed: int, actions: int, bad: float
) -> None:
    inputs = inputs_of(seed, 80, bad)
    with tempfile.TemporaryDirectory() as folder:
        expected = run_straight(filtered.plan(), readable(inputs), Path(folder) / "straight")
        rng = random.Random(seed)
        wild = run_wildly(failing(policy).plan(), inputs, Path(folder) / "wild", rng, actions)
    assert without_desk(wild) == without_desk(expected)


@pytest.mark.parametrize("seed", range(6))
def test_every_failed_record_is_counted_and_set_aside(seed: int) -> None:
    inputs = inputs_of(seed, 60, 0.25)
    expected: set[tuple[int, int, str]] = set()
    behind = 0
    with drive(failing(dead_letter()), partitions=PARTITIONS, seed=seed) as t:
        for (topic, partition), records in inputs.items():
            for offset, (key, value, _) in enumerate(records):
                t.send(topic, value, key=key, partition=partition)
                kind = kind_of(value)
                behind += kind == "behind"
                if kind not in ("", "behind"):
                    expected.add((partition, offset, kind))
        t.drain()
        letters = t.dead_letters()
        at_source = [each for each in letters if each.topic == "events"]
        assert {(each.partition, each.offset) for each in at_source} == {
            place[:2] for place in expected
        }
        assert len(at_source) == len(expected)
        assert len(letters) == len(at_source) + behind
        for letter in at_source:
            assert letter.value == inputs["events", letter.partition][letter.offset][1]
        counts = [t._worker.task(name).statistics() for name in t._worker.task_names]
        assert sum(each.dead_letters for each in counts) == len(letters)
        assert t.skipped_records == 0
