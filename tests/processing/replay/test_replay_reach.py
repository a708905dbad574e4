"""How far results are complete, by what tasks say of themselves, and what kind they are."""

from __future__ import annotations

from datetime import timedelta

import pytest
from msgspec import Struct

from streamlog import Output, Stream, count, pipeline, tumbling
from streamlog.processing.replay.diff import ALWAYS, NEVER
from streamlog.processing.replay.reach import TaskEnds, TopicKind, kind_of, looks_back_ms, reach
from streamlog.processing.replay.result import Kind
from streamlog.processing.state.meta import TaskMeta, WriterMeta

HOUR_MS = 3_600_000


class Click(Struct):
    """An input."""

    url: str


class Hits(Struct):
    """A result."""

    hits: int


@pipeline
def hits(clicks: Stream[Click]) -> Output:
    """Copies, rows and windows."""
    clicks.to("copies")
    keyed = clicks.key_by(lambda click: click.url, name="by-url")
    keyed.count(name="totals").to("totals")
    windows = keyed.window(tumbling(timedelta(hours=1)), grace=timedelta(minutes=30))
    results = windows.aggregate(Hits, hits=count(), name="hits")
    results.map(lambda each: Hits(each.value.hits), to=Hits).to("mapped")
    return results.to("hits")


PLAN = hits.plan()
COUNTS = {"by-url": 2}


def source(time: int | None, *, drained: bool = False) -> TaskMeta:
    return TaskMeta(sequence=1, stream_time_ms=time, drained=drained)


def counting(
    *times: int | None, closed: int | None = None, idle: int = -1, drained: bool = False
) -> TaskMeta:
    writers = tuple(
        WriterMeta(number, 1, 1, time, drained, idle=number == idle)
        for number, time in enumerate(times)
    )
    return TaskMeta(
        sequence=1,
        writers=writers,
        closed_through={} if closed is None else {"hits": closed},
        layout={"hits": "tumbling", "totals": "count"},
    )


def through(topic: str, ends: TaskEnds, *, to_the_end: bool = True) -> int:
    return reach(PLAN, topic, ends, COUNTS, to_the_end=to_the_end)


def test_windows_are_complete_up_to_where_the_slowest_task_has_closed_them() -> None:
    ends = {"clicks": [source(9 * HOUR_MS)], "by-url": [
        counting(9 * HOUR_MS, 9 * HOUR_MS, closed=8 * HOUR_MS),
        counting(9 * HOUR_MS, 7 * HOUR_MS, closed=6 * HOUR_MS),
    ]}  # fmt: skip
    assert through("hits", ends) == through("mapped", ends) == 6 * HOUR_MS


def test_a_task_that_has_closed_nothing_holds_all_back() -> None:
    ends = {"by-url": [counting(9 * HOUR_MS, 9 * HOUR_MS, closed=8 * HOUR_MS), counting(0, None)]}
    assert through("hits", ends) == NEVER


def test_what_passes_at_once_is_complete_up_to_the_tasks_time() -> None:
    assert through("copies", {"clicks": [source(90), source(70)]}) == 70


def test_a_partition_without_a_record_holds_nobody_back() -> None:
    assert through("copies", {"clicks": [source(90), source(None)]}) == 90


def test_drained_tasks_have_put_out_everything_unless_somebody_has_read_more() -> None:
    ends = {"by-url": [counting(9 * HOUR_MS, 9 * HOUR_MS, closed=12 * HOUR_MS, drained=True)]}
    assert through("hits", ends) == ALWAYS
    assert through("hits", ends, to_the_end=False) == 9 * HOUR_MS - HOUR_MS // 2


def test_steps_of_other_names_are_judged_by_the_slowest_of_all_tasks() -> None:
    renamed = counting(9 * HOUR_MS, 8 * HOUR_MS, closed=7 * HOUR_MS)
    other = TaskMeta(sequence=1, writers=renamed.writers, layout={"old": "tumbling"})
    assert through("hits", {"by-old": [other, source(9 * HOUR_MS)]}) == 8 * HOUR_MS - HOUR_MS // 2


def test_an_idle_writer_is_not_waited_for() -> None:
    renamed = counting(9 * HOUR_MS, 2 * HOUR_MS, idle=1)
    other = TaskMeta(sequence=1, writers=renamed.writers)
    assert through("hits", {"by-url": [other]}) == 9 * HOUR_MS - HOUR_MS // 2


def test_nobody_who_has_run_says_anything() -> None:
    assert through("hits", {}) == ALWAYS


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("copies", TopicKind(Kind.EVENTS)),
        ("totals", TopicKind(Kind.ROWS)),
        ("hits", TopicKind(Kind.WINDOWS, HOUR_MS, waits=True)),
        ("mapped", TopicKind(Kind.WINDOWS, HOUR_MS, waits=True)),
    ],
)
def test_the_last_step_with_state_says_what_a_topic_holds(topic: str, kind: TopicKind) -> None:
    assert kind_of(PLAN, topic) == kind


def test_windows_and_counts_do_not_look_back() -> None:
    assert looks_back_ms(PLAN) == 0
