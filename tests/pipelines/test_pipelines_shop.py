"""The shop: its pipelines against plain Python over the same customers."""

from __future__ import annotations

import random
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamlog.testing import drive

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import shop
import shop_traffic

CUSTOMERS = 300
Sent = tuple[int, str, bytes, bytes]
"""Milliseconds, topic, key, value."""


def traffic() -> list[Sent]:
    """Some minutes of customers, in the order in which they write."""
    rng = random.Random(7)
    sent: list[Sent] = []
    for number in range(CUSTOMERS):
        for delay_s, topic, key, value in shop_traffic.shopping(rng, number):
            sent.append((round(number * 137 + delay_s * 1000), topic, key, value))
    return sorted(sent)


def expected() -> tuple[dict[int, bool], set[int]]:
    """Which orders were settled, paid or not; and whose payments are dead letters."""
    orders: dict[int, tuple[int, int]] = {}
    payments: dict[int, tuple[int, Any]] = {}
    for time, topic, _, value in traffic():
        fields = msgspec.json.decode(value)
        if topic == "orders":
            orders[fields["number"]] = (time, fields["cents"])
        else:
            payments[fields["order"]] = (time, fields["cents"])
    settled, dead = {}, set()
    for number, (time, cents) in orders.items():
        at, paid = payments.get(number, (0, None))
        if isinstance(paid, str) or paid == 0:
            dead.add(number)
        settled[number] = paid == cents and at <= time + 20_000
    return settled, dead


@pytest.mark.parametrize(("partitions", "seed"), [(1, None), (3, 5)])
def test_every_order_is_settled_once(partitions: int, seed: int | None) -> None:
    settled, dead = expected()
    with drive(shop.settlements, partitions=partitions, seed=seed) as t:
        for index, (time, topic, key, value) in enumerate(traffic()):
            t.send(topic, value, key=key, timestamp=time)
            if index == 200:
                t.run()
                t.crash(at="state")
        t.drain()
        results = {r.value["order"]: r.value["paid"] for r in t.read("settlements")}
        letters = {int(r.key or 0) for r in t.read("settlements.dlq")}
    assert results == settled
    assert letters == dead
    assert dead


def test_customers_who_take_long_are_reminded_once() -> None:
    with drive(shop.reminders, partitions=2) as t:
        for number in range(4):
            t.send("orders", shop.Order(number, "ann", 100), key=str(number), timestamp=number)
        t.send("payments", shop.Payment(1, 100), key="1", timestamp=500)
        t.wait(timedelta(seconds=9))
        assert t.read("reminders") == []
        t.send("payments", shop.Payment(2, 100), key="2", timestamp=9_000)
        t.crash()
        t.wait(timedelta(seconds=3))
        assert sorted(r.value["order"] for r in t.read("reminders")) == [0, 3]
        t.wait(timedelta(seconds=60))
        assert t.read("reminders") == []


def test_takings_are_shown_as_they_come_in() -> None:
    with drive(shop.takings) as t:
        for number, cents in enumerate((100, 250)):
            settlement = shop.Settlement(number, "ann", cents, paid=True)
            t.send("settlements", settlement, key=str(number), timestamp=number)
        t.send("settlements", shop.Settlement(3, "ann", 999, paid=False), key="3", timestamp=2)
        t.run()
        shown = [r.value["value"] for r in t.read("takings")]
        assert shown == [{"orders": 1, "cents": 100}, {"orders": 2, "cents": 350}]
