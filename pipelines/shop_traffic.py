"""Customers of the shop in `shop.py`: writes orders and payments until Ctrl-C.

    python pipelines/shop_traffic.py 127.0.0.1:9092 [orders per second]

The same seed gives the same customers; only the times are those of the clock.
"""

from __future__ import annotations

import random
import sys
from typing import TYPE_CHECKING

import msgspec
import trio

from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.client.producer.producer import open_producer

if TYPE_CHECKING:
    from collections.abc import Iterator

CUSTOMERS = ("ann", "bob", "cleo", "dora", "emil")
NEVER_PAYS, PAYS_TOO_LITTLE, ZERO_TILL, COMMA_TILL = 0.1, 0.13, 0.15, 0.17
"""Of all customers, up to where in the dice's range."""

Record = tuple[float, str, bytes, bytes]
"""Seconds from now, topic, key, value."""


def shopping(rng: random.Random, number: int) -> Iterator[Record]:
    """What one customer does: an order, and mostly a payment some seconds later."""
    key = str(number).encode()
    cents = rng.randrange(100, 10_000)
    order = {"number": number, "customer": rng.choice(CUSTOMERS), "cents": cents}
    yield 0.0, "orders", key, msgspec.json.encode(order)
    chance, delay_s = rng.random(), rng.expovariate(1 / 6)
    if chance < NEVER_PAYS:
        return
    paid: object = cents
    if chance < PAYS_TOO_LITTLE:
        paid = cents - 1
    elif chance < ZERO_TILL:
        paid = 0
    elif chance < COMMA_TILL:
        paid = f"{cents // 100},{cents % 100:02}"
    yield delay_s, "payments", key, msgspec.json.encode({"order": number, "cents": paid})


async def send_for_ever(address: str, per_second: float, seed: int) -> None:
    """Lets one customer in after the other."""
    rng = random.Random(seed)
    async with (
        open_client(ClientConfig(brokers=(address,), client_id="shop-traffic")) as client,
        open_producer(client) as producer,
        trio.open_nursery() as customers,
    ):

        async def visit(number: int) -> None:
            for delay_s, topic, key, value in shopping(rng, number):
                await trio.sleep(delay_s)
                await producer.send(topic, value, key=key)

        number = int(trio.current_time() * 1000) % 1_000_000_000
        while True:
            number += 1
            customers.start_soon(visit, number)
            await trio.sleep(rng.expovariate(per_second))


def main() -> None:
    """Reads the arguments."""
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    per_second = float(sys.argv[2]) if len(sys.argv) == 3 else 20.0
    try:
        trio.run(send_for_ever, sys.argv[1], per_second, 2013)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
