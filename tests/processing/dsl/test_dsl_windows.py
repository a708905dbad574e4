"""Windows as the user writes them: types, the nodes that come of it, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import (
    Output,
    Stream,
    Windowed,
    collect,
    count,
    count_windows,
    fold,
    hopping,
    mean,
    months,
    pipeline,
    sessions,
    sliding,
    tumbling,
)
from streamlog.processing.dsl.nodes import OperatorNode, WindowNode
from streamlog.processing.errors import PlanError
from streamlog.processing.plan.homes import own_lag
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import assert_type

    from streamlog.processing.dsl.nodes import StatefulNode
else:

    def assert_type(value: object, _: object) -> object:
        return value


HOUR = timedelta(hours=1)


class Click(Struct):
    user: str
    ms: float


class Visit(Struct):
    clicks: int
    mean_ms: float | None


@pipeline
def typed(clicks: Stream[Click]) -> list[Output]:
    by_user = clicks.key_by(lambda click: click.user)
    hops = by_user.window(hopping(HOUR, advance=HOUR / 4), emit="changes").count(name="hops")
    assert_type(hops, Stream[Windowed[int]])
    visited = by_user.window(sessions(HOUR), emit=timedelta(minutes=1))
    late = visited.late()
    assert_type(late, Stream[Click])
    visits = visited.aggregate(Visit, clicks=count(), mean_ms=mean(lambda click: click.ms))
    assert_type(visits, Stream[Windowed[Visit]])
    slow = by_user.window(sliding(HOUR), grace=HOUR).mean(lambda click: click.ms)
    assert_type(slow, Stream[Windowed[float | None]])
    tens = by_user.window(count_windows(10)).count(name="tens")
    monthly = by_user.window(months(zone="Europe/Berlin")).count(name="monthly")
    plain = by_user.window(tumbling(HOUR)).count(name="plain")
    half_past = by_user.window(tumbling(HOUR, offset=HOUR / 2), grace=HOUR / 2).count(name="offset")
    results: list[Stream[Any]] = [hops, late, visits, slow, tens, monthly, plain, half_past]
    return [each.to(f"out-{number}") for number, each in enumerate(results)]


def stateful(plan_of: Any) -> dict[str, StatefulNode]:  # noqa: ANN401 (a pipeline)
    return {node.name: node for sub in plan_of.plan().sub_topologies for node in sub.stateful}


def test_only_the_plain_window_is_part_of_the_fused_function() -> None:
    found = stateful(typed)
    assert isinstance(found.pop("plain"), WindowNode)
    assert len(found) == 6 + 1, "six windows and the late records"
    assert all(isinstance(each, OperatorNode) for each in found.values())


def test_results_lag_and_time_passes_as_the_windows_need_it() -> None:
    found: Any = stateful(typed)
    del found["plain"]
    minute = 60_000
    lags = {name: (own_lag(node) / minute, node.tick_ms / minute) for name, node in found.items()}
    year = 365 * 24 * 60
    assert lags == {
        "hops": (0, 15),  # each change comes out at once
        "late": (0, 1),
        "visit": (61, 1),  # the grace is the gap's, and changes wait for a minute
        "mean-ms": (62, 2),
        "tens": (0, year),
        "monthly": (15, 15),
        "offset": (30, 60),  # it closes when time is told, not later
    }


def test_windows_in_a_layout_are_told_apart() -> None:
    nodes = [node for node in stateful(typed).values() if isinstance(node, OperatorNode)]
    layouts = {node.name: node.layout for node in nodes}
    assert layouts["hops"].endswith("emit=changes count")
    assert layouts["visit"].startswith("SessionWindows(gap_ms=3600000) emit=every 60000 ms")
    assert layouts["monthly"].startswith("CalendarWindows(unit='month', size=1, advance=1, zone=")
    assert len(set(layouts.values())) == len(layouts)


def refused(build: Callable[[Stream[Click]], object]) -> str:
    @pipeline
    def wrong(clicks: Stream[Click]) -> Output:
        build(clicks.key_by(lambda click: click.user))
        return clicks.to("out")

    with pytest.raises(PlanError) as caught:
        wrong.plan()
    assert "test_dsl_windows.py:" in str(caught.value)
    return f"{caught.value} {caught.value.hint}"


def test_misuse_teaches_with_the_line() -> None:
    def add(state: int, click: Click) -> int:
        return state + 1

    counted: Any = count_windows(3)
    for build, said in [
        (lambda s: s.window(HOUR), "hopping, sliding, sessions"),
        (lambda s: s.window(tumbling(HOUR), emit="sometimes"), 'emit="changes"'),
        (lambda s: s.window(tumbling(HOUR), grace=3), "grace is 3"),
        (lambda s: s.window(counted, grace=HOUR), "none of their records is ever late"),
        (lambda s: s.window(counted, emit=HOUR), "not come out at intervals"),
        (lambda s: s.window(counted).late(), "time does not close them"),
        (lambda s: bool(s.window(tumbling(HOUR))), "holds no records yet"),
        (
            lambda s: s.window(sessions(HOUR)).aggregate(Visit, clicks=fold(int, add), mean_ms=X),
            "how two of it become one",
        ),
    ]:
        assert said in refused(build)


X: Any = mean(lambda click: click.ms)


def test_steps_of_one_name_are_refused() -> None:
    @pipeline
    def twice(clicks: Stream[Click]) -> list[Output]:
        by_user = clicks.key_by(lambda click: click.user)
        first, second = (by_user.window(sessions(gap)).count() for gap in (HOUR, 2 * HOUR))
        return [first.to("a"), second.to("b")]

    with pytest.raises(PlanError, match="count"):
        twice.plan()


class Seen(Struct):
    users: list[str]


@pipeline
def sessions_to_days(clicks: Stream[Click]) -> Output:
    """A window behind a window: results of the first are in time for the second."""
    return (
        clicks.key_by(lambda click: click.user)
        .window(sessions(timedelta(minutes=30)))
        .aggregate(Seen, users=collect(lambda click: click.user, limit=10))
        .window(tumbling(timedelta(days=1), zone="America/New_York"), emit="changes")
        .count(name="sessions-a-day")
        .to("daily")
    )


def test_sessions_are_counted_by_the_day_in_new_york() -> None:
    with drive(sessions_to_days) as t:
        for at in ("2013-03-10T04:30", "2013-03-10T05:30", "2013-03-10T15:00", "2013-03-11T03:59"):
            moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
            t.send("clicks", Click("ann", 1.0), timestamp=moment)
        t.drain()
        assert t.late_records == 0
        assert [(r.value["start"], r.value["end"], r.value["value"]) for r in t.read("daily")] == [
            ("2013-03-09T05:00:00Z", "2013-03-10T05:00:00Z", 1),
            ("2013-03-10T05:00:00Z", "2013-03-11T04:00:00Z", 1),
            ("2013-03-10T05:00:00Z", "2013-03-11T04:00:00Z", 2),
            ("2013-03-10T05:00:00Z", "2013-03-11T04:00:00Z", 3),
        ]
