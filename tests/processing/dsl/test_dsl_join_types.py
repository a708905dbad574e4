"""What type checkers see of joins and tables: `mypy` proves this file."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from streamlog import GlobalTable, Output, Stream, Table, Topic, pipeline

if TYPE_CHECKING:
    from typing import Annotated, assert_type
else:
    from typing import Annotated

    def assert_type(value: object, _: object) -> object:
        return value


class Order(Struct):
    id: str
    customer: str | None
    amount: int


class Payment(Struct):
    order: str
    amount: int


class Customer(Struct):
    name: str


class Paid(Struct):
    order: str
    rest: int


def paid(order: Order, payment: Payment) -> Paid:
    return Paid(order.id, order.amount - payment.amount)


HOUR = timedelta(hours=1)


@pipeline
def typed(
    orders: Stream[Order],
    payments: Stream[Payment],
    customers: Table[Customer],
    newest: Annotated[Table[Order], Topic("orders.newest", event_time=lambda order: order.amount)],
    names: GlobalTable[str],
) -> list[Output]:
    one = orders.key_by(lambda o: o.id)
    other = payments.key_by(lambda p: p.order)
    inner = one.join(other, paid, within=HOUR)
    assert_type(inner, Stream[Paid])
    left = one.join(
        other, lambda o, p: o.amount if p is None else p.amount, after=HOUR, how="left", name="l"
    )
    assert_type(left, Stream[int])
    outer = one.join(
        other,
        lambda o, p: p.amount if o is None and p is not None else 0,
        within=HOUR,
        how="outer",
        where=lambda o, p: o.amount == p.amount,
        name="o",
    )
    assert_type(outer, Stream[int])
    by_customer = orders.key_by(lambda o: o.customer)
    named = by_customer.join(customers, lambda o, c: c.name, history=HOUR, to=str)
    assert_type(named, Stream[str])
    maybe = by_customer.join(
        customers, lambda o, c: c.name if c is not None else None, how="left", name="m"
    )
    assert_type(maybe, Stream[str | None])
    known = by_customer.join(names, lambda o, n: n.upper(), key=lambda o: o.customer)
    assert_type(known, Stream[str])
    before = one.as_of(other, paid, tolerance=HOUR, name="b")
    assert_type(before, Stream[Paid])
    after = one.as_of(
        other,
        lambda o, p: p.amount if p is not None else None,
        direction="forward",
        tolerance=HOUR,
        how="left",
        name="a",
    )
    assert_type(after, Stream[int | None])
    by_time = one.table(name="by-time")
    assert_type(by_time, Table[Order])
    large = newest.filter(lambda o: o.amount > 0)
    assert_type(large, Table[Order])
    amounts = large.map(lambda o: o.amount, to=int)
    assert_type(amounts, Table[int])
    rows = amounts.stream()
    assert_type(rows, Stream[int])
    both = newest.join(customers, lambda o, c: c.name, to=str)
    assert_type(both, Table[str])
    either = newest.join(
        customers, lambda o, c: (o is None, c is None), how="outer", to=tuple[bool, bool], name="e"
    )
    assert_type(either, Table[tuple[bool, bool]])
    on = newest.join_on(customers, lambda o, c: c.name, key=lambda o: o.customer, name="on")
    assert_type(on, Table[str])
    streams: list[Stream[Any]] = [inner, left, outer, named, maybe, known, before, after, rows]
    tables = [both.to("both"), either.to("either"), on.to("on"), by_time.to("by-time")]
    return [*tables, *(each.to(f"out-{number}") for number, each in enumerate(streams))]


def refused(orders: Stream[Order], customers: Table[Customer], names: GlobalTable[str]) -> None:
    """Each line is an error to a type checker; `mypy` fails here if one is not."""
    orders.join(customers, lambda o, c: c.nam)  # type: ignore[attr-defined]
    orders.join(customers, lambda o, c: c.name, how="left")  # type: ignore[call-overload]
    orders.join(customers, lambda o, c: c, how="outer")  # type: ignore[call-overload]
    orders.join(customers, lambda o, c: c, within=HOUR)  # type: ignore[call-overload]
    orders.join(orders, lambda o, p: p.nam, within=HOUR)  # type: ignore[attr-defined]
    orders.join(orders, lambda o, p: p.id, within=HOUR, how="left")  # type: ignore[call-overload]
    orders.join(names, lambda o, n: n, within=HOUR)  # type: ignore[call-overload]
    orders.as_of(customers, lambda o, c: c)  # type: ignore[call-overload]
    customers.join(orders, lambda c, o: c)  # type: ignore[call-overload]
    customers.join_on(customers, lambda c, o: c)  # type: ignore[call-overload]
    customers.filter(lambda c: c.nam)  # type: ignore[attr-defined]


def test_the_plan_of_what_is_typed_can_be_made() -> None:
    names = {sub.name for sub in typed.plan().sub_topologies}
    assert {"join-by-id-by-order", "l", "o", "join-by-customer-customers", "on"} <= names
