"""The public test driver: send, run, read, crash."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct

from streamlog import GlobalTable, Output, Stream, Windowed, count, last, pipeline, tumbling
from streamlog.errors import UsageError
from streamlog.testing import Driver, Record, drive
from streamlog.testing.memory_worker import STEPS, CheckpointStep


class Sale(Struct):
    shop: str
    cents: int


class Shop(Struct):
    town: str


class Sales(Struct):
    town: str
    sales: int


@pipeline
def sales_per_shop(sales: Stream[Sale], shops: GlobalTable[Shop]) -> Output:
    return (
        sales.key_by(lambda s: s.shop)
        .join(shops, lambda s, shop: shop)
        .window(tumbling(timedelta(minutes=1)), grace=timedelta(seconds=10))
        .aggregate(Sales, town=last(lambda shop: shop.town), sales=count())
        .to("sales-per-shop")
    )


def send_sales(t: Driver, count_: int, *, start: int = 0) -> None:
    for number in range(start, start + count_):
        sale = Sale("abc"[number % 3], number)
        t.send("sales", sale, key=f"sale-{number}", timestamp=number * 1_000)


def send_shops(t: Driver) -> None:
    for shop, town in {"a": "Aarhus", "b": "Brno", "c": "Cork"}.items():
        t.send("shops", Shop(town), key=shop)


def totals(records: list[Record]) -> Counter[object]:
    """Sales by shop; a result that was written twice is counted once."""
    found: dict[tuple[object, int], int] = {}
    for record in records:
        found[record.key, record.timestamp] = record.value["value"]["sales"]
    summed: Counter[object] = Counter()
    for (key, _), sales in found.items():
        summed[key] += sales
    return summed


def test_results_come_out_when_time_has_passed_and_the_rest_with_drain() -> None:
    with drive(sales_per_shop) as t:
        send_shops(t)
        send_sales(t, 75)
        t.run()
        first = t.read("sales-per-shop", Windowed[Sales])
        assert [(r.key, r.value.value) for r in first] == [
            ("a", Sales("Aarhus", 20)),
            ("b", Sales("Brno", 20)),
            ("c", Sales("Cork", 20)),
        ]
        assert first[0].value.end == datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
        assert t.read("sales-per-shop") == []
        t.drain()
        assert [r.value["value"]["sales"] for r in t.read("sales-per-shop")] == [5, 5, 5]


def test_late_records_are_counted() -> None:
    with drive(sales_per_shop) as t:
        send_shops(t)
        send_sales(t, 75)
        t.send("sales", Sale("a", 1), timestamp=5_000)
        t.run()
        assert t.late_records == 1
        t.crash()
        assert t.late_records == 1


@pytest.mark.parametrize("partitions", [1, 3, {"sales": 4, "sales-per-shop": 2}])
@pytest.mark.parametrize("seed", [None, 1, 2])
def test_partitions_and_order_do_not_matter(
    partitions: int | dict[str, int], seed: int | None
) -> None:
    with drive(sales_per_shop, partitions=partitions, seed=seed) as t:
        send_shops(t)
        send_sales(t, 300)
        t.drain()
        assert totals(t.read("sales-per-shop")) == {"a": 100, "b": 100, "c": 100}


@pytest.mark.parametrize("at", [None, *STEPS])
@pytest.mark.parametrize("lost", [False, True])
def test_a_crash_anywhere_counts_nothing_twice(at: CheckpointStep | None, *, lost: bool) -> None:
    with drive(sales_per_shop, partitions=2, seed=5) as t:
        send_shops(t)
        for begin in range(0, 300, 50):
            send_sales(t, 50, start=begin)
            if begin % 100:
                t.run()
            t.crash(at)
            if lost:
                t.delete_state()
        t.drain()
        assert totals(t.read("sales-per-shop")) == {"a": 100, "b": 100, "c": 100}


def test_a_drained_pipeline_goes_on() -> None:
    with drive(sales_per_shop) as t:
        send_shops(t)
        send_sales(t, 60)
        t.drain()
        send_sales(t, 60, start=60)
        t.drain()
        assert totals(t.read("sales-per-shop")) == {"a": 40, "b": 40, "c": 40}


def test_after_a_drain_everybody_is_waited_for_anew() -> None:
    with drive(sales_per_shop, partitions=2) as t:
        send_shops(t)
        for start in (0, 60):
            for number in range(start, start + 60):
                sale = Sale("abc"[number % 3], number)
                t.send("sales", sale, timestamp=number * 1_000, partition=number % 2)
            t.drain()
        assert totals(t.read("sales-per-shop")) == {"a": 40, "b": 40, "c": 40}
        assert t.late_records == 0


def test_a_partition_that_was_drained_and_is_silent_holds_nothing_up() -> None:
    with drive(sales_per_shop, partitions=2) as t:
        send_shops(t)
        for partition in range(2):
            t.send("sales", Sale("a", 1), timestamp=1_000, partition=partition)
        t.drain()
        for minute in (2, 4):
            t.send("sales", Sale("b", 1), timestamp=minute * 60_000, partition=0)
        t.wait(timedelta(seconds=10))
        assert totals(t.read("sales-per-shop")) == {"a": 2, "b": 1}


def test_records_go_where_they_are_sent() -> None:
    with drive(sales_per_shop, partitions=3) as t:
        t.send("sales", Sale("a", 1), partition=2)
        t.send("sales", b'{"shop": "b", "cents": 2}', timestamp=datetime(2013, 1, 1, tzinfo=UTC))
        assert [(r.partition, r.value["shop"]) for r in t.read("sales")] == [(0, "b"), (2, "a")]


def test_misuse_is_explained() -> None:
    with drive(sales_per_shop) as t:
        with pytest.raises(UsageError, match="no topic sails; it reads sales, shops"):
            t.send("sails", Sale("a", 1))
        with pytest.raises(UsageError, match="'lunch' is no step of a checkpoint: outputs, change"):
            t.crash("lunch")  # type: ignore[arg-type]


def test_the_same_name_twice_is_the_same_pipeline_twice() -> None:
    with drive(sales_per_shop) as one, drive(sales_per_shop) as two:
        send_shops(one)
        send_sales(one, 60)
        one.drain()
        two.drain()
        assert len(one.read("sales-per-shop")) == 3
        assert two.read("sales-per-shop") == []
