"""The same input gives the same results and state, whatever happens; and the right ones."""

from __future__ import annotations

import json
import random
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pipeline_schedules import InputRecord, Inputs, Outcome, Results, run_straight, run_wildly

from streamlog import (
    Output,
    Pipeline,
    Stream,
    count,
    first,
    last,
    max_,
    mean,
    min_,
    pipeline,
    sum_,
    tumbling,
)
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable


class Event(Struct):
    group: str
    number: int
    amount: float


class Summary(Struct):
    count: int
    total: float
    average: float | None
    smallest: float
    largest: float
    first: int
    last: int


class Busy(Struct):
    groups: int
    events: int
    latest: int


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


SIZE, GRACE = 10, 7
DAY, DAY_GRACE = 40, 3


@pipeline
def one_level(events: Stream[Event]) -> Output:
    return (
        events.filter(lambda e: e.number % 7 != 3)
        .key_by(lambda e: e.group)
        .window(tumbling(ms(SIZE)), grace=ms(GRACE))
        .aggregate(
            Summary,
            count=count(),
            total=sum_(lambda e: e.amount),
            average=mean(lambda e: e.amount),
            smallest=min_(lambda e: e.amount),
            largest=max_(lambda e: e.amount),
            first=first(lambda e: e.number),
            last=last(lambda e: e.number),
        )
        .to("summaries")
    )


@pipeline
def two_levels(events: Stream[Event]) -> Output:
    return (
        events.key_by(lambda e: e.group)
        .window(tumbling(ms(SIZE)), grace=ms(GRACE))
        .aggregate(Summary, **SUMMARY)
        .key_by(lambda w: w.value.count % 2, name="by-parity")
        .window(tumbling(ms(DAY)), grace=ms(DAY_GRACE))
        .aggregate(
            Busy,
            groups=count(),
            events=sum_(lambda w: w.value.count),
            latest=last(lambda w: w.value.last),
        )
        .to("busy")
    )


SUMMARY: dict[str, Any] = {
    "count": count(),
    "total": sum_(lambda e: e.amount),
    "average": mean(lambda e: e.amount),
    "smallest": min_(lambda e: e.amount),
    "largest": max_(lambda e: e.amount),
    "first": first(lambda e: e.number),
    "last": last(lambda e: e.number),
}


@pipeline
def all_shapes(events: Stream[Event], others: Stream[Event]) -> None:
    """Windows on a source, behind each other, behind a merge of raw and windowed records."""
    hourly = events.window(tumbling(ms(SIZE)), grace=ms(GRACE)).count(name="hourly")
    hourly.window(tumbling(ms(DAY))).sum_(lambda w: w.value, name="daily").to("daily")
    slowly = events.window(tumbling(ms(25)), grace=ms(13)).count(name="slowly")
    raw = others.flat_map(lambda e: [e.number] * (e.number % 3), to=int)
    counted = hourly.map(lambda w: w.value, to=int)
    (
        counted.merge(raw)
        .merge(slowly.map(lambda w: w.value + 1, to=int))
        .merge(events.map(lambda e: e.number, to=int), name="numbers")
        .key_by(lambda number: number % 3, name="by-rest")
        .window(tumbling(ms(DAY)), grace=ms(DAY_GRACE))
        .aggregate(Busy, groups=count(), events=sum_(lambda n: n), latest=last(lambda n: n))
        .to("numbers")
    )
    merged = events.merge(others, name="both")
    merged.window(tumbling(ms(SIZE)), grace=ms(GRACE)).last(lambda e: e.number).to("latest")


amounts = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.sampled_from(
    [0.1, 0.2, 0.3, 1e16, 1.0, -1e16, 1e300, 1e308]
)


@st.composite
def inputs_of(draw: st.DrawFn, topics: tuple[str, ...]) -> Inputs:
    """Events of up to three partitions, disordered by more than grace and windows forgive."""
    inputs: Inputs = {}
    number = 0
    for topic in topics:
        for partition in range(draw(st.integers(1, 3))):
            records: list[InputRecord] = []
            moment = 0
            for _ in range(draw(st.integers(0, 25))):
                moment += draw(st.integers(0, 12))
                timestamp = max(moment - draw(st.integers(0, 40)), 0)
                event = Event(draw(st.sampled_from("abc")), number, draw(amounts))
                number += 1
                key = f"{event.group}{partition}".encode()
                records.append((key, _json(event), timestamp))
            inputs[topic, partition] = records
    return inputs


def _json(event: Event) -> bytes:
    return json.dumps(
        {"group": event.group, "number": event.number, "amount": event.amount}
    ).encode()


def both_ways(declared: Pipeline[..., object], inputs: Inputs, seed: int, actions: int) -> Outcome:
    """Runs it straight and wildly, and compares the two."""
    plan = declared.plan()
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        straight = run_straight(plan, inputs, Path(folder) / "straight")
        wild = run_wildly(plan, inputs, Path(folder) / "wild", random.Random(seed), actions)
    assert wild.final == straight.final
    assert wild.early == straight.early
    assert wild.late == straight.late
    assert wild.open_windows == straight.open_windows
    assert wild.rows == straight.rows
    return straight


FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


# The brute-force references.


@dataclass(frozen=True)
class Seen:
    event: Event
    timestamp: int
    place: tuple[int, int]


def on_time(
    inputs: Inputs, keep: Callable[[Event], bool] = lambda _: True
) -> tuple[dict[Any, list[Seen]], int]:
    """Events by group and window end, those left out that were late, and how many these were."""
    windows: dict[Any, list[Seen]] = defaultdict(list)
    late = 0
    for (_, partition), records in inputs.items():
        time = -1
        for offset, (_, value, timestamp) in enumerate(records):
            time = max(time, timestamp)
            event = Event(**json.loads(value))
            end = timestamp // SIZE * SIZE + SIZE
            if not keep(event):
                continue
            if end + GRACE <= time:
                late += 1
            else:
                seen = Seen(event, timestamp, (partition, offset))
                windows[event.group, end].append(seen)
    return windows, late


