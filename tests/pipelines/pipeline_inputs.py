"""Small parts of the data, as records in the order in which they happened."""

from __future__ import annotations

import random
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import departures_recomputed as recomputed

from streamlog.cli.demo.dataset import TABLES, TableFile, find_data

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import shop_traffic

if TYPE_CHECKING:
    from datetime import datetime

CUSTOMERS = 300
PAUSE_AT, PAUSE_MS = 150, 3_600_000
"""For an hour nobody comes to the shop, so that a slow test's clock cannot make anybody late."""


class Sent(NamedTuple):
    """A record of a topic."""

    time_ms: int
    topic: str
    key: bytes
    value: bytes


@cache
def table_records(topic: str, until: datetime) -> tuple[Sent, ...]:
    """The records of one of the data set's tables, as the demo loads them."""
    (table,) = (table for table in TABLES if table.topic == topic)
    until_ms = recomputed.milliseconds(until)
    found: list[Sent] = []
    for chunk in TableFile(table, find_data()).chunks():
        columns = zip(chunk.keys, chunk.values, chunk.timestamps, strict=True)
        found += [Sent(at, topic, key, value) for key, value, at in columns if at < until_ms]
        if chunk.timestamps[-1] >= until_ms:
            break
    return tuple(found)


@cache
def shop_records(start_ms: int = 0) -> tuple[Sent, ...]:
    """Some minutes of customers, in the order in which they write."""
    rng = random.Random(7)
    sent = []
    for number in range(CUSTOMERS):
        base_ms = start_ms + number * 137 + PAUSE_MS * (number >= PAUSE_AT)
        for delay_s, topic, key, value in shop_traffic.shopping(rng, number):
            sent.append(Sent(base_ms + round(delay_s * 1000), topic, key, value))
    return tuple(sorted(sent))
