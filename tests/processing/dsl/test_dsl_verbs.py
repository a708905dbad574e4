"""The verbs, by what comes out; and their misuse, by what the message says."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from msgspec import Struct

from streamlog import (
    GlobalTable,
    Output,
    Pipeline,
    Stream,
    Topic,
    Windowed,
    count,
    first,
    last,
    max_,
    mean,
    min_,
    pipeline,
    sum_,
    tumbling,
)
from streamlog.errors import UsageError
from streamlog.processing.errors import (
    FunctionFailure,
    PlanError,
    UndecodableFailure,
)
from streamlog.serde.msgpack import MsgpackSerde
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streamlog.processing.plan.plan import Plan


class Order(Struct):
    customer: str
    item: str
    amount: float
    at: int = 0


class Customer(Struct):
    name: str


class Bill(Struct):
    name: str
    total: float


ORDERS = [
    {"customer": "ann", "item": "tea", "amount": 2.5},
    {"customer": "bob", "item": "oil", "amount": 9.0},
    {"customer": "ann", "item": "jam", "amount": 4.0},
]


def outcome(
    declared: Pipeline[..., object], *, tables: dict[str, dict[str, object]] | None = None
) -> list[Any]:
    """What a pipeline from `orders` makes of the orders, by value."""
    with drive(declared) as t:
        for topic, rows in (tables or {}).items():
            for key, row in rows.items():
                t.send(topic, row, key=key)
        for number, order in enumerate(ORDERS):
            t.send("orders", order, key=f"k{number}", timestamp=number)
        t.drain()
        return [(record.key, record.value) for record in t.read("out")]


def test_map_filter_and_flat_map() -> None:
    @pipeline
    def verbs(orders: Stream[Order]) -> Output:
        return (
            orders.filter(lambda o: o.customer == "ann")
            .map(lambda o: o.item)
            .flat_map(lambda item: [item, item.upper()])
            .to("out")
        )

    assert outcome(verbs) == [("k0", "tea"), ("k0", "TEA"), ("k2", "jam"), ("k2", "JAM")]


def test_key_by_without_a_window_passes_no_topic() -> None:
    @pipeline
    def keyed(orders: Stream[Order]) -> Output:
        return orders.key_by(lambda o: (o.customer, len(o.item))).map(lambda o: o.item).to("out")

    assert keyed.plan().sub_topologies[0].repartition_topics == ()
    assert outcome(keyed) == [('["ann",3]', "tea"), ('["bob",3]', "oil"), ('["ann",3]', "jam")]


def test_peek_is_called_once_also_on_both_sides_of_a_topic() -> None:
    seen: list[str] = []

    @pipeline
    def peeking(orders: Stream[Order]) -> None:
        by_customer = orders.key_by(lambda o: o.customer).peek(lambda o: seen.append(o.item))
        by_customer.map(lambda o: o.item).to("out")
        by_customer.window(tumbling(timedelta(hours=1))).count().to("counts")

    assert outcome(peeking) == [("ann", "tea"), ("bob", "oil"), ("ann", "jam")]
    assert seen == ["tea", "oil", "jam"]


def test_merge_puts_two_branches_and_one_twice_together() -> None:
    @pipeline
    def merged(orders: Stream[Order]) -> Output:
        items = orders.map(lambda o: o.item)
        return items.merge(items).merge(orders.map(lambda o: o.customer)).to("out")

    values = [value for _, value in outcome(merged)]
    assert sorted(values) == sorted(["tea", "oil", "jam"] * 2 + ["ann", "bob", "ann"])


@pytest.mark.parametrize(
    ("how", "names"), [("inner", ["Ann", "Ann"]), ("left", ["Ann", "?", "Ann"])]
)
def test_join_by_a_chosen_key(how: Any, names: list[str]) -> None:  # noqa: ANN401
    @pipeline
    def joined(orders: Stream[Order], customers: GlobalTable[Customer]) -> Output:
        return orders.join(
            customers,
            lambda o, c: c.name if c else "?",
            key=lambda o: o.customer,
            how=how,
        ).to("out")

    tables: dict[str, dict[str, object]] = {"customers": {"ann": {"name": "Ann"}}}
    assert [value for _, value in outcome(joined, tables=tables)] == names


def test_a_null_takes_a_row_out_of_a_global_table() -> None:
    @pipeline
    def joined(orders: Stream[Order], customers: GlobalTable[Customer]) -> Output:
        return orders.join(customers, lambda o, c: c.name, key=lambda o: o.customer).to("out")

    with drive(joined) as t:
        t.send("customers", {"name": "Ann"}, key="ann")
        t.send("orders", ORDERS[0])
        t.run()
        t.send("customers", None, key="ann")
        t.send("orders", ORDERS[0])
        t.run()
        assert [record.value for record in t.read("out")] == ["Ann"]


def test_every_aggregate() -> None:
    class All(Struct):
        count: int
        sum: float
        mean: float | None
        min: float
        max: float
        first: str
        last: str
        name: int

    @pipeline
    def aggregated(orders: Stream[Order]) -> Output:
        return (
            orders.key_by(lambda o: o.customer)
            .window(tumbling(timedelta(seconds=1)))
            .aggregate(
                All,
                count=count(),
                sum=sum_(lambda o: o.amount),
                mean=mean(lambda o: o.amount),
                min=min_(lambda o: o.amount),
                max=max_(lambda o: o.amount),
                first=first(lambda o: o.item),
                last=last(lambda o: o.item),
                name=count(lambda o: o.item if o.item == "jam" else None),
            )
            .to("out")
        )

    values = {key: value["value"] for key, value in outcome(aggregated)}
    assert values["ann"] == {
        "count": 2,
        "sum": 6.5,
        "mean": 3.25,
        "min": 2.5,
        "max": 4.0,
        "first": "tea",
        "last": "jam",
        "name": 1,
    }
    assert values["bob"]["name"] == 0


def test_single_aggregates_and_their_types() -> None:
    @pipeline
    def singles(orders: Stream[Order]) -> None:
        hourly = orders.key_by(lambda o: o.customer).window(tumbling(timedelta(hours=1)))
        hourly.sum_(lambda o: o.amount).to("sums")
        hourly.mean(lambda o: o.amount).to("means")
        hourly.min_(lambda o: o.amount).to("mins")
        hourly.max_(lambda o: o.amount).to("maxs")
        hourly.first(lambda o: o.item).to("firsts")
        hourly.last(lambda o: o, to=Order).to("lasts")
        hourly.count().to("counts")

    with drive(singles) as t:
        for order in ORDERS:
            t.send("orders", order)
        t.run()
        t.crash()
        t.drain()
        found = {
            topic: next(r.value["value"] for r in t.read(topic) if r.key == "ann")
            for topic in t.plan.output_topics
        }
        t_last = ORDERS[2] | {"at": 0}
    assert found == {
        "sums": 6.5,
        "means": 3.25,
        "mins": 2.5,
        "maxs": 4.0,
        "firsts": "tea",
        "lasts": t_last,
        "counts": 2,
    }


def test_records_without_a_key_are_a_group_of_their_own() -> None:
    @pipeline
    def keyless(orders: Stream[Order]) -> Output:
        return (
            orders.key_by(lambda o: None if o.customer == "bob" else o.customer, name="by-someone")
            .window(tumbling(timedelta(seconds=1)))
            .count()
            .to("out")
        )

    assert [(key, value["value"]) for key, value in outcome(keyless)] == [(None, 1), ("ann", 2)]


def test_a_windowed_result_is_json_with_rfc_3339_and_bears_its_windows_last_millisecond() -> None:
    @pipeline
    def counting(orders: Stream[Order]) -> Output:
        return orders.window(tumbling(timedelta(hours=1))).count().to("out")

    with drive(counting) as t:
        t.send("orders", ORDERS[0], key="k", timestamp=datetime(2013, 1, 1, 10, 30, tzinfo=UTC))
        t.drain()
        raw = t.log.partition("out", 0).columns
        assert raw.values == [
            b'{"start":"2013-01-01T10:00:00Z","end":"2013-01-01T11:00:00Z","value":1}'
        ]
        assert raw.timestamps == [1_357_038_000_000 - 1]
        (record,) = t.read("out", Windowed[int])
        assert record.value.end - record.value.start == timedelta(hours=1)


def test_topic_names_serdes_and_event_times_of_inputs() -> None:
    @pipeline(name="renamed", checkpoint_interval=timedelta(seconds=5))
    def anything(
        orders: Annotated[
            Stream[Order],
            Topic("orders.v2", serde=MsgpackSerde(Order), event_time=lambda o: o.at),
        ],
    ) -> Output:
        return orders.window(tumbling(timedelta(milliseconds=10))).count().to("out")

    plan = anything.plan()
    assert (plan.name, plan.source_topics, plan.options.checkpoint_interval) == (
        "renamed",
        ("orders.v2",),
        timedelta(seconds=5),
    )
    with drive(anything) as t:
        order = Order("ann", "tea", 1.0, at=25)
        t.send("orders.v2", MsgpackSerde(Order).encode(order), key="k", timestamp=999)
        t.drain()
        assert [record.timestamp for record in t.read("out")] == [29]


def test_text_bytes_and_dataclasses_pass_a_topic() -> None:
    @dataclass(frozen=True)
    class Word:
        text: str
        size: int

    @pipeline
    def words(orders: Stream[str]) -> Output:
        return (
            orders.flat_map(lambda line: [Word(w, len(w)) for w in line.split()], to=Word)
            .key_by(lambda w: w.text)
            .window(tumbling(timedelta(hours=1)))
            .sum_(lambda w: w.size)
            .to("out")
        )

    with drive(words, partitions=3) as t:
        t.send("orders", "to be or not to be")
        t.drain()
        found = {record.key: record.value["value"] for record in t.read("out")}
    assert found == {"to": 4, "be": 4, "or": 2, "not": 3}


def test_a_pipeline_stays_a_function() -> None:
    @pipeline
    def documented(orders: Stream[Order]) -> str:
        """What it does."""
        return f"called with {orders}"

    assert documented("it") == "called with it"  # type: ignore[arg-type]
    assert documented.__doc__ == "What it does."
    assert "test_dsl_verbs.py" in repr(documented)


# What goes wrong when a pipeline is declared.


def here() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def plan_of(body: Callable[[Any, Any], object]) -> Plan:
    @pipeline(name="wrong")
    def declared(orders: Stream[Order], customers: GlobalTable[Customer]) -> None:
        body(orders, customers)

    return declared.plan()


hour = tumbling(timedelta(hours=1))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda o, c: bool(o), "the truth of <stream orders"),
        (lambda o, c: len(o), "the length of <stream orders"),
        (lambda o, c: list(o), "iteration of <stream orders"),
        (lambda o, c: o[0], "an item of <stream orders"),
        (lambda o, c: o == 1, "comparison of <stream orders"),
        (lambda o, c: bool(c), "the truth of <global table customers"),
        (lambda o, c: c["ann"], "a row of <global table customers"),
        (lambda o, c: list(o.window(hour)), "iteration of <windowed stream"),
        (lambda o, c: o.map("item"), "map takes a function, this is 'item'"),
        (lambda o, c: o.map(coroutine), "is async"),
        (lambda o, c: o.merge(c), "merge takes another stream"),
        (
            lambda o, c: o.join("c", lambda a, b: a),
            "join takes a stream, a table or a global table",
        ),
        (lambda o, c: o.join(c, lambda a, b: a, how="outer"), "is no kind of join"),
        (lambda o, c: o.window(timedelta(hours=1)), "window takes a kind of window"),
        (lambda o, c: tumbling(timedelta(0)), "at least 1"),
        (lambda o, c: tumbling(timedelta(microseconds=1500)), "whole milliseconds"),
        (lambda o, c: o.window(hour, grace=timedelta(-1)), "grace is -1 day"),
        (lambda o, c: o.to("a/b"), "cannot name a topic"),
        (lambda o, c: o.to(".."), "cannot name a topic"),
        (lambda o, c: o.to("x" * 250), "cannot name a topic"),
        (lambda o, c: o.key_by(lambda v: 1, name="a b"), "cannot name a step"),
        (lambda o, c: o.map(lambda v: v), "goes nowhere"),
        (lambda o, c: o.window(hour).count(), "step count goes nowhere"),
        (lambda o, c: None, "input orders is not used"),
        (lambda o, c: o.to("orders"), "is read and written"),
        (lambda o, c: o.window(hour).aggregate(Bill, name=count()), "nothing fills total"),
        (
            lambda o, c: o.window(hour).aggregate(Bill, name=count(), total=count(), x=count()),
            "it has no x",
        ),
        (lambda o, c: o.window(hour).aggregate(Bill), "nothing fills the fields of Bill"),
        (lambda o, c: o.window(hour).aggregate(Bill, total=5), "field total of Bill takes an agg"),
        (lambda o, c: o.window(hour).aggregate(lambda **k: 1, a=count()), "takes a type first"),
        (lambda o, c: o.key_by(lambda v: 1).window(hour).count().to("a"), "needs a name"),
        (
            lambda o, c: o.map(lambda v: v.item).key_by(lambda v: v.x).window(hour).count().to("a"),
            "their type is not known",
        ),
        (
            lambda o, c: (
                o.map(lambda v: v, to=complex).key_by(lambda v: v.x).window(hour).count().to("a")
            ),
            "cannot be read back",
        ),
        (
            lambda o, c: [
                o.key_by(lambda v: v.item).window(hour).count(name=n).to(n) for n in ("a", "b")
            ],
            "two steps are called by-item, here and at",
        ),
        (
            lambda o, c: [o.window(hour).count().to("a"), o.window(hour).count().to("b")],
            "two steps are called count, here and at",
        ),
    ],
)
def test_a_wrong_declaration_is_explained_with_the_users_line(
    body: Callable[[Any, Any], object], message: str
) -> None:
    with pytest.raises(UsageError) as caught:
        plan_of(body)
    assert message in str(caught.value)
    if isinstance(caught.value, PlanError):
        assert "test_dsl_verbs.py:" in str(caught.value)


async def coroutine(value: object) -> object:
    return value


def test_the_line_is_the_verbs_own() -> None:
    @pipeline
    def wrong(orders: Stream[Order]) -> None:
        orders.map(lambda o: o.item)

    with pytest.raises(PlanError, match=rf"test_dsl_verbs.py:{here() - 2}: what comes out of step"):
        wrong.plan()


def test_inputs_need_annotations_that_say_what_they_are() -> None:
    @pipeline
    def bare(orders) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        orders.to("out")

    @pipeline
    def not_a_stream(orders: list[Order]) -> None:
        del orders

    @pipeline
    def nothing() -> None:
        pass

    @pipeline
    def unreadable(orders: Stream[complex]) -> None:
        orders.to("out")

    @pipeline
    def unresolved(orders: Stream[Elsewhere]) -> None:  # type: ignore[name-defined]  # noqa: F821
        orders.to("out")

    @pipeline
    def only_a_table(customers: GlobalTable[Customer]) -> None:
        del customers

    @pipeline
    def twice(
        one: Annotated[Stream[Order], Topic("orders")],
        two: Annotated[Stream[Order], Topic("orders")],
    ) -> None:
        one.merge(two).to("out")

    for declared, message in [
        (bare, "has no annotation"),
        (not_a_stream, "inputs are streams, tables or global tables"),
        (nothing, "reads nothing"),
        (unreadable, "complex has no JSON"),
        (unresolved, "not under TYPE_CHECKING"),
        (only_a_table, "only global tables are read"),
        (twice, "read the same topic orders"),
    ]:
        with pytest.raises(PlanError) as caught:
            declared.plan()  # type: ignore[attr-defined]
        assert message in str(caught.value)


def test_nesting_beyond_what_python_takes_is_refused() -> None:
    @pipeline
    def deep(orders: Stream[Order]) -> None:
        stream: Stream[Any] = orders
        for _ in range(25):
            stream = stream.flat_map(lambda o: [o])
        stream.to("out")

    with drive(deep) as t:
        t.send("orders", ORDERS[0])
        with pytest.raises(PlanError, match="than Python can nest"):
            t.run()


# What goes wrong with a record.


def broken(value: object) -> Iterator[object]:
    yield value
    raise KeyError("inside a generator")


@pytest.mark.parametrize(
    ("verb", "step"),
    [
        (lambda s: s.map(lambda o: o.missing), "map-missing"),
        (lambda s: s.filter(lambda o: 1 / 0, name="strict"), "strict"),
        (lambda s: s.flat_map(broken), "flat_map-broken"),
        (lambda s: s.key_by(lambda o: object(), name="by-object"), "by-object"),
        (lambda s: s.peek(lambda o: int("x"), name="shown"), "shown"),
        (lambda s: s.map(lambda o: object()), "out"),
        (lambda s: s.window(hour).sum_(lambda o: o.item), "sum-item"),
        (lambda s: s.window(hour).last(lambda o: o), "last"),
    ],
)
def test_a_function_that_fails_is_named_with_record_and_line(
    verb: Callable[[Any], Any], step: str
) -> None:
    @pipeline
    def failing(orders: Stream[Order]) -> None:
        verb(orders).to("out")

    with drive(failing) as t:
        for _ in range(3):
            t.send("orders", {"customer": "ann", "item": "tea", "amount": 1.0}, key="k")
        with pytest.raises(FunctionFailure) as caught:
            t.run()
    failure = caught.value
    assert (failure.topic, failure.partition, failure.offset) == ("orders", 0, 0)
    assert failure.step == step
    assert "test_dsl_verbs.py:" in failure.location
    assert failure.location in failure.message
    assert failure.__cause__ is not None


def test_the_record_that_fails_is_found_in_the_middle_of_a_chunk() -> None:
    @pipeline
    def failing(orders: Stream[Order]) -> Output:
        return orders.map(lambda o: 1 / o.amount).to("out")

    with drive(failing) as t:
        for amount in (1.0, 2.0, 0.0, 3.0):
            t.send("orders", {"customer": "a", "item": "b", "amount": amount})
        with pytest.raises(FunctionFailure, match=r"offset 2 of orders partition 0: ZeroDivision"):
            t.run()


def test_a_result_type_that_refuses_is_named() -> None:
    class Picky(Struct):
        n: int

        def __post_init__(self) -> None:
            raise ValueError("not today")

    @pipeline
    def failing(orders: Stream[Order]) -> Output:
        return orders.window(hour).aggregate(Picky, n=count()).to("out")

    with drive(failing) as t:
        t.send("orders", ORDERS[0])
        with pytest.raises(FunctionFailure, match=r"step picky .* not today"):
            t.drain()


def test_a_record_that_does_not_fit_its_type_is_named() -> None:
    @pipeline
    def reading(orders: Stream[Order]) -> Output:
        return orders.to("out")

    for value, reason in [
        (b"{not json", "JSON"),
        ({"customer": 5}, "Expected `str`"),
        (None, "null"),
    ]:
        with drive(reading) as t:
            t.send("orders", ORDERS[0])
            t.send("orders", value)
            with pytest.raises(
                UndecodableFailure, match="offset 1 of orders partition 0"
            ) as caught:
                t.run()
            assert reason in caught.value.message
            assert caught.value.exit_code == 6


def test_an_event_time_that_fails_or_cannot_be_is_named() -> None:
    @pipeline
    def naive(
        orders: Annotated[Stream[Order], Topic(event_time=lambda o: datetime(2013, 1, 1))],  # noqa: DTZ001, RUF100
    ) -> Output:
        return orders.to("out")

    @pipeline
    def plain(orders: Stream[Order]) -> Output:
        return orders.window(hour).count().to("out")

    with drive(naive) as t:
        t.send("orders", ORDERS[0])
        with pytest.raises(FunctionFailure, match=r"event_time of input orders .* no time zone"):
            t.run()
    with drive(plain) as t:
        t.send("orders", ORDERS[0], timestamp=2**60)
        with pytest.raises(UndecodableFailure, match="not in the years 1 to 9999"):
            t.run()


def test_a_strange_record_in_an_internal_topic_is_named() -> None:
    @pipeline
    def counting(orders: Stream[Order]) -> Output:
        return orders.key_by(lambda o: o.item).window(hour).count().to("out")

    with drive(counting) as t:
        t.log.partition("counting.by-item.repartition", 0).append([b"k"], [b"v"], [0])
        with pytest.raises(UndecodableFailure, match="written by something else"):
            t.run()
