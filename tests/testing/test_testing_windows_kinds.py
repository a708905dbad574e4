"""Every kind of window in a pipeline, against sets and loops: partitions, batches and crashes.

What tumbling windows go through next door, the others go through here: records come by partitions
of a source, pass a repartition topic, and tasks die behind every step. The reference knows each
record, its partition and the partition's stream time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from driver_actions import act, actions
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from streamlog import (
    Output,
    Stream,
    Topic,
    count,
    first,
    hopping,
    last,
    pipeline,
    sessions,
    sliding,
    sum_,
    tumbling,
)
from streamlog.testing import Driver, drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog import Pipeline

PARTITIONS = 3


class Event(Struct):
    user: str
    at: int
    amount: float


class Totals(Struct):
    events: int
    total: float
    oldest: float
    newest: float


Events = Annotated[Stream[Event], Topic("events", event_time=lambda event: event.at)]
Result = tuple[str, int, int]
"""A user, and a window's start and end."""


@dataclass(frozen=True)
class Seen:
    """An event, the partition that it was sent to, and the partition's stream time."""

    event: Event
    partition: int
    number: int
    time: int


def ms(number: int) -> timedelta:
    return timedelta(milliseconds=number)


def hopping_windows(seen: list[Seen]) -> dict[Result, list[Seen]]:
    found: dict[Result, list[Seen]] = {}
    for each in seen:
        for start in range(-20, 80, 4):
            if start <= each.event.at < start + 10 and start + 10 + 5 > each.time:
                found.setdefault((each.event.user, start, start + 10), []).append(each)
    return found


def tumbling_windows(seen: list[Seen]) -> dict[Result, list[Seen]]:
    found: dict[Result, list[Seen]] = {}
    for each in seen:
        start = (each.event.at - 3) // 10 * 10 + 3
        if start + 10 + 2 > each.time:
            found.setdefault((each.event.user, start, start + 10), []).append(each)
    return found


def sliding_windows(seen: list[Seen]) -> dict[Result, list[Seen]]:
    found: dict[Result, list[Seen]] = {}
    for end in range(-20, 100):
        open_ = [each for each in seen if end + 1 + 6 > each.time]
        for user in {each.event.user for each in open_}:
            mine = [each for each in open_ if each.event.user == user]
            held = [each for each in mine if end - 8 <= each.event.at <= end]
            ends_here = end in {each.event.at for each in held}
            # One that is late for all windows that hold it makes none that does not.
            begins_here = end - 9 in {e.event.at for e in mine if e.event.at + 8 + 7 > e.time}
            if held and (ends_here or begins_here):
                found[user, end - 8, end] = held
    return found


def session_windows(seen: list[Seen]) -> dict[Result, list[Seen]]:
    found: dict[Result, list[Seen]] = {}
    open_ = sorted((e for e in seen if e.event.at + 7 >= e.time), key=lambda e: e.event.at)
    for user in {each.event.user for each in open_}:
        mine = [each for each in open_ if each.event.user == user]
        parts = [[mine[0]]]
        for before, after in pairwise(mine):
            if after.event.at - before.event.at > 4:
                parts.append([])
            parts[-1].append(after)
        for part in parts:
            found[user, part[0].event.at, part[-1].event.at] = part
    return found


@dataclass(frozen=True)
class Kind:
    windows: Any
    grace: int
    reference: Callable[[list[Seen]], dict[Result, list[Seen]]]
    is_late: Callable[[int, int], bool]
    """Of an event's time and its partition's: whether no window can hold it."""


KINDS = {
    "tumbling": Kind(
        tumbling(ms(10), offset=ms(3)),
        2,
        tumbling_windows,
        lambda at, time: (at - 3) // 10 * 10 + 15 <= time,
    ),
    "hopping": Kind(
        hopping(ms(10), advance=ms(4)),
        5,
        hopping_windows,
        lambda at, time: at // 4 * 4 + 15 <= time,
    ),
    "sliding": Kind(sliding(ms(8)), 6, sliding_windows, lambda at, time: at + 8 + 6 < time),
    "sessions": Kind(sessions(ms(4)), 7, session_windows, lambda at, time: at + 7 < time),
}


