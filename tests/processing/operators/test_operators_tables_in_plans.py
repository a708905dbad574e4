"""Tables and their joins in whole pipelines, against dictionaries.

What holds in the end is compared: the newest record of each key in the topic of results.
"""

from __future__ import annotations

import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pipeline_schedules import Inputs, run_wildly

from streamlog import Pipeline, Stream, Table, pipeline
from streamlog.processing.state.keys import store_id
from streamlog.processing.state.row_table import token_of
from streamlog.testing import drive

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.testing.driver import Driver

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
How = Literal["inner", "left", "outer"]
STEPS = ("outputs", "changelog", "state", "commit")


class Order(Struct):
    customer: str | None
    amount: int


class Customer(Struct):
    name: str


class Pair(Struct):
    amount: int | None
    name: str | None


def pair(order: Order | None, customer: Customer | None) -> Pair:
    return Pair(
        None if order is None else order.amount, None if customer is None else customer.name
    )


def joined(how: How) -> Pipeline[..., object]:
    @pipeline
    def joining(orders: Table[Order], customers: Table[Customer]) -> None:
        options: dict[str, Any] = {"how": how}
        orders.join(customers, pair, **options).to("out")

    return joining


def joined_with_derived(how: How) -> Pipeline[..., object]:
    """Tables that are filtered, mapped and made of a stream, and changes in place of versions."""

    @pipeline
    def joining(orders: Stream[Order], customers: Table[Customer]) -> None:
        newest = orders.key_by(lambda o: o.customer or "none", name="by-customer").table(name="new")
        large = newest.filter(lambda o: o.amount % 3 > 0).map(doubled)
        named = customers.join(customers, lambda one, _: one, to=Customer, name="itself")
        options: dict[str, Any] = {"how": how}
        large.join(named, pair, name="join", **options).to("out")

    return joining


def doubled(order: Order) -> Order:
    return Order(order.customer, order.amount * 2)


def on_foreign_key(how: Literal["inner", "left"]) -> Pipeline[..., object]:
    @pipeline
    def joining(orders: Table[Order], customers: Table[Customer]) -> None:
        options: dict[str, Any] = {"how": how}
        orders.join_on(customers, pair, key=lambda o: o.customer, name="join", **options).to("out")

    return joining


class Sent(Struct):
    topic: str
    key: str
    value: Any
    timestamp: int


orders = st.builds(
    Sent,
    st.just("orders"),
    st.sampled_from(["1", "2", "3"]),
    st.none() | st.builds(Order, st.sampled_from(["a", "b", "c", None]), st.integers(0, 9)),
    st.integers(0, 30),
)
customers = st.builds(
    Sent,
    st.just("customers"),
    st.sampled_from(["a", "b", "c"]),
    st.none() | st.builds(Customer, st.sampled_from(["ann", "bob"])),
    st.integers(0, 30),
)
both_by_customer = customers | st.builds(
    Sent,
    st.just("orders"),
    st.sampled_from(["a", "b", "c"]),
    orders.map(lambda o: o.value),
    st.integers(0, 30),
)


def newest(sent: list[Sent], topic: str, key: Callable[[Sent], str]) -> dict[str, Any]:
    """The rows of a table: ties of time go to what came later."""
    held: dict[str, Sent] = {}
    for each in sent:
        if each.topic == topic and (
            key(each) not in held or held[key(each)].timestamp <= each.timestamp
        ):
            held[key(each)] = each
    return {key: each.value for key, each in held.items() if each.value is not None}


def own_key(sent: Sent) -> str:
    return sent.key


def results(
    declared: Pipeline[..., object], sent: list[Sent], seed: int, partitions: int = 2
) -> dict[str, Any]:
    """Sends everything, with runs, crashes and losses of state between."""
    rng = random.Random(seed)
    with drive(declared, partitions={"orders": partitions, "customers": 3}, seed=seed) as t:
        for each in sent:
            t.send(each.topic, each.value, key=each.key, timestamp=each.timestamp)
            disturb(t, rng)
        t.run()
        table: dict[str, Any] = {}
        for record in t.read("out"):
            table[str(record.key)] = record.value
    return {key: value for key, value in table.items() if value is not None}


