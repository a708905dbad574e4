"""The shop: its pipelines against plain Python over the same customers."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import pytest
from pipeline_inputs import shop_records
from shop_recomputed import settlements

from streamlog.testing import drive

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import shop


@pytest.mark.parametrize(("partitions", "seed"), [(1, None), (3, 5)])
def test_every_order_is_settled_once(partitions: int, seed: int | None) -> None:
    settled, dead = settlements(shop_records())
    with drive(shop.settlements, partitions=partitions, seed=seed) as t:
        for index, (time, topic, key, value) in enumerate(shop_records()):
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
