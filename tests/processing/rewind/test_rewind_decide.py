"""Which checkpoint each task goes back to, and what is withdrawn: the rules one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct

from streamlog import Output, Stream, count, pipeline, tumbling
from streamlog.errors import UsageError
from streamlog.processing.repartition.position import DRAIN_INDEX, INDEX_BITS
from streamlog.processing.rewind.decide import (
    EVERYTHING,
    TaskPast,
    cut_of,
    decide,
    new_meta,
)
from streamlog.processing.rewind.outline import (
    Outline,
    SubOutline,
    decode_outline,
    encode_outline,
    outline_of,
)
from streamlog.processing.rewind.target import Back, ClockTime, Edge, EventTime
from streamlog.processing.state.kept import KeptCheckpoint
from streamlog.processing.state.meta import TaskMeta, WriterMeta
from streamlog.processing.worker.placement import TaskName
from streamlog.testing import Driver, drive

SOURCE, READER = TaskName("events", 0), TaskName("by-key", 0)
OUTLINE = Outline(
    name="p",
    subs=(
        SubOutline(
            name="events",
            input_topics=("events",),
            writer_topics=(),
            writers=(),
            changelog_topic="c",
        ),
        SubOutline(
            name="by-key",
            input_topics=("repartition",),
            writer_topics=("events",),
            writers=("events",),
            changelog_topic="d",
        ),
    ),
)


def source(*offsets: int, sequence: int = 10, partition: int = 0) -> TaskPast:
    """Checkpoints at these offsets, the newest first, each a second and an hour after the next."""
    kept = [
        KeptCheckpoint(
            TaskMeta(
                sequence=sequence - number,
                positions=(("events", partition, offset),),
                stream_time_ms=offset * 3_600_000,
            ),
            1_000 * offset,
            7,
        )
        for number, offset in enumerate(offsets)
    ]
    return TaskPast(checkpoints=kept, extents={"events": (0, 100)}, rows=3)


def reader(*seen: int, drained: bool = False) -> TaskPast:
    """Checkpoints that have seen the writer's records up to these offsets, the newest first."""
    kept = [
        KeptCheckpoint(
            TaskMeta(
                sequence=20 - number,
                positions=(("repartition", 0, 5 * offset),),
                writers=(WriterMeta(0, 1, offset << INDEX_BITS, 0, drained, offset << INDEX_BITS),),
            ),
            1_000 * offset + 500,
            2,
        )
        for number, offset in enumerate(seen)
    ]
    return TaskPast(checkpoints=kept, extents={"repartition": (0, 300)}, rows=4)


def test_a_source_goes_to_before_a_time_and_its_reader_to_what_it_had_seen_by_then() -> None:
    pasts = {SOURCE: source(50, 40, 30, 20), READER: reader(49, 41, 35, 28, 11)}
    decision = decide(OUTLINE, pasts, EventTime(35 * 3_600_000))
    first, second = decision.choices
    assert (first.steps, first.inputs[0].read_from, first.undone_rows, first.moved) == (
        2,
        30,
        14,
        True,
    )
    assert (second.steps, second.inputs[0].read_from, second.moved) == (3, 140, True)
    assert second.cuts == {0: (29 << INDEX_BITS) + DRAIN_INDEX}
    assert decision.out_of_reach == []


def test_a_marker_counts_as_seen_too() -> None:
    past = reader(49, 10)
    before = past.checkpoints[1]
    far = 45 << INDEX_BITS
    heard = TaskMeta(
        sequence=19,
        positions=(("repartition", 0, 60),),
        writers=(WriterMeta(0, 1, 10 << INDEX_BITS, 0, drained=False, marked=far),),
    )
    kept = [past.checkpoints[0], KeptCheckpoint(heard, 1, 2), before]
    pasts = {
        SOURCE: source(50, 40),
        READER: TaskPast(checkpoints=kept, extents={"repartition": (0, 300)}),
    }
    _, second = decide(OUTLINE, pasts, EventTime(45 * 3_600_000)).choices
    assert second.to is before


def test_where_nothing_moves_nothing_is_touched() -> None:
    pasts = {SOURCE: source(50, 40), READER: reader(60, 41)}
    decision = decide(OUTLINE, pasts, Edge.END)
    assert [choice.touched for choice in decision.choices] == [False, False]


def test_a_reader_that_stays_gets_the_rule_and_has_a_cut_itself() -> None:
    pasts = {SOURCE: source(50, 40), READER: reader(39, 20)}
    _, second = decide(OUTLINE, pasts, EventTime(45 * 3_600_000)).choices
    assert (second.moved, second.touched, second.steps) == (False, True, 0)


def test_checkpoints_back_are_those_of_the_busiest_source() -> None:
    quiet = TaskName("events", 1)
    pasts = {SOURCE: source(50, 40, 30, 20), quiet: source(38, 5, partition=1), READER: reader(12)}
    decision = decide(OUTLINE, pasts, Back(2))
    found = {choice.name: choice.inputs[0].read_from for choice in decision.choices}
    assert (found[SOURCE], found[quiet]) == (30, 5)