@cache
def totals(kind: str, emit: str) -> Pipeline[..., object]:
    @pipeline(name=f"totals-{kind}")
    def build(events: Events) -> list[Output]:
        windowed = events.key_by(lambda event: event.user).window(
            KINDS[kind].windows,
            grace=ms(KINDS[kind].grace),
            emit="final" if emit == "final" else "changes" if emit == "changes" else ms(7),
        )
        amount = lambda event: event.amount  # noqa: E731
        return [
            windowed.aggregate(
                Totals,
                events=count(),
                total=sum_(amount),
                oldest=first(amount),
                newest=last(amount),
            ).to("totals"),
            windowed.late().to("late"),
        ]

    return build


def totals_of(held: list[Seen]) -> dict[str, Any]:
    ordered = sorted(held, key=lambda e: (e.event.at, e.partition, e.number))
    return {
        "events": len(held),
        "total": math.fsum(each.event.amount for each in held),
        "oldest": ordered[0].event.amount,
        "newest": ordered[-1].event.amount,
    }


amounts = st.sampled_from([0.1, 0.2, 0.3, -0.1, 1e16, 1.0, -1e16, 3.5])
events = st.builds(
    Event, user=st.sampled_from(["a", "b", "c"]), at=st.integers(0, 60), amount=amounts
)
histories = st.lists(st.tuples(st.integers(0, PARTITIONS - 1), events), max_size=50)
interruptions = st.lists(st.tuples(st.integers(0, 50), actions), max_size=6)


def send(t: Driver, history: list[Any], stops: list[tuple[int, str]]) -> list[Seen]:
    times: dict[int, int] = {}
    seen = []
    for number, (partition, event) in enumerate(history):
        for at, action in stops:
            if at == number:
                act(t, action)
        t.send("events", event, partition=partition)
        times[partition] = max(times.get(partition, event.at), event.at)
        seen.append(Seen(event, partition, number, times[partition]))
    t.drain()
    return seen


def millis(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def identity(key: object, value: Any) -> Result:  # noqa: ANN401 (decoded JSON)
    return str(key), millis(value["start"]), millis(value["end"])


def check_late(t: Driver, seen: list[Seen], kind: Kind) -> None:
    late = [each for each in seen if kind.is_late(each.event.at, each.time)]
    assert t.late_records == len(late)
    # After a crash one may come twice.
    found = {(r.key, r.value["at"], r.value["amount"]) for r in t.read("late")}
    assert found == {(each.event.user, each.event.at, each.event.amount) for each in late}


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(history=histories, stops=interruptions, seed=st.integers(0, 1000))
def test_final_results_are_those_of_sets_and_loops_whatever_happens(
    kind: str, history: list[Any], stops: list[tuple[int, str]], seed: int
) -> None:
    with drive(totals(kind, "final"), partitions=PARTITIONS, seed=seed) as t:
        seen = send(t, history, stops)
        expected = KINDS[kind].reference(seen)
        found: dict[Result, Any] = {}
        for record in t.read("totals"):
            window = identity(record.key, record.value)
            last_moment = window[2] - (kind in ("tumbling", "hopping"))
            assert record.timestamp == last_moment
            assert found.setdefault(window, record.value["value"]) == record.value["value"]
        assert found == {window: totals_of(held) for window, held in expected.items()}
        check_late(t, seen, KINDS[kind])


@pytest.mark.parametrize("emit", ["changes", "interval"])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, deadline=None)
@given(history=histories, stops=interruptions, seed=st.integers(0, 1000))
def test_changes_end_with_the_final_results_whatever_happens(
    kind: str, emit: str, history: list[Any], stops: list[tuple[int, str]], seed: int
) -> None:
    with drive(totals(kind, emit), partitions=PARTITIONS, seed=seed) as t:
        seen = send(t, history, stops)
        expected = KINDS[kind].reference(seen)
        found: dict[Result, Any] = {}
        for record in t.read("totals"):
            for start, end in record.value.get("replaces", ()):
                found.pop((str(record.key), millis(start), millis(end)), None)
            found[identity(record.key, record.value)] = record.value["value"]
        assert found == {window: totals_of(held) for window, held in expected.items()}
        check_late(t, seen, KINDS[kind])
