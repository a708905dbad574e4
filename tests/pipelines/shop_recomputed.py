"""What the pipeline `settlements` of `pipelines/shop.py` must find out, with plain Python."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

PAID_WITHIN_MS = 20_000


def settlements(
    sent: Iterable[tuple[int, str, bytes, bytes]],
) -> tuple[dict[int, bool], set[int]]:
    """By order whether it was paid; and the orders whose payments are dead letters."""
    orders: dict[int, tuple[int, int]] = {}
    payments: dict[int, tuple[int, Any]] = {}
    for time_ms, topic, _, value in sent:
        fields = json.loads(value)
        if topic == "orders":
            orders[fields["number"]] = (time_ms, fields["cents"])
        else:
            payments[fields["order"]] = (time_ms, fields["cents"])
    settled, dead = {}, set()
    for number, (time_ms, cents) in orders.items():
        at_ms, paid = payments.get(number, (0, None))
        if isinstance(paid, str) or paid == 0:
            dead.add(number)
        settled[number] = paid == cents and at_ms <= time_ms + PAID_WITHIN_MS
    return settled, dead
