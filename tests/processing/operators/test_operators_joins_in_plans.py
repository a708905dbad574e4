"""Joins of streams in whole pipelines: in orders that a scheduler and crashes may bring about.

Both sides are repartitioned, so their records reach the join by many writers, mixed in any way.
"""

from __future__ import annotations

import json
import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hypothesis import given, settings
from hypothesis import strategies as st
from join_references import expected_interval, expected_next, expected_versioned
from msgspec import Struct
from operator_harness import Event
from pipeline_schedules import InputRecord, Inputs, run_straight, run_wildly

from streamlog import Pipeline, Stream, Table, pipeline
from streamlog.processing.operators.as_of_next import AsOfNextSpec
from streamlog.processing.operators.interval_join import IntervalJoinSpec
from streamlog.processing.operators.versioned_join import VersionedJoinSpec
from streamlog.processing.repartition.position import writer_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None


class Item(Struct):
    group: str
    number: int


class Pair(Struct):
    left: int | None
    right: int | None


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


def pair(left: Item | None, right: Item | None) -> Pair:
    return Pair(None if left is None else left.number, None if right is None else right.number)


def ids(pair: Pair) -> str:
    """Of its own for each result, so that repeated results are told from equal ones."""
    return f"{pair.left}/{pair.right}"


def interval(how: Literal["inner", "left", "outer"], grace: int) -> Pipeline[..., object]:
    @pipeline
    def joined(lefts: Stream[Item], rights: Stream[Item]) -> None:
        one = lefts.key_by(lambda e: e.group, name="one")
        other = rights.key_by(lambda e: e.group, name="other")
        options: dict[str, Any] = {"before": ms(3), "after": ms(6), "grace": ms(grace), "how": how}
        result: Stream[Pair] = one.join(other, pair, name="join", **options)
        result.with_key(ids).to("out")

    return joined


def itself() -> Pipeline[..., object]:
    @pipeline
    def joined(lefts: Stream[Item]) -> None:
        by_group = lefts.key_by(lambda e: e.group, name="one")
        result = by_group.join(by_group, pair, before=ms(0), after=ms(6), how="left", name="join")
        result.with_key(ids).to("out")

    return joined


def versioned(how: Literal["inner", "left"], grace: int) -> Pipeline[..., object]:
    @pipeline
    def joined(lefts: Stream[Item], rights: Table[Item]) -> None:
        one = lefts.key_by(lambda e: e.group, name="one")
        options: dict[str, Any] = {"grace": ms(grace), "history": ms(20), "how": how}
        result: Stream[Pair] = one.join(rights, pair, name="join", **options)
        result.with_key(ids).to("out")

    return joined


def nearest(
    direction: Literal["backward", "forward"], how: Literal["inner", "left"]
) -> Pipeline[..., object]:
    @pipeline
    def joined(lefts: Stream[Item], rights: Stream[Item]) -> None:
        one = lefts.key_by(lambda e: e.group, name="one")
        other = rights.key_by(lambda e: e.group, name="other")
        options: dict[str, Any] = {"tolerance": ms(9), "history": ms(20), "grace": ms(2)}
        result: Stream[Pair] = one.as_of(
            other, pair, direction=direction, how=how, name="join", **options
        )
        result.with_key(ids).to("out")

    return joined


@st.composite
def inputs_of(
    draw: st.DrawFn, topics: tuple[str, ...] = ("lefts", "rights"), nulls: str = ""
) -> Inputs:
    """Items of up to three partitions each, out of order to a degree."""
    inputs: Inputs = {}
    number = 0
    for topic in topics:
        for partition in range(draw(st.integers(1, 3))):
            records: list[InputRecord] = []
            moment = 0
            for _ in range(draw(st.integers(0, 20))):
                moment += draw(st.integers(0, 6))
                timestamp = max(moment - draw(st.sampled_from([0, 0, 0, 2, 9])), 0)
                number += 1
                # A table's records are in the partition of their key.
                group = draw(st.sampled_from("ab")) + (str(partition) if topic == nulls else "")
                group = (
                    group if topic == nulls or not nulls else group + str(draw(st.integers(0, 2)))
                )
                value = json.dumps({"group": group, "number": number}).encode()
                gone = topic == nulls and draw(st.integers(0, 3)) == 0
                records.append((group.encode(), b"" if gone else value, timestamp))
            inputs[topic, partition] = [(k, v or None, t) for k, v, t in records]  # type: ignore[misc]
    return inputs


