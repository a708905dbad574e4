"""Small parts of the data, as records in the order in which they happened."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from datetime import timedelta
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import departures_recomputed as recomputed

from streamlog.cli.demo.dataset import TABLES, TableFile, find_data
from streamlog.client.producer.producer import open_producer
from streamlog.records.murmur2 import partition_of

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "pipelines"))

import shop_traffic

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from streamlog.client.client import Client

FLIGHTS_FILE = Path(__file__).parent.parent.parent / "pipelines" / "flights.py"
CUSTOMERS = 300
BATCH = 500
"""Small, so that there is something between the pieces in which it is read."""
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
    file = TableFile(table, find_data())
    if topic == "flights":
        # Sorting the whole year takes seconds. Lines go by day; they begin with it.
        last = (until + timedelta(days=2)).date()
        days = (tuple(map(int, line.split(",", 3)[:3])) for line in file._lines)
        end = (last.year, last.month, last.day)
        del file._lines[sum(1 for _ in takewhile(lambda day: day < end, days)) :]
    found: list[Sent] = []
    for chunk in file.chunks():
        columns = zip(chunk.keys, chunk.values, chunk.timestamps, strict=True)
        found += [Sent(at, topic, key, value) for key, value, at in columns if at < until_ms]
        if chunk.timestamps[-1] >= until_ms:
            break
    return tuple(found)


def flights_file(folder: Path, suffix: str = "", topic: str = "flights") -> str:
    """The demo's pipelines with a checkpoint every tenth of a second, so that more come in a part.

    Args:
        folder: Where to put the file.
        suffix: Of the names of the pipelines and of what they write.
        topic: From which they read.
    """
    text = FLIGHTS_FILE.read_text()
    for name in ("delays-per-carrier", "cancellations-per-origin"):
        text = text.replace(f'"{name}"', f'"{name}{suffix}"')
        function = name.replace("-", "_")
        text = text.replace(f"def {function}(", f"def {function}{suffix.replace('-', '_')}(")
    text = text.replace('Topic("flights"', f'Topic("{topic}"')
    interval = "@pipeline(checkpoint_interval=timedelta(milliseconds=100))\n"
    assert text.count("@pipeline\n") == 2
    path = folder / "flights.py"
    path.write_text(text.replace("@pipeline\n", interval))
    return str(path)


async def send(client: Client, sent: Iterable[Sent], partitions: int) -> None:
    """Sends records to where their keys say, in their order."""
    rows: defaultdict[tuple[str, int], list[Sent]] = defaultdict(list)
    for each in sent:
        rows[each.topic, partition_of(each.key, partitions)].append(each)
    async with open_producer(client) as producer:
        for (topic, partition), mine in rows.items():
            for begin in range(0, len(mine), BATCH):
                part = mine[begin : begin + BATCH]
                await producer.send_columns(
                    topic,
                    partition,
                    [each.key for each in part],
                    [each.value for each in part],
                    [each.time_ms for each in part],
                )
        await producer.flush()


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