def test_by_the_clock_readers_go_at_least_as_far() -> None:
    pasts = {SOURCE: source(50, 40), READER: reader(48, 30, 20)}
    first, second = decide(OUTLINE, pasts, ClockTime(55_000)).choices
    assert (first.moved, second.moved) == (False, False)
    first, second = decide(OUTLINE, pasts, ClockTime(40_000)).choices
    assert (first.inputs[0].read_from, second.inputs[0].read_from) == (40, 150)


def test_out_of_reach_it_begins_anew_if_that_is_asked_for() -> None:
    pasts = {SOURCE: source(50, 40), READER: reader(49, 30)}
    decision = decide(OUTLINE, pasts, EventTime(0))
    assert decision.out_of_reach == [SOURCE, READER]
    decision = decide(OUTLINE, pasts, EventTime(0), rebuild=True)
    first, second = decision.choices
    assert decision.out_of_reach == []
    assert (first.anew, first.inputs[0].read_from, first.undone_rows) == (True, 0, 3)
    # All that its only writer ever wrote is withdrawn: there is nothing to read again.
    assert (second.anew, second.inputs[0].read_from, second.cuts) == (True, 300, {0: EVERYTHING})
    assert decide(OUTLINE, pasts, Edge.START).out_of_reach == []


def test_a_cut_is_where_the_next_output_will_be() -> None:
    at = (("events", 0, 7),)
    assert cut_of(TaskMeta(), "t") == EVERYTHING
    assert cut_of(TaskMeta(positions=at), "t") == (6 << INDEX_BITS) + DRAIN_INDEX
    decided = TaskMeta(positions=at, decided=(2, 5))
    assert cut_of(decided, "t") == (6 << INDEX_BITS) + DRAIN_INDEX + 5
    assert cut_of(TaskMeta(positions=at, drained=True), "t") == 7 << INDEX_BITS
    shifted = TaskMeta(positions=at, shifts={"t": 3})
    assert cut_of(shifted, "t") == (9 << INDEX_BITS) + DRAIN_INDEX
    assert cut_of(shifted, "other") == (6 << INDEX_BITS) + DRAIN_INDEX
    many = TaskMeta(positions=at, decided=(1, DRAIN_INDEX + 1), drained=True)
    assert cut_of(many, "t") == 8 << INDEX_BITS


def test_a_rewound_checkpoint_goes_on_counting() -> None:
    pasts = {SOURCE: source(50, 40), READER: reader(49, 30)}
    first, _ = decide(OUTLINE, pasts, EventTime(45 * 3_600_000)).choices
    meta = new_meta(first, "r1")
    assert (meta.sequence, meta.timeline, meta.forks) == (11, "r1", (("", 9),))
    assert meta.positions == (("events", 0, 40),)


class Click(Struct):
    user: str


class Clicks(Struct):
    clicks: int


@pipeline(quiet=timedelta(seconds=30), idle=timedelta(seconds=5))
def quiet_clicks(clicks: Stream[Click]) -> Output:
    return (
        clicks.key_by(lambda c: c.user, name="by-user")
        .window(tumbling(timedelta(seconds=10)))
        .aggregate(Clicks, clicks=count(), name="clicks")
        .to("quiet-clicks")
    )


def test_an_outline_is_kept_as_bytes() -> None:
    outline = outline_of(quiet_clicks.plan())
    assert decode_outline(encode_outline(outline)) == outline
    assert [(sub.name, sub.writers) for sub in outline.subs] == [
        ("clicks", ()),
        ("by-user", ("clicks",)),
    ]


def counted(t: Driver) -> dict[object, int]:
    """The newest results."""
    return {(r.key, r.timestamp): r.value["value"]["clicks"] for r in t.read("quiet-clicks")}


def test_what_silence_decided_is_decided_again() -> None:
    with drive(quiet_clicks, partitions=2) as t:
        for number in range(40):
            t.send("clicks", Click(f"u{number % 3}"), key=f"c{number}", timestamp=number * 1_000)
        t.wait(timedelta(minutes=2))
        before = counted(t)
        assert sum(before.values()) == 40
        t.rewind("start")
        t.wait(timedelta(minutes=2))
        assert counted(t) == before


def test_the_driver_says_where_it_can_go() -> None:
    with (
        drive(quiet_clicks) as t,
        pytest.raises(UsageError, match=r"'start', 'end', a datetime, or checkpoints back"),
    ):
        t.rewind(3)


def test_a_datetime_is_event_time() -> None:
    with drive(quiet_clicks) as t:
        for number in range(3):
            t.send("clicks", Click("u"), timestamp=number * 20_000)
            t.run()
        t.rewind(datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC))
        (name, *_) = t._worker.task_names
        assert t._worker.task(name)._store.meta.stream_time_ms == 20_000