def disturb(t: Driver, rng: random.Random) -> None:
    match rng.randrange(16):
        case 0 | 1:
            t.run()
        case 2:
            t.crash()
        case 3:
            t.crash(at=rng.choice(STEPS))  # type: ignore[arg-type]
        case 4 if rng.random() < 0.3:
            t.delete_state()


def expected(left: dict[str, Any], right: dict[str, Any], how: How) -> dict[str, Any]:
    keys = {
        "inner": left.keys() & right.keys(),
        "left": left.keys(),
        "outer": left.keys() | right.keys(),
    }[how]
    return {
        key: {
            "amount": left[key].amount if key in left else None,
            "name": right[key].name if key in right else None,
        }
        for key in keys
    }


seeds = st.integers(0, 2**32)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["inner", "left", "outer"]), st.lists(both_by_customer, max_size=25), seeds)
def test_two_tables_by_key(how: How, sent: list[Sent], seed: int) -> None:
    left, right = newest(sent, "orders", own_key), newest(sent, "customers", own_key)
    assert results(joined(how), sent, seed) == expected(left, right, how)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(["inner", "left", "outer"]), st.lists(orders | customers, max_size=25), seeds
)
def test_tables_made_of_others_by_key(how: How, sent: list[Sent], seed: int) -> None:
    # The partition is the writer, and goes before arrival: one partition leaves ties to arrival.
    sent = [each for each in sent if each.topic == "customers" or each.value is not None]
    left = newest(sent, "orders", lambda each: each.value.customer or "none")
    left = {key: doubled(order) for key, order in left.items() if order.amount % 3 > 0}
    right = newest(sent, "customers", own_key)
    found = results(joined_with_derived(how), sent, seed, partitions=1)
    assert found == expected(left, right, how)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["inner", "left"]), st.lists(orders | customers, max_size=25), seeds)
def test_two_tables_by_foreign_key(
    how: Literal["inner", "left"], sent: list[Sent], seed: int
) -> None:
    left, right = newest(sent, "orders", own_key), newest(sent, "customers", own_key)
    wanted = {
        key: {
            "amount": order.amount,
            "name": right[order.customer].name if order.customer in right else None,
        }
        for key, order in left.items()
        if how == "left" or order.customer in right
    }
    assert results(on_foreign_key(how), sent, seed) == wanted


@settings(max_examples=25, deadline=None)
@given(st.lists(orders | customers, max_size=40), seeds)
def test_foreign_keys_with_zombies_and_any_order_of_tasks(sent: list[Sent], seed: int) -> None:
    """Two workers, whose outputs may repeat or come from one that was replaced: state is right."""
    inputs: Inputs = {(topic, n): [] for topic in ("orders", "customers") for n in range(2)}
    for each in sent:
        value = None if each.value is None else msgspec.json.encode(each.value)
        # Every key has its partition.
        partition = ord(each.key) % 2
        record: Any = (each.key.encode(), value, each.timestamp)
        inputs[each.topic, partition].append(record)

    @pipeline
    def joining(orders: Table[Order], customers: Table[Customer]) -> None:
        table = orders.join_on(customers, pair, key=lambda o: o.customer, how="left", name="join")
        # What is written may come from a worker that was replaced: state alone tells.
        table.stream().filter(lambda _: False).to("nothing")

    plan = joining.plan()
    with tempfile.TemporaryDirectory(dir=FAST) as folder:
        outcome = run_wildly(plan, inputs, Path(folder), random.Random(seed), 80)
    prefix = store_id("join-table") + b"\x00"
    held = {}
    for name, rows in outcome.rows.items():
        if name.sub_topology == "join-results":
            for row, value in rows:
                if row.startswith(prefix):
                    _, _, _, left, right = msgspec.msgpack.decode(value)
                    held[row.removeprefix(prefix)] = left and (left["amount"], right)
    right = newest(sent, "customers", own_key)
    wanted = {
        token_of(key.encode()): (
            order.amount,
            {"name": right[order.customer].name} if order.customer in right else None,
        )
        for key, order in newest(sent, "orders", own_key).items()
    }
    assert {token: row for token, row in held.items() if row is not None} == wanted