def exact(values: list[float]) -> float:
    try:
        return float(sum(map(Fraction, values), Fraction(0)))
    except OverflowError:
        return float("inf") if sum(map(Fraction, values), Fraction(0)) > 0 else float("-inf")


def summary(seen: list[Seen]) -> dict[str, Any]:
    values = [s.event.amount for s in seen]
    order = sorted(seen, key=lambda s: (s.timestamp, s.place))
    total = exact(values)
    return {
        "count": len(seen),
        "total": _finite(total),
        "average": _finite(total / len(seen)),
        "smallest": min(values),
        "largest": max(values),
        "first": order[0].event.number,
        "last": order[-1].event.number,
    }


def _finite(value: float) -> float | None:
    """JSON has no infinities: they become null."""
    return None if value in (float("inf"), float("-inf")) else value


def values_of(results: Results, topic: str) -> dict[tuple[Any, int], Any]:
    return {
        (key.decode() if key is not None else None, timestamp + 1): json.loads(value or b"")[
            "value"
        ]
        for (name, _, key, timestamp), value in results.items()
        if name == topic
    }


def closing_time(inputs: Inputs) -> int:
    """The smallest stream time of all partitions; a silent one holds everything open."""
    return min(max((r[2] for r in records), default=-1_000) for records in inputs.values())


@settings(max_examples=60, deadline=None)
@given(inputs_of(("events",)), st.integers(0, 2**32), st.integers(0, 60))
def test_one_level_equals_the_recomputed(inputs: Inputs, seed: int, actions: int) -> None:
    outcome = both_ways(one_level, inputs, seed, actions)
    windows, late = on_time(inputs, lambda event: event.number % 7 != 3)
    expected = {window: summary(seen) for window, seen in windows.items()}
    assert values_of(outcome.final, "summaries") == expected
    assert sum(outcome.late.values()) == late
    until = closing_time(inputs)
    early = {window: each for window, each in expected.items() if window[1] + GRACE <= until}
    assert values_of(outcome.early, "summaries") == early
    assert sum(outcome.open_windows.values()) == len(expected) - len(early)


@settings(max_examples=40, deadline=None)
@given(inputs_of(("events",)), st.integers(0, 2**32), st.integers(0, 80))
def test_two_levels_equal_the_recomputed(inputs: Inputs, seed: int, actions: int) -> None:
    outcome = both_ways(two_levels, inputs, seed, actions)
    windows, late = on_time(inputs)
    days: dict[Any, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for (_, end), seen in windows.items():
        result = summary(seen)
        days[str(result["count"] % 2), (end - 1) // DAY * DAY + DAY].append((end, result))
    found = values_of(outcome.final, "busy")
    assert found.keys() == days.keys()
    for window, results in days.items():
        assert found[window]["groups"] == len(results)
        assert found[window]["events"] == sum(each["count"] for _, each in results)
        newest = max(end for end, _ in results)
        assert found[window]["latest"] in {e["last"] for end, e in results if end == newest}
    # What is in time for its window is in time for all that follow.
    assert sum(outcome.late.values()) == late


@settings(max_examples=40, deadline=None)
@given(inputs_of(("events", "others")), st.integers(0, 2**32), st.integers(0, 100))
def test_all_shapes_do_not_depend_on_what_happens(inputs: Inputs, seed: int, actions: int) -> None:
    outcome = both_ways(all_shapes, inputs, seed, actions)
    events = {where: records for where, records in inputs.items() if where[0] == "events"}
    windows, _ = on_time(events)
    days: dict[Any, int] = defaultdict(int)
    for (group, end), seen in windows.items():
        for each in seen:
            days[f"{group}{each.place[0]}", (end - 1) // DAY * DAY + DAY] += 1
    assert values_of(outcome.final, "daily") == days


@pytest.mark.parametrize("seed", range(12))
def test_a_long_wild_run_equals_the_straight_one(seed: int) -> None:
    rng = random.Random(seed)
    inputs: Inputs = {}
    for topic in ("events", "others"):
        for partition in range(rng.choice([1, 2, 4])):
            inputs[topic, partition] = [
                (
                    rng.choice([b"a%d" % partition, b"b%d" % partition, b"%d" % partition]),
                    _json(Event(rng.choice("abcdef"), n, rng.uniform(-1e6, 1e6))),
                    max(n * 3 - rng.randrange(30), 0),
                )
                for n in range(rng.choice([0, 50, 300]))
            ]
    both_ways(all_shapes, inputs, seed, 600)


def test_results_of_two_windows_meet_in_one_topic_and_neither_is_late() -> None:
    @pipeline
    def meeting(events: Stream[int]) -> None:
        quick = events.window(tumbling(ms(10))).count(name="quick")
        slow = events.window(tumbling(ms(10)), grace=ms(20)).count(name="slow")
        both = quick.merge(slow).key_by(lambda _: "all", name="by-nothing")
        both.window(tumbling(ms(10))).count(name="both").to("both")

    with drive(meeting) as t:
        # The last record moves time so far that each of the two closes several windows at once.
        for timestamp in (1, 11, 21, 95):
            t.send("events", timestamp, key="k", timestamp=timestamp)
        t.run()
        found = {record.timestamp: record.value["value"] for record in t.read("both")}
        assert found == {9: 2, 19: 2, 29: 2}
        assert t.late_records == 0
