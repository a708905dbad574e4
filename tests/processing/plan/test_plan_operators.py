"""Steps with state inside plans: several inputs, exits, results at once and in time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog import Output, Stream, pipeline, tumbling
from streamlog.processing.dsl.nodes import OperatorNode, SideNode
from streamlog.processing.errors import PlanError
from streamlog.processing.location import caller_location
from streamlog.processing.operators.operator import Operator, Side
from streamlog.processing.state.row_table import time_name, time_of, token_of
from streamlog.testing import drive
from streamlog.testing.memory_worker import STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.processing.operators.operator import OperatorContext, Result, Value
    from streamlog.testing.memory_worker import CheckpointStep

WAIT_MS = 10


class Left(msgspec.Struct):
    number: int


class Right(msgspec.Struct):
    name: str


class Echo(Operator):
    """Says each record at once, and again when time has passed it by `WAIT_MS`."""

    def __init__(self, context: OperatorContext) -> None:
        self.rows = context.table()
        super().__init__([self.rows])

    def process(
        self, port: int, key: bytes | None, value: Value, timestamp: int, time: int, writer: int
    ) -> Sequence[Result]:
        said = f"{port} {msgspec.json.encode(value).decode()}"
        if timestamp + WAIT_MS <= time:
            self.late += 1
            return [(key, Side("late", said), timestamp)]
        name = time_name(timestamp) + token_of(key) + said.encode()
        self.rows.put(name, msgspec.msgpack.encode((key, said)))
        return [(key, f"now {said}", timestamp)]

    def advance(self, time: int) -> Sequence[Result]:
        self.now = max(self.now, time)
        return self._echo(time_name(time - WAIT_MS))

    def drain(self) -> Sequence[Result]:
        return self._echo(b"\xff" * 9)

    def _echo(self, end: bytes) -> Sequence[Result]:
        results = []
        for name, row in list(self.rows.scan(b"", end)):
            self.rows.delete(name)
            key, said = msgspec.msgpack.decode(row)
            results.append((key, f"then {said}", time_of(name)))
        return results


def echo(*streams: Stream[Any], name: str = "echo") -> tuple[Stream[str], Stream[str]]:
    """The step, and its exit for late records."""
    graph = streams[0].graph
    node = OperatorNode(
        name=name,
        location=caller_location(),
        value_type=str,
        parents=tuple(stream.node for stream in streams),
        make=Echo,
        layout="echo",
        lag_ms=WAIT_MS,
        tick_ms=5,
    )
    side = SideNode(
        name="late", location=caller_location(), value_type=str, parent=node, exit="late"
    )
    graph.add(node)
    graph.add(side)
    return Stream(graph, node), Stream(graph, side)


@pipeline
def echoes(left: Stream[Left], right: Stream[Right]) -> tuple[Output, ...]:
    said, late = echo(
        left.key_by(lambda v: str(v.number % 3), name="left-key").filter(lambda v: v.number >= 0),
        right.key_by(lambda v: v.name, name="right-key"),
    )
    counted = (
        said.key_by(lambda text: text[:5], name="by-word")
        .window(tumbling(timedelta(milliseconds=20)))
        .count()
    )
    return said.to("said"), late.to("late"), counted.to("counted")


def test_inputs_of_different_topics_meet_in_one() -> None:
    plan = echoes.plan()
    subs = {sub.name: sub for sub in plan.sub_topologies}
    assert subs["echo"].writer_topics == ("left", "right")
    assert subs["left"].repartition_topics == ("echoes.echo.repartition",)
    assert set(subs) == {"left", "right", "echo", "by-word"}, "no topic for the keys of its inputs"
    assert subs["by-word"].writer_topics == ("echoes.echo.repartition",)


def test_inputs_behind_one_key_by_need_no_topic_more() -> None:
    @pipeline
    def again(left: Stream[Left]) -> Output:
        keyed = left.key_by(lambda v: v.number)
        return echo(keyed.map(lambda v: v), keyed.filter(lambda v: True))[0].to("said")

    subs = {sub.name: sub for sub in again.plan().sub_topologies}
    assert set(subs) == {"left", "by-number"}
    with drive(again) as t:
        t.send("left", Left(7), timestamp=3)
        t.drain()
        assert sorted(r.value for r in t.read("said")) == [
            'now 0 {"number":7}',
            'now 1 {"number":7}',
            'then 0 {"number":7}',
            'then 1 {"number":7}',
        ]


Sent = tuple[bool, int, int]


@settings(max_examples=15, deadline=None)
@given(
    sent=st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(-30, 5)), max_size=40),
    partitions=st.integers(1, 3),
    seed=st.none() | st.integers(0, 1000),
    crash=st.none() | st.tuples(st.integers(0, 40), st.sampled_from(STEPS)),
)
def test_results_do_not_depend_on_mix_chunks_or_crashes(
    sent: list[Sent], partitions: int, seed: int | None, crash: tuple[int, CheckpointStep] | None
) -> None:
    expected = run_echoes(sent, partitions, None, None)
    assert run_echoes(sent, partitions, seed, crash) == expected


def run_echoes(
    sent: list[Sent], partitions: int, seed: int | None, crash: tuple[int, CheckpointStep] | None
) -> dict[str, set[tuple[object, int, str]]]:
    with drive(echoes, partitions=partitions, seed=seed) as t:
        for index, (is_left, number, shift) in enumerate(sent):
            time, partition = 100 + 4 * index + shift, number % partitions
            if is_left:
                t.send("left", Left(number), timestamp=time, partition=partition)
            else:
                t.send("right", Right(str(number)), timestamp=time, partition=partition)
            if crash is not None and index == crash[0]:
                t.run()
                t.crash(at=crash[1])
        t.drain()
        return {
            topic: {(r.key, r.timestamp, str(r.value)) for r in t.read(topic)}
            for topic in ("said", "late", "counted")
        }


def test_a_step_says_each_record_once_now_and_once_then() -> None:
    sent = [(True, n % 6, -(n % 7)) for n in range(50)]
    found = run_echoes(sent, 2, 5, None)
    now = sorted(text[4:] for _, _, text in found["said"] if text.startswith("now"))
    then = sorted(text[5:] for _, _, text in found["said"] if text.startswith("then"))
    assert now == then
    assert found["counted"]


def test_a_key_that_stays_where_it_is_cannot_be_grouped_by() -> None:
    @pipeline
    def wrong(left: Stream[Left]) -> Output:
        return left.with_key(lambda v: v.number).window(tumbling(timedelta(1))).count().to("out")

    with pytest.raises(PlanError, match=r"with_key at .* leaves records where they are"):
        wrong.plan()
