"""Tumbling windows against sets and loops: any order, lateness, partitions, batches and crashes.

The reference walks each source partition alone: its stream time is the largest event time so far, a
record whose window ended a grace before that is late, every other counts. Nothing else matters: not
how tasks interleave, not where chunks and checkpoints fall, not how often everything dies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

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
    last,
    max_,
    mean,
    min_,
    pipeline,
    sum_,
    tumbling,
)
from streamlog.testing import drive

SIZE_MS = 10
GRACE_MS = 7


class Event(Struct):
    user: str
    at: int
    amount: float | None


class Totals(Struct):
    events: int
    amounts: int
    total: float
    average: float | None
    low: float | None
    high: float | None
    oldest: float | None
    newest: float | None


Events = Annotated[Stream[Event], Topic("events", event_time=lambda event: event.at)]


@pipeline
def totals(events: Events) -> Output:
    amount = lambda event: event.amount  # noqa: E731
    return (
        events.key_by(lambda event: event.user)
        .window(tumbling(timedelta(milliseconds=SIZE_MS)), grace=timedelta(milliseconds=GRACE_MS))
        .aggregate(
            Totals,
            events=count(),
            amounts=count(amount),
            total=sum_(amount),
            average=mean(amount),
            low=min_(amount),
            high=max_(amount),
            oldest=first(amount),
            newest=last(amount),
        )
        .to("totals")
    )


@dataclass(frozen=True)
class Sent:
    partition: int
    event: Event


def reference(sent: list[Sent], partitions: int) -> tuple[dict[tuple[str, int], Any], int]:
    groups: dict[tuple[str, int], list[tuple[int, int, int, float | None]]] = defaultdict(list)
    late = 0
    for partition in range(partitions):
        stream_time = -math.inf
        for offset, event in enumerate(s.event for s in sent if s.partition == partition):
            stream_time = max(stream_time, event.at)
            start = event.at // SIZE_MS * SIZE_MS
            if start + SIZE_MS + GRACE_MS <= stream_time:
                late += 1
            else:
                groups[event.user, start].append((event.at, partition, offset, event.amount))
    results = {}
    for identity, rows in groups.items():
        values = [amount for *_, amount in sorted(rows) if amount is not None]
        exact = math.fsum(values)
        results[identity] = {
            "events": len(rows),
            "amounts": len(values),
            "total": exact,
            "average": exact / len(values) if values else None,
            "low": min(values, default=None),
            "high": max(values, default=None),
            "oldest": values[0] if values else None,
            "newest": values[-1] if values else None,
        }
    return results, late


def start_ms(text: str) -> int:
    seconds, _, fraction = text.removesuffix("Z").rpartition(":")[2].partition(".")
    return int(seconds) * 1000 + int(fraction.ljust(3, "0")[:3])


PARTITIONS = 3
amounts = st.none() | st.sampled_from([0.1, 0.2, 0.3, -0.1, 1e16, 1.0, -1e16, 3.5])
events = st.builds(
    Event, user=st.sampled_from(["a", "b", "c"]), at=st.integers(0, 60), amount=amounts
)
histories = st.lists(
    st.builds(Sent, partition=st.integers(0, PARTITIONS - 1), event=events), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(
    sent=histories,
    interruptions=st.lists(st.tuples(st.integers(0, 60), actions), max_size=6),
    seed=st.integers(0, 1000),
)
def test_results_are_those_of_sets_and_loops_whatever_happens(
    sent: list[Sent], interruptions: list[tuple[int, str]], seed: int
) -> None:
    expected, late = reference(sent, PARTITIONS)
    with drive(totals, partitions=PARTITIONS, seed=seed) as t:
        for position, each in enumerate(sent):
            for at, action in interruptions:
                if at == position:
                    act(t, action)
            t.send("events", each.event, partition=each.partition)
        t.drain()
        found: dict[tuple[str, int], Any] = {}
        for record in t.read("totals"):
            identity = (str(record.key), start_ms(record.value["start"]))
            assert record.timestamp == identity[1] + SIZE_MS - 1
            # After a crash a result may come twice, but never differently.
            assert found.setdefault(identity, record.value["value"]) == record.value["value"]
        assert found == expected
        assert t.late_records == late