def test_a_table_writes_rows_and_the_ends_of_rows_to_a_compacted_topic() -> None:
    @pipeline
    def copied(orders: Table[Order]) -> None:
        orders.filter(lambda o: o.amount > 1).to("large")
        orders.stream().map(lambda o: o.amount).to("amounts")

    plan = copied.plan()
    specs = {spec.name: spec for spec in plan.topic_specs({"orders": 1})}
    assert specs["large"].configs["cleanup.policy"] == "compact"
    assert specs["amounts"].configs.get("cleanup.policy") != "compact"
    with drive(copied) as t:
        for amount, timestamp in ((1, 0), (2, 1), (9, 0), (3, 2), (1, 3)):
            t.send("orders", Order(None, amount), key="a", timestamp=timestamp)
        t.send("orders", None, key="a", timestamp=4)
        t.send("orders", None, key="b", timestamp=4)
        t.run()
        amounts = [record.value and record.value["amount"] for record in t.read("large")]
        assert amounts == [2, 3, None]
        assert [record.value for record in t.read("amounts")] == [1, 2, 3, 1]


def test_a_join_by_event_time_sees_versions_of_filtered_and_mapped_tables() -> None:
    @pipeline
    def priced(orders: Stream[Order], customers: Table[Customer]) -> None:
        table = customers.filter(lambda c: c.name != "nobody").map(lambda c: Customer(c.name * 2))
        one = orders.key_by(lambda o: o.customer)
        one.join(table, pair, how="left", name="join").to("out")

    with drive(priced) as t:
        for name, timestamp in (("ann", 10), ("nobody", 20), ("bob", 30)):
            t.send("customers", Customer(name), key="a", timestamp=timestamp)
        for number, timestamp in enumerate((5, 15, 25, 35)):
            t.send("orders", Order("a", number), timestamp=timestamp)
        t.drain()
        found = [(record.timestamp, record.value["name"]) for record in t.read("out")]
        assert found == [(5, None), (15, "annann"), (25, None), (35, "bobbob")]


def test_an_aggregate_is_a_table_that_streams_are_joined_with() -> None:
    @pipeline
    def counted(orders: Stream[Order], customers: Stream[Customer]) -> None:
        counts = orders.key_by(lambda o: o.customer).count()
        customers.join(counts, lambda c, n: (c.name, n), to=tuple[str, int], name="join").to("out")

    with drive(counted) as t:
        for timestamp in (10, 20, 30):
            t.send("orders", Order("a", 1), timestamp=timestamp)
        for timestamp in (5, 15, 25, 35):
            t.send("customers", Customer(str(timestamp)), key="a", timestamp=timestamp)
        t.drain()
        assert [record.value for record in t.read("out")] == [["15", 1], ["25", 2], ["35", 3]]


def test_time_of_a_table_is_read_from_its_rows_but_not_from_nulls() -> None:
    from typing import Annotated

    from streamlog import Topic

    @pipeline
    def timed(
        orders: Stream[Order],
        customers: Annotated[Table[Customer], Topic(event_time=lambda c: int(c.name))],
    ) -> None:
        orders.key_by(lambda o: o.customer).join(customers, pair, name="join").to("out")

    with drive(timed) as t:
        t.send("customers", Customer("10"), key="a", timestamp=1_000)
        t.send("customers", None, key="a", timestamp=20)
        for timestamp in (5, 15, 25):
            t.send("orders", Order("a", timestamp), timestamp=timestamp)
        t.drain()
        assert [record.timestamp for record in t.read("out")] == [15]


