"""Verbs that look at one record at a time, as far as they change more than its value."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
import trio

from streamlog import Output, Stream, pipeline, tumbling
from streamlog.errors import UsageError
from streamlog.processing.errors import PlanError, RecordFailure
from streamlog.testing import drive


class Order(msgspec.Struct):
    item: str
    cents: int


def test_split_sends_each_record_one_way() -> None:
    @pipeline
    def parts(orders: Stream[Order]) -> tuple[Output, ...]:
        dear, cheap, _ = orders.split(lambda o: o.cents > 100, lambda o: o.cents < 10)
        return dear.to("dear"), cheap.to("cheap")

    with drive(parts) as t:
        for cents in (5, 50, 500, 101, 1):
            t.send("orders", Order("tea", cents))
        t.run()
        assert [r.value["cents"] for r in t.read("dear")] == [500, 101]
        assert [r.value["cents"] for r in t.read("cheap")] == [5, 1]


def test_the_first_condition_that_holds_takes_the_record() -> None:
    @pipeline
    def parts(orders: Stream[Order]) -> tuple[Output, ...]:
        one, two, rest = orders.split(lambda o: o.cents > 1, lambda o: o.cents > 0)
        return one.to("one"), two.to("two"), rest.to("rest")

    with drive(parts) as t:
        for cents in (2, 1, 0):
            t.send("orders", Order("tea", cents))
        t.run()
        found = [[r.value["cents"] for r in t.read(topic)] for topic in ("one", "two", "rest")]
        assert found == [[2], [1], [0]]


def test_with_key_with_timestamp_and_headers_are_what_is_written() -> None:
    @pipeline
    def shaped(orders: Stream[Order]) -> Output:
        return (
            orders.with_key(lambda o: o.item)
            .with_timestamp(lambda o: o.cents)
            .to("shaped", headers=lambda o: [("item", o.item.encode())])
        )

    with drive(shaped) as t:
        t.send("orders", Order("tea", 7), key="k", timestamp=99)
        t.run()
        (record,) = t.read("shaped")
        assert (record.key, record.timestamp) == ("tea", 7)
        assert t.log.partition("shaped", 0).columns.headers == [(("item", b"tea"),)]


def test_with_context_shows_key_time_and_address() -> None:
    @pipeline
    def shown(orders: Stream[Order]) -> Output:
        return (
            orders.with_context()
            .map(lambda m: f"{m.key!r} {m.timestamp} {m.partition} {m.offset} {m.header('h')!r}")
            .to("shown")
        )

    with drive(shown, partitions=2) as t:
        t.send("orders", Order("tea", 7), key="k", timestamp=99, partition=1)
        t.log.partition("orders", 1).append(
            [b"j"], [b'{"item":"a","cents":1}'], [5], [(("h", b"x"),)]
        )
        t.run()
        assert [r.value for r in t.read("shown")] == ["b'k' 99 1 0 None", "b'j' 5 1 1 b'x'"]


def test_repartition_spreads_what_follows() -> None:
    @pipeline
    def spread(orders: Stream[Order]) -> Output:
        again = orders.map(lambda o: o, to=Order).repartition(5, name="spread")
        return again.map(lambda o: o.item).to("items")

    plan = spread.plan()
    assert [sub.name for sub in plan.sub_topologies] == ["orders", "spread"]
    with drive(spread, partitions=2) as t:
        assert t.log.partition_counts["spread.spread.repartition"] == 5
        for number in range(20):
            t.send("orders", Order(str(number), 1), key=str(number))
        t.run()
        assert sorted(int(r.value) for r in t.read("items")) == list(range(20))


async def doubled(order: Order) -> Order:
    """Twice as dear."""
    await trio.lowlevel.checkpoint()
    return Order(order.item, order.cents * 2)


def test_map_async_keeps_order_and_passes_types_on() -> None:
    @pipeline
    def doubles(orders: Stream[Order]) -> tuple[Output, Output]:
        twice = orders.filter(lambda o: o.cents % 5 != 0).map_async(doubled, concurrency=3)
        summed = twice.key_by(lambda o: o.item).window(tumbling(timedelta(seconds=1)))
        return twice.to("doubled"), summed.sum_(lambda o: o.cents).to("sums")

    with drive(doubles, partitions=2, seed=3) as t:
        for cents in range(100):
            t.send("orders", Order("ab"[cents % 2], cents), key=str(cents % 7), timestamp=cents)
        t.run()
        t.crash()
        t.drain()
        found: dict[object, list[int]] = {}
        for record in t.read("doubled"):
            found.setdefault(record.key, []).append(record.value["cents"])
        expected = [2 * cents for cents in range(100) if cents % 5]
        assert sorted(cents for each in found.values() for cents in each) == expected
        assert all(each == sorted(each) for each in found.values())
        sums = {r.key: r.value["value"] for r in t.read("sums")}
        assert sums == {
            "a": sum(each for each in expected if each % 4 == 0),
            "b": sum(each for each in expected if each % 4 == 2),
        }


def test_calls_of_one_key_are_never_under_way_together_and_others_are() -> None:
    under_way: set[str] = set()
    most = 0

    async def watched(order: Order) -> str:
        nonlocal most
        assert order.item not in under_way
        under_way.add(order.item)
        most = max(most, len(under_way))
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        under_way.remove(order.item)
        return order.item

    @pipeline
    def watches(orders: Stream[Order]) -> Output:
        return orders.map_async(watched, concurrency=4).to("watched")

    with drive(watches) as t:
        for number in range(60):
            t.send("orders", Order(str(number % 6), 1), key=str(number % 6))
        t.run()
        assert len(t.read("watched")) == 60
    assert most == 4


def test_a_call_is_made_again_and_then_fails_with_the_users_line() -> None:
    calls = []

    async def fails(order: Order) -> Order:
        calls.append(order.item)
        raise ConnectionError("nobody there")

    @pipeline
    def failing(orders: Stream[Order]) -> Output:
        return orders.map_async(fails, retries=1).to("out")

    with drive(failing) as t:
        t.send("orders", Order("tea", 1))
        with pytest.raises(RecordFailure, match=r"map_async-fails .*test_dsl_.*nobody there"):
            t.run()
    assert calls == ["tea", "tea"]


def test_map_async_stands_only_where_a_chunk_can_be_walked_ahead() -> None:
    @pipeline
    def behind(orders: Stream[Order]) -> Output:
        counted = orders.window(tumbling(timedelta(seconds=1))).count()
        return counted.map_async(lambda_like).to("out")

    with pytest.raises(PlanError, match=r"stands behind count .*repartition"):
        behind.plan()


async def lambda_like(value: object) -> str:
    """Any text."""
    await trio.lowlevel.checkpoint()
    return str(value)


def test_misuse_is_explained() -> None:
    def plan_of(body: object) -> None:
        @pipeline(name="wrong")
        def wrong(orders: Stream[Order]) -> None:
            body(orders)  # type: ignore[operator]

        wrong.plan()

    for body, message in (
        (lambda o: o.split(), "at least one condition"),
        (lambda o: o.map_async(lambda v: v), "takes an async function"),
        (lambda o: o.map_async(doubled, concurrency=0), "concurrency=…\\) is 0"),
        (lambda o: o.repartition(0), "repartition.* is 0"),
    ):
        with pytest.raises(UsageError, match=message):
            plan_of(body)
