"""Groups, order, copies and processors as the user writes them, and misuse of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import (
    GlobalTable,
    List,
    Map,
    Processor,
    Stream,
    Value,
    cogroup,
    collect,
    count,
    count_distinct,
    distinct,
    first,
    fold,
    max_,
    pipeline,
    quantile,
    reduce_,
    sessions,
    sum_,
    top_k,
    tumbling,
)
from streamlog.processing.dsl.nodes import OperatorNode
from streamlog.processing.errors import FunctionFailure, PlanError
from streamlog.testing import drive

if TYPE_CHECKING:
    from streamlog.processing.plan.plan import Plan


class Order(Struct):
    who: str
    amount: float


class Account(Struct):
    orders: int
    spent: float


class Numbers(Struct):
    numbers: list[int]


Draw = Callable[[Stream[Order]], object]


def plan_of(draw: Draw) -> Plan:
    @pipeline
    def drawn(orders: Stream[Order]) -> None:
        draw(orders)

    return drawn.plan()


def steps(draw: Draw) -> dict[str, str]:
    """Names of steps with state, and their layouts."""
    return {
        node.name: node.layout
        for sub in plan_of(draw).sub_topologies
        for node in sub.stateful
        if isinstance(node, OperatorNode)
    }


class Watch(Processor[Order, str]):
    seen: Map[str, int]
    last: Value[float]

    def process(self, key: bytes | None, value: Order, ctx: Any) -> Iterator[str]:  # noqa: ANN401
        yield value.who


def first_of(key: bytes | None, value: Order, ctx: Any, last: Value[int]) -> Iterator[float]:  # noqa: ANN401
    if last.get() is None:
        yield value.amount
    last.set(1)


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda o: o.count().to("x"), {"count": "grouped count"}),
        (lambda o: o.count(name="orders").to("x"), {"orders": "grouped count"}),
        (lambda o: o.reduce(max).to("x"), {"reduce-max": "grouped reduce"}),
        (
            lambda o: o.aggregate(Account, orders=count(), spent=sum_(lambda o: o.amount)).to("x"),
            {"account": "grouped orders=count spent=sum"},
        ),
        (
            lambda o: o.aggregate(Numbers, numbers=top_k(3, lambda o: 1)).to("x"),
            {"numbers": "grouped numbers=top_k(3)"},
        ),
        (
            lambda o: o.count(name="n").group_by(lambda n: n % 2, name="g").count().to("x"),
            {"n": "grouped count", "count": "regrouped count"},
        ),
        (
            lambda o: o.in_order(grace=timedelta(seconds=2)).to("x"),
            {"in-order": "in order grace 2000 ms"},
        ),
        (
            lambda o: o.dedup(lambda o: o.amount, within=timedelta(seconds=2)).to("x"),
            {"dedup-amount": "dedup within 2000 ms grace 0 ms"},
        ),
        (
            lambda o: o.process(Watch).to("x"),
            {"watch": "processor last: Value[float]; seen: Map[str, int]"},
        ),
        (lambda o: o.process(first_of).to("x"), {"first-of": "processor last: Value[int]"}),
    ],
)
def test_names_and_layouts(draw: Draw, expected: dict[str, str]) -> None:
    assert steps(draw) == expected


class NoProcess(Processor[Order, str]):
    pass


class NeedsMore(Processor[Order, str]):
    def __init__(self, minutes: int) -> None:
        self.minutes = minutes

    def process(self, key: bytes | None, value: Order, ctx: Any) -> list[str]:  # noqa: ANN401
        return []


class Unresolved(Processor[Order, str]):
    seen: Value[NotThere]  # type: ignore[name-defined]  # noqa: F821

    def process(self, key: bytes | None, value: Order, ctx: Any) -> list[str]:  # noqa: ANN401
        return []


class Bare(Processor[Order, str]):
    seen: Map  # type: ignore[type-arg]

    def process(self, key: bytes | None, value: Order, ctx: Any) -> list[str]:  # noqa: ANN401
        return []


class Unreadable(Processor[Order, str]):
    seen: List[object | complex]

    def process(self, key: bytes | None, value: Order, ctx: Any) -> list[str]:  # noqa: ANN401
        return []


class Awaits(Processor[Order, str]):
    async def process(self, key: bytes | None, value: Order, ctx: Any) -> list[str]:  # type: ignore[override]  # noqa: ANN401
        return []


def unknown_parameter(key: bytes, value: Order, ctx: Any, limit: int) -> list[str]:  # noqa: ANN401
    return []


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda o: o.map(lambda o: o.who).reduce(max), "reduce keeps the values, but their type"),
        (lambda o: o.map(lambda o: o.who).in_order(), "in_order keeps the values, but their type"),
        (lambda o: o.reduce("max"), "reduce takes a function"),
        (lambda o: o.aggregate(Account, orders=count()), "nothing fills spent"),
        (lambda o: o.aggregate(Account, orders=5), "takes an aggregate"),
        (lambda o: o.dedup(within=timedelta(0)), "within is .* at least 1"),
        (lambda o: o.dedup(within=5), "has to be a timedelta"),
        (lambda o: o.dedup("id", within=timedelta(1)), "dedup takes a function"),
        (lambda o: o.in_order(grace=timedelta(microseconds=1)), "whole milliseconds"),
        (lambda o: cogroup(Account), "no streams"),
        (lambda o: cogroup(Account, o), "takes fields of streams"),
        (
            lambda o: cogroup(
                Account, o.fields(orders=count(), spent=count()), o.fields(spent=max_(len))
            ),
            "field spent is filled by count.* and by max",
        ),
        (
            lambda o: o.count().group_by(lambda n: n).aggregate(Numbers, numbers=collect(limit=3)),
            r"collect\(3\).* cannot take back a row",
        ),
        (
            lambda o: o.count().group_by(lambda n: n).aggregate(Numbers, numbers=first()),
            "cannot take back a row",
        ),
        (
            lambda o: (
                o.count()
                .group_by(lambda n: n)
                .aggregate(Numbers, numbers=fold(0, lambda s, n: s + n))
            ),
            "cannot take back a row",
        ),
        (lambda o: o.count().group_by("who"), "group_by takes a function"),
        (lambda o: o.count().map(lambda n: n).group_by(lambda n: n), "type is not known"),
        (lambda o: bool(o.count().group_by(lambda n: n % 2)), "the truth of <grouped table"),
        (lambda o: o.process(5), "a subclass of Processor or a function"),
        (lambda o: o.process(NoProcess), "NoProcess has no method process"),
        (lambda o: o.process(NeedsMore), r"process\(NeedsMore\(…\)\)"),
        (lambda o: o.process(Unresolved), "cannot be resolved"),
        (lambda o: o.process(Bare), "declared as Map, but not of what"),
        (lambda o: o.process(Unreadable), "cannot be read back"),
        (lambda o: o.process(Awaits), "is async"),
        (lambda o: o.process(lambda value: [value]), "with key, value and context"),
        (lambda o: o.process(unknown_parameter), "declared by annotations"),
    ],
)
def test_misuse_is_refused_with_the_users_line(draw: Draw, message: str) -> None:
    with pytest.raises(PlanError, match=message) as caught:
        plan_of(draw)
    assert "test_dsl_keyed_verbs.py" in str(caught.value)


def test_a_fold_of_unknown_state_and_two_steps_of_one_name_are_refused() -> None:
    with pytest.raises(PlanError, match=r"state=list\[str\]"):
        plan_of(lambda o: o.aggregate(Numbers, numbers=fold(list, lambda s, o: [*s, o.who])))

    def two(orders: Stream[Order]) -> None:
        orders.count().to("a")
        orders.key_by(lambda o: o.who).count().to("b")

    with pytest.raises(PlanError, match="two steps are called count"):
        plan_of(two)


def test_late_records_leave_in_order_by_their_own_exit() -> None:
    @pipeline
    def ordered(orders: Stream[int]) -> None:
        steady = orders.in_order(grace=timedelta(seconds=1))
        steady.to("steady")
        steady.late().to("late")

    with drive(ordered) as t:
        for number, second in enumerate([5, 3, 4.5, 9, 7.5, 8.5]):
            t.send("orders", number, key="k", timestamp=int(second * 1000))
        t.run()
        assert [r.value for r in t.read("steady")] == [2, 0]
        t.drain()
        assert [r.value for r in t.read("steady")] == [5, 3]
        assert [r.value for r in t.read("late")] == [1, 4]
        assert t.late_records == 2


def test_a_processor_goes_on_where_it_was_after_crashes_and_lost_state() -> None:
    class Running(Processor[int, int]):
        total: Value[int]

        def __init__(self, factor: int) -> None:
            self.factor = factor

        def process(self, key: bytes | None, value: int, ctx: Any) -> Iterator[int]:  # noqa: ANN401
            self.total.set(self.total.get(0) + value * self.factor)
            yield self.total.get(0)

    @pipeline
    def totals(numbers: Stream[int]) -> None:
        numbers.process(Running(2)).to("totals")

    with drive(totals, partitions=2) as t:
        for number in range(4):
            t.send("numbers", number, key=f"{number % 2}")
        t.run()
        t.delete_state()
        for number in range(4):
            t.send("numbers", 10, key=f"{number % 2}")
        t.run()
        assert sorted(record.value for record in t.read("totals")) == [
            0, 2, 4, 8, 24, 28, 44, 48
        ]  # fmt: skip


def test_a_processor_that_raises_is_named_with_the_users_line() -> None:
    def broken(key: bytes | None, value: int, ctx: Any) -> Iterator[int]:  # noqa: ANN401
        yield 1 // value

    @pipeline
    def failing(numbers: Stream[int]) -> None:
        numbers.process(broken).to("out")

    with drive(failing) as t:
        t.send("numbers", 0, key="k")
        with pytest.raises(FunctionFailure, match=r"broken .*ZeroDivisionError") as caught:
            t.run()
        assert "test_dsl_keyed_verbs.py" in caught.value.location


def test_types_that_are_local_to_a_function_serve_as_state() -> None:
    class Local(Struct):
        total: int

    class Uses(Processor[int, int]):
        kept: Value[Local]

        def process(self, key: bytes | None, value: int, ctx: Any) -> Iterator[int]:  # noqa: ANN401
            before = self.kept.get(Local(0))
            self.kept.set(Local(before.total + value))
            yield before.total

    @pipeline
    def local(numbers: Stream[int]) -> None:
        numbers.process(Uses).to("out")

    with drive(local) as t:
        for number in (1, 2, 3):
            t.send("numbers", number, key="k")
        t.run()
        assert [record.value for record in t.read("out")] == [0, 1, 3]


def test_behind_in_order_and_a_join_a_timer_comes_before_the_record_of_its_moment() -> None:
    class Pairs(Processor[int, str]):
        def process(self, key: bytes | None, value: int, ctx: Any) -> Iterator[str]:  # noqa: ANN401
            ctx.timer(ctx.timestamp + 10)
            yield f"record at {ctx.timestamp}"

        def on_timer(self, key: bytes | None, timer: Any, ctx: Any) -> Iterator[str]:  # noqa: ANN401
            yield f"timer at {ctx.timestamp}"

    @pipeline
    def pairs(numbers: Stream[int], names: GlobalTable[str]) -> None:
        ordered = numbers.in_order().join(names, lambda n, name: n, how="left", to=int)
        ordered.process(Pairs).to("out")

    with drive(pairs) as t:
        for timestamp in (0, 5, 15, 90_000):
            t.send("numbers", 1, key="k", timestamp=timestamp)
        t.run()
        assert [record.value for record in t.read("out")] == [
            "record at 0",
            "record at 5",
            "timer at 15",
            "record at 15",
            "timer at 25",
        ]


def test_timers_on_the_wall_fire_though_no_record_comes_and_once_whatever_crashes() -> None:
    class Reminder(Processor[int, str]):
        orders: List[int]

        def process(self, key: bytes | None, value: int, ctx: Any) -> None:  # noqa: ANN401
            if value < 0:
                ctx.cancel_wall("remind")
            else:
                self.orders.append(value)
                ctx.wall_timer(ctx.timestamp + 5_000, "remind")

        def on_timer(self, key: bytes | None, timer: Any, ctx: Any) -> Iterator[str]:  # noqa: ANN401
            assert timer.wall
            yield f"{timer.name} {list(self.orders)} due at {timer.at:%S}"
            if len(self.orders) < 3:
                self.orders.append(0)
                ctx.wall_timer(timer.at + timedelta(seconds=4), "again")

    @pipeline
    def reminders(orders: Stream[int]) -> None:
        orders.process(Reminder).to("reminders")

    with drive(reminders) as t:
        t.send("orders", 1, key="k", timestamp=0)
        t.send("orders", 2, key="gone", timestamp=0)
        t.send("orders", -2, key="gone", timestamp=1)
        t.wait(timedelta(seconds=4))
        assert t.read("reminders") == []
        t.wait(timedelta(seconds=2))
        assert [r.value for r in t.read("reminders")] == ["remind [1] due at 05"]
        t.crash("outputs")
        t.wait(timedelta(seconds=60))
        found = [r.value for r in t.read("reminders")]
        assert list(dict.fromkeys(found)) == ["again [1, 0] due at 09", "again [1, 0, 0] due at 13"]
        t.delete_state()
        t.wait(timedelta(seconds=60))
        assert t.read("reminders") == []


class Summary(Struct):
    recent: list[int]
    different: set[int]
    kinds: int
    median: float | None
    best: list[int]
    product: int
    largest: int


@pytest.mark.parametrize(
    "windows", [tumbling(timedelta(seconds=1)), sessions(timedelta(seconds=1))]
)
def test_every_kind_of_aggregate_has_its_place_in_windows(windows: Any) -> None:  # noqa: ANN401
    @pipeline
    def summaries(numbers: Stream[int]) -> None:
        numbers.window(windows).aggregate(
            Summary,
            recent=collect(limit=3, latest=True),
            different=distinct(lambda n: n),
            kinds=count_distinct(lambda n: n),
            median=quantile(lambda n: n, 0.5),
            best=top_k(2),
            product=fold(1, lambda product, n: product * n, merge=lambda a, b: a * b),
            largest=reduce_(max),
        ).to("out")

    with drive(summaries) as t:
        for at, number in enumerate([2, 3, 5, 3]):
            t.send("numbers", number, key="k", timestamp=at * 100)
        t.run()
        t.delete_state()
        t.drain()
        (record,) = t.read("out")
        value = record.value["value"]
        assert value.pop("median") == pytest.approx(3, rel=0.01)
        assert value == {
            "recent": [3, 5, 3],
            "different": [2, 3, 5],
            "kinds": 3,
            "best": [5, 3],
            "product": 90,
            "largest": 5,
        }
