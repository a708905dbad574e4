"""A shop: orders, their payments, and what becomes of orders that nobody pays.

It runs for as long as you let it. In one terminal

    streamlog run pipelines/shop.py

and in another, with the address that the first one shows:

    python pipelines/shop_traffic.py 127.0.0.1:9092

Some orders are never paid, and some not in full. A broken till sends amounts of zero, which a step
refuses, and another one sends them with commas, which nobody can read: both go to a topic of dead
letters.

    streamlog consume settlements -o :end -J
    streamlog consume reminders -o :end -J
    streamlog dlq list settlements
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from streamlog import (
    Output,
    Processor,
    ProcessorContext,
    Stream,
    Timer,
    Value,
    count,
    dead_letter,
    pipeline,
    sum_,
    tumbling,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

PAID_WITHIN = timedelta(seconds=20)
REMIND_AFTER = timedelta(seconds=10)


class Order(Struct):
    """An order; its key is its number."""

    number: int
    customer: str
    cents: int


class Payment(Struct):
    """A payment for one order, whose number is its key."""

    order: int
    cents: int


class Settlement(Struct):
    """What has become of an order."""

    order: int
    customer: str
    cents: int
    paid: bool


def checked(payment: Payment) -> Payment:
    """Refuses what is no payment."""
    if payment.cents <= 0:
        raise ValueError(f"order {payment.order} was paid with {payment.cents} cents")
    return payment


def settle(order: Order, payment: Payment | None) -> Settlement:
    """Says whether the order was paid."""
    return Settlement(order.number, order.customer, order.cents, payment is not None)


def pays(order: Order, payment: Payment) -> bool:
    """Whether a payment is what is owed."""
    return order.cents == payment.cents


@pipeline(on_error=dead_letter(), quiet=timedelta(seconds=5))
def settlements(orders: Stream[Order], payments: Stream[Payment]) -> Output:
    """Each order once: paid, or not paid in full within twenty seconds."""
    return orders.join(
        payments.map(checked),
        settle,
        after=PAID_WITHIN,
        before=timedelta(0),
        where=pays,
        how="left",
    ).to("settlements")


class Reminder(Struct):
    """Tells a customer to pay."""

    order: int
    customer: str
    waiting_since: datetime


class Event(Struct):
    """An order or its payment: what the reminders look at."""

    order: Order | None
    payment: bool = False


class Reminders(Processor[Event, Reminder]):
    """Remembers an order until it is paid, and reminds once if that takes long.

    Orders and payments come from two topics, so either may be the first to arrive.
    """

    waiting: Value[Order]
    paid: Value[bool]

    def process(self, key: bytes | None, value: Event, ctx: ProcessorContext) -> None:
        """An order sets the clock, its payment stops it."""
        if value.order is None:
            if self.waiting.get() is None:
                self.paid.set(True)
            self.waiting.clear()
            ctx.cancel_wall()
        elif self.paid.get(False):
            self.paid.clear()
        else:
            self.waiting.set(value.order)
            ctx.wall_timer(ctx.event_time + REMIND_AFTER)

    def on_timer(
        self, key: bytes | None, timer: Timer, ctx: ProcessorContext
    ) -> Iterator[Reminder]:
        """It took long."""
        order = self.waiting.get()
        if order is not None:
            yield Reminder(order.number, order.customer, timer.at - REMIND_AFTER)


@pipeline(on_error=dead_letter())
def reminders(orders: Stream[Order], payments: Stream[Payment]) -> Output:
    """Customers who have not paid after ten seconds on the wall clock."""
    placed = orders.map(lambda order: Event(order))
    paid = payments.map(lambda payment: Event(None, payment=True))
    return placed.merge(paid, name="events").process(Reminders).to("reminders")


class Takings(Struct):
    """What came in."""

    orders: int
    cents: int


@pipeline(quiet=timedelta(seconds=5))
def takings(settlements: Stream[Settlement]) -> Output:
    """What each customer has paid in each minute, as it comes in."""
    return (
        settlements.filter(lambda settlement: settlement.paid)
        .key_by(lambda settlement: settlement.customer)
        .window(tumbling(timedelta(minutes=1)), emit="changes")
        .aggregate(Takings, orders=count(), cents=sum_(lambda settlement: settlement.cents))
        .to("takings")
    )
