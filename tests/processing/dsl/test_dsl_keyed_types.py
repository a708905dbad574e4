"""What type checkers see of groups, order and processors: `mypy` proves this file."""

from __future__ import annotations

from collections.abc import Iterator  # noqa: TC003 (read when the program runs)
from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from streamlog import (
    GroupedTable,
    List,
    Map,
    OrderedStream,
    Processor,
    ProcessorContext,
    Stream,
    Table,
    Timer,
    Value,
    cogroup,
    collect,
    count,
    distinct,
    fold,
    pipeline,
    quantiles,
    reduce_,
    sum_,
    top_k,
)

if TYPE_CHECKING:
    from typing import assert_type
else:

    def assert_type(value: object, _: object) -> object:
        return value


class Order(Struct):
    who: str
    amount: float


class Account(Struct):
    orders: int
    spent: float


class Everything(Struct):
    recent: list[Order]
    names: set[str]
    middle: list[float] | None
    best: list[Order]
    product: float
    largest: Order


class Alert(Struct):
    text: str


class Watch(Processor[Order, Alert]):
    last: Value[float]
    seen: Map[str, int]
    recent: List[Order]

    def process(self, key: bytes | None, value: Order, ctx: ProcessorContext) -> Iterator[Alert]:
        assert_type(self.last.get(), float | None)
        assert_type(self.last.get(0.0), float)
        assert_type(self.seen.get(value.who, 0), int)
        assert_type(list(self.seen.items()), list[tuple[str, int]])
        assert_type(list(self.recent), list[Order])
        assert_type(self.recent[:1], list[Order])
        yield Alert("")

    def on_timer(self, key: bytes | None, timer: Timer, ctx: ProcessorContext) -> list[Alert]:
        return [Alert(timer.name)]


def rises(
    key: bytes | None, value: Order, ctx: ProcessorContext, last: Value[float]
) -> Iterator[float]:
    before = last.get(value.amount)
    last.set(value.amount)
    yield value.amount - before


def append(names: list[str], order: Order) -> list[str]:
    return [*names, order.who]


@pipeline
def typed(orders: Stream[Order], others: Stream[Order]) -> None:
    keyed = assert_type(orders.key_by(lambda o: o.who), Stream[Order])
    counted = assert_type(keyed.count(), Table[int])
    counted.to("counted")
    assert_type(keyed.reduce(lambda a, b: a if a.amount > b.amount else b), Table[Order]).to("best")
    accounts = assert_type(
        keyed.aggregate(Account, orders=count(), spent=sum_(lambda o: o.amount)), Table[Account]
    )
    groups = assert_type(accounts.group_by(lambda a: a.orders), GroupedTable[Account])
    assert_type(groups.count(name="groups"), Table[int]).to("groups")
    assert_type(groups.sum_(lambda a: a.spent), Table[float]).to("sums")
    assert_type(
        groups.aggregate(
            Account, name="sizes", orders=count(), spent=fold(0.0, lambda s, a: s, remove=min_of)
        ),
        Table[Account],
    ).to("sizes")
    assert_type(
        keyed.aggregate(
            Everything,
            recent=collect(limit=3),
            names=distinct(lambda o: o.who),
            middle=quantiles(lambda o: o.amount, 0.5),
            best=top_k(2, by=lambda o: o.amount),
            product=fold(1.0, lambda product, o: product * o.amount),
            largest=reduce_(lambda a, b: a if a.amount > b.amount else b),
        ),
        Table[Everything],
    ).to("everything")
    both = cogroup(
        Account,
        keyed.fields(orders=count()),
        others.key_by(lambda o: o.who, name="others-by-who").fields(spent=sum_(lambda o: o.amount)),
        name="both",
    )
    assert_type(both, Table[Account]).to("both")
    ordered = assert_type(keyed.in_order(grace=timedelta(seconds=1)), OrderedStream[Order])
    assert_type(ordered.late(), Stream[Order]).to("late")
    assert_type(ordered.process(Watch), Stream[Alert]).to("alerts")
    assert_type(keyed.process(Watch(), name="watch-2"), Stream[Alert]).to("more-alerts")
    assert_type(keyed.process(rises), Stream[float]).to("rises")
    assert_type(keyed.dedup(lambda o: o.amount, within=timedelta(hours=1)), Stream[Order]).to(
        "deduped"
    )
    assert_type(fold(list, append, state=list[str]).can_merge, bool)


def min_of(spent: float, account: Account) -> float:
    return spent - account.spent


def test_the_plan_can_be_made() -> None:
    assert len(typed.plan().output_topics) == 12


class OfNumbers(Processor[float, str]):
    def process(self, key: bytes | None, value: float, ctx: ProcessorContext) -> list[str]:
        return []


def refused(orders: Stream[Order]) -> None:
    """Each line is an error to a type checker; `mypy` fails here if one is not."""
    orders.reduce(lambda a, b: a.amount)  # type: ignore[arg-type, return-value]
    orders.aggregate(Account, orders=sum_(lambda o: o.who))  # type: ignore[arg-type, return-value]
    orders.fields(orders=top_k(2, lambda o: o.nobody))  # type: ignore[attr-defined]
    orders.process(OfNumbers)  # type: ignore[arg-type]
    orders.dedup(lambda o: o.number, within=timedelta(1))  # type: ignore[attr-defined]
    orders.count().group_by(lambda n: n.who)  # type: ignore[attr-defined]
