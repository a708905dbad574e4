"""Values that nobody looks at behind a repartition topic are not written to it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import (
    Output,
    Stream,
    Table,
    Windowed,
    count,
    hopping,
    pipeline,
    sessions,
    sliding,
    sum_,
    tumbling,
)
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.windows.kinds import Windows

MINUTE = timedelta(minutes=1)


class Click(Struct):
    user: str
    ms: int


class Stats(Struct):
    clicks: int
    ms: float


def written(
    flow: Callable[[Stream[Click]], Stream[Any] | Table[Any]],
) -> tuple[list[bytes | None], list[Any]]:
    """The values in the repartition topic, and the results of three clicks of two users."""

    @pipeline(name="clicks")
    def run(clicks: Stream[Click]) -> Output:
        return flow(clicks.key_by(lambda click: click.user, name="by-user")).to("out")

    with drive(run, partitions=1) as t:
        for number, user in enumerate(["ann", "bob", "ann"]):
            t.send("clicks", Click(user, number), timestamp=1000 * number)
        t.drain()
        (between,) = t.log.topics["clicks.by-user.repartition"]
        names = [row[0][0] for row in between.columns.headers or []]
        values = [
            value
            for value, name in zip(between.columns.values, names, strict=True)
            if name == "streamlog"
        ]
        results = [record.value for record in t.read("out")]
    return values, results


@pytest.mark.parametrize(
    "windows",
    [tumbling(MINUTE), hopping(MINUTE, advance=MINUTE), sliding(MINUTE), sessions(MINUTE)],
)
def test_behind_a_cut_that_leads_to_counts_records_have_no_values(windows: Windows) -> None:
    values, results = written(lambda clicks: clicks.window(windows).count())
    assert values == [None] * 3
    counts = sorted(result["value"] for result in results)
    assert counts[-1] == 2
    assert counts[0] == 1


def test_a_table_of_counts_needs_no_values_either() -> None:
    values, results = written(lambda clicks: clicks.count())
    assert values == [None] * 3
    assert len(results) == 3


def _stats(clicks: Stream[Click]) -> Stream[Windowed[Stats]]:
    return clicks.window(tumbling(MINUTE)).aggregate(
        Stats, clicks=count(), ms=sum_(lambda click: click.ms)
    )


@pytest.mark.parametrize(
    "flow",
    [
        _stats,
        lambda clicks: clicks.window(tumbling(MINUTE)).sum_(lambda click: click.ms),
        lambda clicks: clicks.filter(lambda click: click.ms > 0).window(tumbling(MINUTE)).count(),
        lambda clicks: clicks.window(tumbling(MINUTE)).late().map(lambda click: click.ms, to=int),
        lambda clicks: clicks.window(sliding(MINUTE)).max_(lambda click: click.ms, to=int),
    ],
)
def test_values_that_are_looked_at_are_there(
    flow: Callable[[Stream[Click]], Stream[Any] | Table[Any]],
) -> None:
    values, _ = written(flow)
    assert len(values) == 3
    assert None not in values


def test_late_records_beside_a_count_keep_their_values() -> None:
    @pipeline(name="clicks")
    def run(clicks: Stream[Click]) -> Output:
        window = clicks.key_by(lambda click: click.user, name="by-user").window(tumbling(MINUTE))
        window.late().to("late")
        return window.count().to("out")

    with drive(run, partitions=1) as t:
        t.send("clicks", Click("ann", 1), timestamp=0)
        t.send("clicks", Click("ann", 2), timestamp=600_000)
        t.send("clicks", Click("ann", 3), timestamp=0)
        t.drain()
        assert [record.value for record in t.read("late", Click)] == [Click("ann", 3)]


def test_the_layout_of_the_state_says_that_values_are_left_out() -> None:
    @pipeline(name="clicks")
    def counts(clicks: Stream[Click]) -> Output:
        by_user = clicks.key_by(lambda click: click.user, name="by-user")
        return by_user.window(tumbling(MINUTE)).count().to("out")

    (layout,) = [sub.layout for sub in counts.plan().sub_topologies if sub.name == "by-user"]
    assert layout["by-user (input)"] == "written from clicks, without values"