def test_the_end_of_a_row_keeps_older_rows_out_for_a_day() -> None:
    @pipeline
    def copied(orders: Table[Order]) -> None:
        orders.to("out")

    hour = timedelta(hours=1) // timedelta(milliseconds=1)
    with drive(copied) as t:
        t.send("orders", None, key="a", timestamp=10 * hour)
        t.send("orders", Order(None, 1), key="a", timestamp=9 * hour)
        t.send("orders", Order(None, 2), key="b", timestamp=33 * hour)
        t.send("orders", Order(None, 3), key="a", timestamp=8 * hour)
        t.run()
        assert [record.key for record in t.read("out")] == ["b"]
        t.send("orders", Order(None, 4), key="b", timestamp=36 * hour)
        t.send("orders", Order(None, 5), key="a", timestamp=7 * hour)
        t.run()
        found = [(record.key, record.value["amount"]) for record in t.read("out")]
        assert found == [("b", 4), ("a", 5)]


@pytest.mark.parametrize("is_read_together", [False, True])
def test_a_join_that_finds_only_newer_rows_warns_once(
    caplog: pytest.LogCaptureFixture, is_read_together: bool
) -> None:
    @pipeline
    def priced(orders: Stream[Order], customers: Table[Customer]) -> None:
        keyed = orders if is_read_together else orders.key_by(lambda o: o.customer)
        keyed.join(customers, pair, name="join").to("out")

    with drive(priced, seed=1) as t:
        t.send("customers", Customer("ann"), key="a", timestamp=1_000_000)
        for timestamp in range(300):
            t.send("orders", Order("a", 1), key="a", timestamp=timestamp)
        t.drain()
        assert not t.read("out")
    (warning,) = caplog.messages
    assert warning.startswith("pipeline priced, step join: no record has found a row of customers")
    assert "from 1970-01-01T00:16:40+00:00 only" in warning
    assert "declare it as a GlobalTable" in warning


def test_a_row_that_some_record_finds_makes_newer_ones_nothing_to_warn_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @pipeline
    def priced(orders: Stream[Order], customers: Table[Customer]) -> None:
        orders.join(customers, pair, name="join").to("out")

    with drive(priced) as t:
        for timestamp in range(300):
            t.send("orders", Order("a", 1), key="a", timestamp=timestamp)
        t.send("customers", Customer("bob"), key="b", timestamp=300)
        t.send("orders", Order("b", 1), key="b", timestamp=300)
        t.send("customers", Customer("ann"), key="a", timestamp=1_000_000)
        t.drain()
        assert len(t.read("out")) == 1
    assert caplog.messages == []


def test_a_stream_whose_nearest_records_are_all_newer_is_not_called_a_table(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @pipeline
    def priced(orders: Stream[Order], customers: Stream[Customer]) -> None:
        orders.as_of(customers, pair, name="nearest").to("out")

    with drive(priced) as t:
        t.send("customers", Customer("ann"), key="a", timestamp=1_000_000)
        t.send("orders", Order("a", 1), key="a", timestamp=1)
        t.drain()
    (warning,) = caplog.messages
    assert warning.endswith("name the time with Topic(event_time=…)")


def test_records_without_a_key_are_no_rows(caplog: pytest.LogCaptureFixture) -> None:
    @pipeline
    def copied(orders: Table[Order]) -> None:
        orders.to("out")

    with drive(copied) as t:
        for timestamp in (1, 2, 200_000):
            t.send("orders", Order("a", 1), timestamp=timestamp)
        t.run()
        assert not t.read("out")
    (warning,) = caplog.messages
    assert "records without a key are left out" in warning