def events_of(inputs: Inputs, ports: Mapping[str, Sequence[int]]) -> list[Event]:
    """What reaches the join, each source partition a writer."""
    topics = sorted({topic for topic, _ in inputs})
    events = []
    for (topic, partition), records in inputs.items():
        for key, value, timestamp in records:
            number = None if value is None else json.loads(value)["number"]
            for port in ports[topic]:
                writer = writer_id(topics.index(topic), partition)
                events.append(Event(key, number, timestamp, port, writer))
    return events


def results_of(declared: Pipeline[..., object], inputs: Inputs, seed: int) -> dict[str, int]:
    """Runs it straight and wildly, compares the two, and returns the results' times."""
    plan = declared.plan()
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        straight = run_straight(plan, inputs, Path(folder) / "straight")
        wild = run_wildly(plan, inputs, Path(folder) / "wild", random.Random(seed), 60)
    assert wild.final == straight.final
    assert wild.early == straight.early
    assert wild.late == straight.late
    assert wild.open_windows == straight.open_windows
    assert wild.rows == straight.rows
    return {(key or b"").decode(): timestamp for _, _, key, timestamp in straight.final}


def wanted(expected: Callable[..., Any], spec: object, events: list[Event]) -> dict[str, int]:
    results, _ = expected(spec, events)
    return {f"{left}/{right}": timestamp for _, (left, right), timestamp in results}


def both(left: object, right: object) -> tuple[object, object]:
    return left, right


BOTH = {"lefts": (0,), "rights": (1,)}


def interval_spec(how: Any, before: int, grace: int) -> IntervalJoinSpec:  # noqa: ANN401
    return IntervalJoinSpec(
        before_ms=before,
        after_ms=6,
        grace_ms=grace,
        how=how,
        function=both,
        where=None,
        types=(int, int),
        tick_ms=1,
    )


seeds = st.integers(0, 2**32)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["inner", "left", "outer"]), st.sampled_from([0, 4]), inputs_of(), seeds)
def test_interval_joins(how: Any, grace: int, inputs: Inputs, seed: int) -> None:  # noqa: ANN401
    found = results_of(interval(how, grace), inputs, seed)
    spec = interval_spec(how, 3, grace)
    assert found == wanted(expected_interval, spec, events_of(inputs, BOTH))


@settings(max_examples=20, deadline=None)
@given(inputs_of(("lefts",)), seeds)
def test_a_stream_with_itself(inputs: Inputs, seed: int) -> None:
    found = results_of(itself(), inputs, seed)
    spec = interval_spec("left", 0, 0)
    assert found == wanted(expected_interval, spec, events_of(inputs, {"lefts": (0, 1)}))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["inner", "left"]), st.sampled_from([0, 4]), inputs_of(nulls="rights"), seeds
)
def test_joins_by_event_time(how: Any, grace: int, inputs: Inputs, seed: int) -> None:  # noqa: ANN401
    found = results_of(versioned(how, grace), inputs, seed)
    spec = VersionedJoinSpec(
        how=how,
        grace_ms=grace,
        history_ms=20,
        function=both,
        types=(int, int | None),
        tick_ms=1,
        table="rights",
    )
    assert found == wanted(expected_versioned, spec, events_of(inputs, BOTH))


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["backward", "forward"]),
    st.sampled_from(["inner", "left"]),
    inputs_of(),
    seeds,
)
def test_nearest_records(direction: Any, how: Any, inputs: Inputs, seed: int) -> None:  # noqa: ANN401
    found = results_of(nearest(direction, how), inputs, seed)
    common: dict[str, Any] = {"how": how, "tolerance_ms": 9, "grace_ms": 2, "history_ms": 20}
    common |= {"function": both, "tick_ms": 1, "exact": True}
    events = events_of(inputs, BOTH)
    if direction == "forward":
        spec = AsOfNextSpec(**common, types=(int, int))
        assert found == wanted(expected_next, spec, events)
    else:
        backward = VersionedJoinSpec(**common, types=(int, int | None), table="rights")
        assert found == wanted(expected_versioned, backward, events)
