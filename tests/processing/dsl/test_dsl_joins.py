"""What joins and tables refuse, with the line of the user's code and what to write there."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from streamlog import GlobalTable, Stream, Table, pipeline
from streamlog.processing.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable


class Order(Struct):
    id: str
    customer: str


class Customer(Struct):
    name: str


class Foreign:
    """Nothing that can be read back."""


HOUR = timedelta(hours=1)


def plan_of(body: Callable[[Any, Any, Any], Any]) -> None:
    @pipeline
    def drawn(orders: Stream[Order], customers: Table[Customer], names: GlobalTable[str]) -> object:
        return body(orders, customers, names)

    drawn.plan()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda o, c, n: o.join(o, "f", within=HOUR), "join takes a function"),
        (lambda o, c, n: o.join(5, lambda a, b: a), "takes a stream, a table or a global table"),
        (lambda o, c, n: o.join(o, lambda a, b: a), "needs to know how far apart"),
        (lambda o, c, n: o.join(o, lambda a, b: a, within=HOUR, after=HOUR), "how far apart"),
        (lambda o, c, n: o.join(o, lambda a, b: a, after=-HOUR), "no record is within"),
        (lambda o, c, n: o.join(o, lambda a, b: a, within=5), "has to be a timedelta"),
        (lambda o, c, n: o.join(o, lambda a, b: a, within=HOUR, where=1), "join takes a function"),
        (lambda o, c, n: o.join(o, lambda a, b: a, within=HOUR, key=str), "key= means nothing"),
        (lambda o, c, n: o.join(c, lambda a, b: a, within=HOUR), "within= means nothing"),
        (lambda o, c, n: o.join(c, lambda a, b: a, how="outer"), 'there are "inner" and "left"'),
        (lambda o, c, n: o.join(c, lambda a, b: a, grace=HOUR, history=timedelta(0)), "grace at"),
        (lambda o, c, n: o.join(n, lambda a, b: a, grace=HOUR), "grace= means nothing"),
        (lambda o, c, n: o.join(n, lambda a, b: a, key="id"), "join takes a function"),
        (lambda o, c, n: o.join(n, lambda a, b: a, how="right"), "is no kind of join"),
        (lambda o, c, n: o.map(lambda x: x.id).join(c, lambda a, b: a), "type is not known"),
        (lambda o, c, n: o.map(str, to=Foreign).join(c, lambda a, b: a), "cannot be read back"),
        (lambda o, c, n: o.as_of(c, lambda a, b: a), "as_of takes a stream"),
        (lambda o, c, n: o.as_of(o, lambda a, b: a, direction="up"), '"backward" and "forward"'),
        (lambda o, c, n: o.as_of(o, lambda a, b: a, direction="forward"), "needs a tolerance"),
        (lambda o, c, n: o.as_of(o, lambda a, b: a, how="outer"), "is no kind of join"),
        (lambda o, c, n: c.join(o, lambda a, b: a), "a table is joined with another table"),
        (lambda o, c, n: c.join(c, lambda a, b: a, how="right"), "is no kind of join"),
        (lambda o, c, n: c.join_on(c, lambda a, b: a, key="name"), "join_on takes a function"),
        (lambda o, c, n: c.join_on(c, lambda a, b: a, key=str, how="outer"), "no kind of join"),
        (lambda o, c, n: c.map(lambda r: r.name).join(c, lambda a, b: a), "type is not known"),
        (lambda o, c, n: c.filter("name"), "filter takes a function"),
        (lambda o, c, n: c.map(5), "map takes a function"),
        (lambda o, c, n: bool(c), "the truth of <table customers"),
        (lambda o, c, n: len(c), "the length of <table customers"),
        (lambda o, c, n: list(c), "iteration of <table customers"),
        (lambda o, c, n: c["a"], "a row of <table customers"),
    ],
)
def test_a_wrong_join_is_explained_with_the_users_line(
    body: Callable[[Any, Any, Any], object], message: str
) -> None:
    with pytest.raises(PlanError) as caught:
        plan_of(body)
    assert message in str(caught.value)
    assert str(caught.value).startswith("tests/processing/dsl/test_dsl_joins.py:")


def test_two_joins_of_one_name_are_refused() -> None:
    def twice(orders: Stream[Order], customers: Table[Customer], names: object) -> None:
        for topic in ("one", "two"):
            orders.join(customers, lambda o, c: o).to(topic)

    with pytest.raises(PlanError, match="two steps are called join-orders-customers"):
        plan_of(twice)


def test_a_table_of_another_pipeline_is_refused() -> None:
    found: list[Table[Customer]] = []

    def other(orders: Stream[Order], customers: Table[Customer], names: GlobalTable[str]) -> None:
        found.append(customers)
        customers.to("a")
        orders.join(names, lambda o, n: o).to("b")

    plan_of(other)
    with pytest.raises(PlanError, match="belongs to another pipeline"):
        plan_of(lambda o, c, n: o.join(found[0], max))


def test_a_table_keeps_nothing_until_a_verb_needs_it() -> None:
    @pipeline
    def joined(orders: Stream[Order], customers: Table[Customer]) -> None:
        orders.join(customers.filter(lambda c: c.name), lambda o, c: o).to("out")

    @pipeline
    def kept(customers: Table[Customer]) -> None:
        customers.filter(lambda c: c.name).to("one")
        customers.map(lambda c: c.name).to("two")

    (sub,) = joined.plan().sub_topologies
    assert sub.input_topics == ("customers", "orders")
    assert [node.name for node in sub.stateful] == ["join-orders-customers-filter-name"]
    (sub,) = kept.plan().sub_topologies
    assert [node.name for node in sub.stateful] == ["table-customers"]
