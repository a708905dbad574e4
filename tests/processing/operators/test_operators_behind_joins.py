"""What stands behind a join of streams: nothing is late there because of who came last."""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_schedules import Inputs, run_straight, run_wildly

from streamlog import Output, Stream, count, max_, pipeline, sessions, tumbling

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
MS = timedelta(milliseconds=1)


class Number(msgspec.Struct):
    number: int
    amount: int


class Pair(msgspec.Struct):
    small: int
    large: int


class Totals(msgspec.Struct):
    pairs: int
    largest: int


def totals(stream: Stream[Pair], name: str) -> Stream[Pair]:
    return stream.key_by(lambda pair: pair.small % 3, name=name)


@pipeline
def behind(numbers: Stream[Number]) -> tuple[Output, Output]:
    small = numbers.filter(lambda n: n.amount < 30).key_by(lambda n: n.amount % 3, name="small")
    large = numbers.filter(lambda n: n.amount >= 20).key_by(lambda n: n.amount % 3, name="large")
    pairs = small.join(large, lambda s, n: Pair(s.number, n.number), within=6 * MS, name="pairs")
    in_sessions = totals(pairs, "by-session").window(sessions(5 * MS), grace=4 * MS)
    in_spans = totals(pairs, "by-span").window(tumbling(7 * MS))
    return (
        in_sessions.aggregate(
            Totals, name="sessions", pairs=count(), largest=max_(lambda pair: pair.large)
        ).to("in-sessions"),
        in_spans.aggregate(
            Totals, name="spans", pairs=count(), largest=max_(lambda pair: pair.large)
        ).to("in-spans"),
    )


def inputs_of(rng: random.Random, length: int) -> Inputs:
    """Two partitions, each wildly out of order."""
    inputs: Inputs = {("numbers", 0): [], ("numbers", 1): []}
    for number in range(length):
        value = msgspec.json.encode(Number(number, rng.randrange(50)))
        time = 100 + number + rng.choice((0, 0, 0, -3, -9, -20, 4))
        inputs["numbers", rng.randrange(2)].append((None, value, time))
    return inputs


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 60))
def test_windows_behind_a_join_do_not_depend_on_the_mix(seed: int, length: int) -> None:
    rng = random.Random(seed)
    inputs = inputs_of(rng, length)
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        straight = run_straight(behind.plan(), inputs, Path(folder) / "straight")
        wild = run_wildly(behind.plan(), inputs, Path(folder) / "wild", rng, 60)
    assert wild.late == straight.late
    assert wild.final == straight.final
    assert wild.rows == straight.rows
    assert wild.rows == straight.rows
