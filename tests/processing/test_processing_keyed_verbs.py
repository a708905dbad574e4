"""Groups, order, copies and processors in whole pipelines: recomputed, and whatever happens."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pipeline_schedules import InputRecord, Inputs, Outcome, run_straight, run_wildly

from streamlog import (
    List,
    Map,
    Pipeline,
    Processor,
    ProcessorContext,
    Stream,
    Timer,
    Value,
    cogroup,
    count,
    last,
    max_,
    pipeline,
    quantile,
    sum_,
    top_k,
)
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Iterator

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
GRACE, WITHIN, GAP = 300, 400, 500


class Event(Struct):
    group: str
    number: int
    amount: int


class Account(Struct):
    events: int
    total: float
    paid: float
    newest: int | None
    seen: int | None


class Rest(Struct):
    accounts: int
    events: int
    best: list[int]
    largest: int | None
    middle: float | None


class Burst(Struct):
    group: str
    numbers: list[int]
    amounts: dict[str, int]


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


class Bursts(Processor[Event, Burst]):
    """Events of a group, until there is none for `GAP`."""

    precision = ms(100)

    events: Value[int]
    numbers: List[int]
    amounts: Map[str, int]

    def process(self, key: bytes | None, value: Event, ctx: ProcessorContext) -> None:
        self.events.set(self.events.get(0) + 1)
        self.numbers.append(value.number)
        name = str(value.amount)
        self.amounts[name] = self.amounts.get(name, 0) + 1
        ctx.timer(ctx.timestamp + GAP, "gap")

    def on_timer(self, key: bytes | None, timer: Timer, ctx: ProcessorContext) -> Iterator[Burst]:
        assert key is not None
        assert self.events.get() == len(self.numbers)
        yield Burst(key.decode(), list(self.numbers), dict(self.amounts))
        self.events.clear()
        self.numbers.clear()
        self.amounts.clear()


@pipeline
def tables(events: Stream[Event], others: Stream[Event]) -> None:
    accounts = cogroup(
        Account,
        events.key_by(lambda e: e.group).fields(
            events=count(),
            total=sum_(lambda e: e.amount),
            newest=last(lambda e: e.number),
            seen=max_(lambda e: e.number),
        ),
        others.key_by(lambda e: e.group, name="others-by-group").fields(
            paid=sum_(lambda e: e.amount), seen=max_(lambda e: e.number)
        ),
    )
    accounts.stream(name="accounts").peek(lambda row: None)
    rests = accounts.group_by(lambda a: a.events % 3, name="by-rest").aggregate(
        Rest,
        accounts=count(),
        events=sum_(lambda a: a.events),
        best=top_k(2, lambda a: a.events),
        largest=max_(lambda a: a.seen),
        middle=quantile(lambda a: a.total, 0.5, accuracy=0.3),
    )
    rests.stream(name="rests").peek(lambda row: None)


@pipeline
def waiting(events: Stream[Event]) -> None:
    keyed = events.key_by(lambda e: e.group)
    ordered = keyed.in_order(grace=ms(GRACE))
    ordered.key_by(lambda e: e.number, name="a").to("ordered")
    ordered.late().key_by(lambda e: e.number, name="b").to("late")
    ordered.process(Bursts).to("bursts")
    copies = keyed.dedup(lambda e: e.amount, within=ms(WITHIN))
    copies.key_by(lambda e: e.number, name="c").to("deduped")


@st.composite
def inputs_of(draw: st.DrawFn, topics: tuple[str, ...]) -> Inputs:
    inputs: Inputs = {}
    number = 0
    for topic in topics:
        for partition in range(draw(st.integers(1, 3))):
            records: list[InputRecord] = []
            moment = 0
            for _ in range(draw(st.integers(0, 25))):
                moment += draw(st.integers(0, 250))
                timestamp = max(moment - draw(st.sampled_from([0, 0, 50, 250, 700])), 0)
                event = Event(draw(st.sampled_from("abc")), number, draw(st.integers(-2, 2)))
                number += 1
                records.append((b"%d" % partition, msgspec.json.encode(event), timestamp))
            inputs[topic, partition] = records
    return inputs


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
    assert undated(wild) == undated(straight)
    return straight


def undated(outcome: Outcome) -> dict[Any, Any]:
    """Rows without the times of groups of a table's rows.

    Between which groups a row moves on its way depends on how writers are mixed, and so does when a
    group was last changed; what it is in the end does not.
    """
    return {
        task: [
            (name, msgspec.msgpack.decode(row)[2:] if task.sub_topology == "by-rest" else row)
            for name, row in rows
        ]
        for task, rows in outcome.rows.items()
    }


class Seen(NamedTuple):
    """A record with all that decides about its place."""

    timestamp: int
    group: str
    partition: int
    offset: int
    time: int
    event: Event


def seen(inputs: Inputs, topic: str = "events") -> list[Seen]:
    found = []
    for (name, partition), records in inputs.items():
        time = -1
        for offset, (_, value, timestamp) in enumerate(records):
            time = max(time, timestamp)
            event = msgspec.json.decode(value, type=Event)
            if name == topic:
                found.append(Seen(timestamp, event.group, partition, offset, time, event))
    return sorted(found)


def numbers(outcome: Outcome, topic: str) -> Counter[int]:
    return Counter(
        msgspec.json.decode(value or b"", type=Event).number
        for (name, *_), value in outcome.final.items()
        if name == topic
    )


@settings(max_examples=40, deadline=None)
@given(inputs_of(("events", "others")), st.integers(0, 2**32), st.integers(0, 80))
def test_rows_of_groups_do_not_depend_on_what_happens(
    inputs: Inputs, seed: int, actions: int
) -> None:
    both_ways(tables, inputs, seed, actions)


@settings(max_examples=40, deadline=None)
@given(inputs_of(("events",)), st.integers(0, 2**32), st.integers(0, 80))
def test_what_waits_for_time_equals_the_recomputed(inputs: Inputs, seed: int, actions: int) -> None:
    outcome = both_ways(waiting, inputs, seed, actions)
    arrived = seen(inputs)
    kept = [each for each in arrived if each.timestamp + GRACE >= each.time]
    assert numbers(outcome, "ordered") == Counter(each.event.number for each in kept)
    assert numbers(outcome, "late") == Counter(
        each.event.number for each in arrived if each.timestamp + GRACE < each.time
    )
    assert sum(outcome.late.values()) == len(arrived) - len(kept)
    assert numbers(outcome, "deduped") == Counter(first_of_their_likes(arrived))
    assert bursts(outcome) == expected_bursts(kept)


def first_of_their_likes(arrived: list[Seen]) -> list[int]:
    passed: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    result = []
    for each in sorted(arrived, key=lambda s: (max(s.timestamp, s.time), *s)):
        turn = max(each.timestamp, each.time)
        likes = passed[each.group, each.event.amount]
        if not any(
            turn <= before + WITHIN and abs(each.timestamp - timestamp) <= WITHIN
            for before, timestamp in likes
        ):
            likes.append((turn, each.timestamp))
            result.append(each.event.number)
    return result


def bursts(outcome: Outcome) -> dict[tuple[str, int], Burst]:
    return {
        ((key or b"").decode(), timestamp): msgspec.json.decode(value or b"", type=Burst)
        for (name, _, key, timestamp), value in outcome.final.items()
        if name == "bursts"
    }


def expected_bursts(kept: list[Seen]) -> dict[tuple[str, int], Burst]:
    expected: dict[tuple[str, int], Burst] = {}
    for group in {each.group for each in kept}:
        burst = Burst(group, [], {})
        end = None
        for each in kept:
            if each.group != group:
                continue
            if end is not None and each.timestamp >= end:
                expected[group, end] = burst
                burst = Burst(group, [], {})
            burst.numbers.append(each.event.number)
            amount = str(each.event.amount)
            burst.amounts[amount] = burst.amounts.get(amount, 0) + 1
            end = each.timestamp + GAP
        if end is not None:
            expected[group, end] = burst
    return expected


@settings(max_examples=12, deadline=None)
@given(inputs_of(("events", "others")), st.integers(0, 2**32))
def test_tables_end_as_the_recomputed(inputs: Inputs, seed: int) -> None:
    @pipeline
    def written(events: Stream[Event], others: Stream[Event]) -> None:
        both = events.merge(others, name="both").key_by(lambda e: e.group)
        both.count().to("counted")
        both.reduce(lambda a, b: Event(a.group, max(a.number, b.number), a.amount + b.amount)).to(
            "reduced"
        )
        sums = both.aggregate(Sums, events=count(), total=sum_(lambda e: e.amount))
        sums.group_by(lambda s: s.events % 2, name="by-parity").sum_(lambda s: s.total).to("parity")

    everything = seen(inputs) + seen(inputs, "others")
    groups: dict[str, list[Event]] = defaultdict(list)
    for each in everything:
        groups[each.group].append(each.event)
    parity: dict[str, int] = defaultdict(int)
    for events in groups.values():
        parity[str(len(events) % 2)] += sum(e.amount for e in events)
    with drive(written, partitions=3, seed=seed) as t:
        for (topic, partition), records in inputs.items():
            for key, value, timestamp in records:
                t.send(topic, value, key=key, timestamp=timestamp, partition=partition)
        t.run()
        t.crash()
        t.run()
        assert newest(t.read("counted")) == {key: len(each) for key, each in groups.items()}
        assert newest(t.read("reduced")) == {
            key: {
                "group": key,
                "number": max(e.number for e in each),
                "amount": sum(e.amount for e in each),
            }
            for key, each in groups.items()
        }
        assert newest(t.read("parity")) == parity


class Sums(Struct):
    events: int
    total: float


def newest(records: list[Any]) -> dict[Any, Any]:
    """What a reader of a compacted topic ends with."""
    found: dict[Any, Any] = {}
    for record in records:
        found[record.key] = record.value
    return {key: value for key, value in found.items() if value is not None}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("declared", [tables, waiting], ids=["tables", "waiting"])
def test_a_long_wild_run_equals_the_straight_one(
    declared: Pipeline[..., object], seed: int
) -> None:
    rng = random.Random(seed)
    topics = ("events", "others") if declared is tables else ("events",)
    inputs: Inputs = {}
    for topic in topics:
        for partition in range(rng.choice([1, 2, 4])):
            inputs[topic, partition] = [
                (
                    b"%d" % partition,
                    msgspec.json.encode(
                        Event(rng.choice("abcdef"), n * 10 + partition, rng.randint(-2, 2))
                    ),
                    max(n * 30 - rng.choice([0, 0, 100, 250, 400]), 0),
                )
                for n in range(rng.choice([50, 300]))
            ]
    both_ways(declared, inputs, seed, 600)
