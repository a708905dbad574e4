"""The clicks: JSON events of 10,000 users, one a millisecond, keyed by user; and where these are.

    {"user":"user-04711","url":"/shop/item-42","ts":1700000000123,"ms":87}

Three of four are in the shop. Each tenth of a second one of the users moves to another country. The
same number of clicks is the same bytes in every run.
"""

from __future__ import annotations

import random
import uuid
from typing import NamedTuple

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 4
USERS = 10_000
PAGES = 100
SHOP_PAGES = 75
BEGIN_MS = 1_700_000_040_000
"""A full minute."""
WINDOW_MS = 60_000
MOVE_INTERVAL_MS = 100
COUNTRIES = ("at", "br", "ca", "de", "fr", "in", "jp", "us")


class Load(NamedTuple):
    """What was produced."""

    address: str
    clicks: str
    users: str
    clicks_count: int
    in_shop: int
    windows: int
    """Pairs of a user and a minute with a click in the shop."""


def create_topic(address: str, name: str, partitions: int = PARTITIONS) -> str:
    """Creates a topic with a name of its own that begins with `name`."""
    name = f"{name}-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": address})
    for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
        future.result(30)
    return name


def load(address: str, count: int) -> Load:
    """Produces `count` clicks and the users, each to a new topic."""
    clicks, users = create_topic(address, "clicks"), create_topic(address, "users")
    # As Java's clients place keys; librdkafka's own default differs.
    producer = Producer(
        {
            "bootstrap.servers": address,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "queue.buffering.max.messages": 200_000,
        }
    )

    def send(topic: str, key: str, value: str, timestamp: int) -> None:
        while True:
            try:
                producer.produce(topic, value, key, timestamp=timestamp)
                return
            except BufferError:
                producer.poll(0.01)

    def move(user: int, number: int, ts: int) -> None:
        send(users, f"user-{user:05}", f'{{"country":"{COUNTRIES[number % 8]}"}}', ts)

    for number in range(USERS):
        move(number, number, BEGIN_MS)
    chance = random.Random(1)
    in_shop = 0
    windows: set[tuple[int, int]] = set()
    for number in range(count):
        user, page = chance.randrange(USERS), chance.randrange(PAGES)
        if page < SHOP_PAGES:
            url = f"/shop/item-{page:02}"
            in_shop += 1
            windows.add((user, number // WINDOW_MS))
        else:
            url = f"/about/page-{page:02}"
        name, ts, ms = f"user-{user:05}", BEGIN_MS + number, chance.randrange(1000)
        send(clicks, name, f'{{"user":"{name}","url":"{url}","ts":{ts},"ms":{ms}}}', ts)
        if number % MOVE_INTERVAL_MS == 0:
            move(number // MOVE_INTERVAL_MS % USERS, number, ts)
            producer.poll(0)
    if left := producer.flush(60):
        raise RuntimeError(f"{left} clicks were not delivered")
    return Load(address, clicks, users, count, in_shop, len(windows))


def read_all(address: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Returns keys and values of all records of a topic."""
    consumer = Consumer(
        {
            "bootstrap.servers": address,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.subscribe([topic])
    records: list[tuple[bytes | None, bytes | None]] = []
    ended = 0
    while ended < PARTITIONS:
        for message in consumer.consume(10_000, 0.2):
            if message.error() is None:
                records.append((message.key(), message.value()))
            else:
                ended += 1
    consumer.close()
    return records
