"""Wrong programs: each is refused where it is wrong, with the user's line and a way out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from streamlog import (
    GlobalTable,
    Pipeline,
    Stream,
    Table,
    Topic,
    count,
    count_windows,
    dead_letter,
    first,
    hopping,
    last,
    months,
    pipeline,
    retry,
    sessions,
    sliding,
    sum_,
    tumbling,
)
from streamlog.processing.errors import PlanError
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.failures.policy import FailurePolicy

SECOND = timedelta(seconds=1)


class Order(msgspec.Struct):
    item: str
    amount: int


class Opaque:
    """Nothing is known of its fields."""


@dataclass
class Kept:
    what: Opaque


async def look_up(order: Order) -> Order:
    return order


def wrong(value: object) -> Any:  # noqa: ANN401 (what a type checker would have refused)
    return value


def refused(plan: Callable[[], object]) -> PlanError:
    with pytest.raises(PlanError) as caught:
        plan()
    assert caught.value.message.startswith("tests/processing/dsl/test_dsl_misuse.py:")
    return caught.value


def declared(draw: Callable[[Any, Any, Any], object]) -> Pipeline[..., object]:
    @pipeline(name="shop")
    def shop(orders: Stream[Order], stock: Table[Order], items: GlobalTable[Order]) -> None:
        draw(orders, stock, items)
        orders.to("all-orders")
        stock.to("all-stock")

    return shop


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: tumbling(timedelta(0)), "a window's length is 0:00:00"),
        (lambda: tumbling(wrong(60)), "has to be a timedelta"),
        (lambda: tumbling(timedelta(days=1), zone="Mars/North"), "no time zone 'Mars/North'"),
        (lambda: hopping(SECOND, advance=2 * SECOND), "leave out what is between them"),
        (lambda: hopping(timedelta(days=1), advance=SECOND), "into 86400 windows"),
        (lambda: sessions(-SECOND), "the gap between sessions"),
        (lambda: sliding(timedelta(microseconds=1)), "whole milliseconds"),
        (lambda: count_windows(True), "has to be a whole number, at least 1"),
        (lambda: months(0), "the number of months in a window is 0"),
        (lambda: months(offset=timedelta(days=30)), "the shortest month has 28 days"),
        (lambda: retry(attempts=wrong("five")), "has to be a whole number, from 1 to 1,000,000"),
        (lambda: retry(backoff=wrong(5)), "has to be a timedelta"),
        (lambda: dead_letter("bad letters"), "cannot name a topic"),
        (lambda: sum_(wrong("amount")), "sum takes a function of a value, this is 'amount'"),
        (
            lambda: sum_(wrong(lambda one, other: one)),
            "sum calls <lambda>(one, other) with one value",
        ),
        (lambda: pipeline(idle=wrong(5)), "idle is 5"),
        (lambda: pipeline(checkpoint_interval=timedelta(0)), "checkpoint_interval is 0:00:00"),
        (lambda: pipeline(history_bytes=wrong("1 GB")), "history_bytes is '1 GB'"),
        (lambda: pipeline(standbys=-1), "standbys is -1"),
    ],
)
def test_what_is_wrong_by_itself_is_refused_where_it_is_said(
    make: Callable[[], object], message: str
) -> None:
    assert message in refused(make).message


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda o, s, i: o.to("x", partitions=0), "to(partitions=…) is 0"),
        (lambda o, s, i: s.to("x", partitions="3"), "to(partitions=…) is '3'"),
        (lambda o, s, i: o.to("x", serde=5), "does not turn values into bytes and back"),
        (lambda o, s, i: o.to("x", headers=5), "to takes a function, this is 5"),
        (lambda o, s, i: o.map(lambda: 1), "map calls <lambda>() with one value: too many"),
        (lambda o, s, i: o.join(s, lambda o: o), "join calls <lambda>(o) with 2 values: too many"),
        (lambda o, s, i: o.reduce(lambda one: one), "reduce calls <lambda>(one) with 2 values"),
        (lambda o, s, i: s.filter(divmod), "filter calls divmod(x, y, /) with one value: missing"),
        (lambda o, s, i: o.repartition("4"), "repartition(partitions) is '4'"),
        (lambda o, s, i: o.map_async(look_up, timeout=5), "map_async(timeout=…) is 5"),
        (lambda o, s, i: o.map_async(look_up, concurrency=0), "map_async(concurrency=…) is 0"),
        (lambda o, s, i: o.window(tumbling(SECOND)), "this window is not used"),
        (lambda o, s, i: o.table(), "table table-orders is not used"),
        (lambda o, s, i: s.filter(bool).map(str), "table stock-filter-bool-map-str is not used"),
        (lambda o, s, i: o.reduce(max, to="int").to("x"), "'int' cannot be read back"),
        (
            lambda o, s, i: o.map(lambda o: Opaque()).reduce(max).to("x"),
            "cannot be read back: Opaque has no MessagePack: its fields are unknown",
        ),
        (
            lambda o, s, i: o.window(tumbling(SECOND)).aggregate(Kept, what=last()).to("x"),
            "an aggregate keeps values, and <class",
        ),
        (
            lambda o, s, i: o.window(tumbling(SECOND)).aggregate(len, n=count()),
            "takes a type",
        ),
        (lambda o, s, i: o.to("items"), "topic items is read and written"),
        (lambda o, s, i: s.to("stock"), "topic stock is read and written"),
        (
            lambda o, s, i: [o.to("x", partitions=2), o.to("x", partitions=3)],
            "have 3 partitions",
        ),
        (lambda o, s, i: [o.to("x"), s.to("x")], "gets a stream and a table"),
        (
            lambda o, s, i: o.key_by(lambda o: o.item).count().to("shop.by-item.changelog"),
            "but the pipeline keeps its state there",
        ),
        (
            lambda o, s, i: o.key_by(lambda o: o.item).count().to("shop.by-item.repartition"),
            "but the pipeline keeps what it repartitions there",
        ),
    ],
)
def test_what_is_wrong_in_a_pipeline_is_refused_at_the_step(
    draw: Callable[[Any, Any, Any], object], message: str
) -> None:
    assert message in refused(declared(draw).plan).message


def test_a_stream_does_not_leave_its_pipeline() -> None:
    leaked: list[Stream[Order]] = []

    @pipeline
    def first_pipeline(orders: Stream[Order]) -> None:
        leaked.append(orders)
        orders.to("copy")

    first_pipeline.plan()
    error = refused(lambda: leaked[0].to("elsewhere"))
    assert "a step is added to <pipeline first_pipeline" in error.message
    assert "make what another pipeline needs a parameter" in (error.hint or "")


def test_what_is_said_of_an_input_is_checked() -> None:
    @pipeline
    def text(orders: Annotated[Stream[Order], "orders.v2"]) -> None:
        orders.to("copy")

    @pipeline
    def serde(orders: Annotated[Stream[Order], Topic(serde=msgspec.json)]) -> None:
        orders.to("copy")

    @pipeline
    def time(orders: Annotated[Stream[Order], Topic(event_time="at")]) -> None:
        orders.to("copy")

    @pipeline
    def clock(orders: Annotated[Stream[Order], Topic(event_time=wrong(lambda: 0))]) -> None:
        orders.to("copy")

    @pipeline
    async def waits(orders: Stream[Order]) -> None:
        orders.to("copy")

    for wrong, message in (
        (text, "annotated with 'orders.v2', which says nothing of its topic"),
        (serde, "the serde of input orders is <module"),
        (time, "the event_time of input orders is 'at'"),
        (clock, "the event_time of input orders calls <lambda>() with one value"),
        (waits, "the function of waits is async"),
    ):
        assert message in refused(wrong.plan).message


@pytest.mark.parametrize(
    ("on_error", "message"),
    [
        (dead_letter("copy"), "records go to topic copy, but its dead letters go there"),
        (dead_letter("orders"), "input orders reads topic orders, but its dead letters go there"),
    ],
)
def test_dead_letters_are_not_mixed_with_records(on_error: FailurePolicy, message: str) -> None:
    @pipeline(on_error=on_error)
    def shop(orders: Stream[Order]) -> None:
        orders.to("copy")

    assert message in refused(shop.plan).message


def test_a_topic_may_be_a_stream_and_a_global_table_at_once() -> None:
    @pipeline
    def shop(orders: Stream[Order], newest: Annotated[GlobalTable[Order], Topic("orders")]) -> None:
        orders.join(newest, lambda one, other: other.amount - one.amount, to=int).to("behind")

    with drive(shop) as t:
        t.send("orders", Order("tea", 3), key="tea")
        t.send("orders", Order("tea", 5), key="tea")
        t.run()
        assert [record.value for record in t.read("behind")] == [2, 0]


def test_a_table_says_where_it_was_declared() -> None:
    shown: list[str] = []

    @pipeline
    def shop(stock: Table[Order]) -> None:
        shown.extend((repr(stock), repr(stock.filter(bool))))
        stock.group_by(lambda order: order.item).aggregate(Order, item=first(), amount=count())

    refused(shop.plan)
    line = shop.location.line
    assert shown[0] == f"<table stock at {shop.location.file}:{line}>"
    assert shown[1].endswith(f"test_dsl_misuse.py:{line + 2}>")
