"""Every kind of window and join, on our own broker and on Apache Kafka, forth and back.

The pipelines of `pipelines/departures.py` and the shop's `settlements` run over a small part of the
data in two goes, by the command, and are compared with plain Python. Then each is rewound to
the middle and runs on, which must lead to the same results and the same state.
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apache_kafka
import pytest
import trio
from interop_broker import own_broker

from streamlog.client.admin.admin import Admin
from streamlog.client.admin.values import NewTopic
from streamlog.client.client import open_client
from streamlog.client.config import ClientConfig
from streamlog.processing.plan.topics import KEPT

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))
sys.path.insert(0, str(Path(__file__).parent.parent / "pipelines"))

import departures_recomputed as recomputed
from command_runner import Shell, streamlog
from pipeline_inputs import PAUSE_MS, Sent, send, shop_records, table_records
from shop_recomputed import settlements

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MISSING = apache_kafka.unavailable()
pytestmark = [pytest.mark.interop, pytest.mark.slow]

PIPELINES = Path(__file__).parent.parent.parent / "pipelines"
TABLES = ("planes", "weather", "flights")
TOPICS = (*TABLES, "orders", "payments", "sales", "prices")
PARTITIONS = 2
FIRST, MIDDLE, END = (datetime(2013, 1, day, tzinfo=UTC) for day in (1, 2, 3))
SHOP_OPENS_MS = recomputed.milliseconds(FIRST)
SHOP_MIDDLE_MS = SHOP_OPENS_MS + PAUSE_MS // 2
FILE = f"""
import sys

sys.path.insert(0, {str(PIPELINES)!r})

from departures import aircraft_trips, busiest_hours, delay_by_age, delay_by_wind, turnarounds
from shop import settlements

from streamlog import Stream, Table, pipeline


@pipeline
def takings(sales: Stream[dict], prices: Table[dict]):
    # Two sources that are read together.
    priced = sales.join(prices, lambda sale, price: sale | (price or {{}}), how="left", to=dict)
    priced.to("takings")
"""
DEPARTURES: dict[str, Callable[[datetime], dict[Any, Any]]] = {
    "delay_by_wind": recomputed.delay_by_wind,
    "aircraft_trips": recomputed.aircraft_trips,
    "turnarounds": recomputed.turnarounds,
    "busiest_hours": recomputed.busiest_hours,
    "delay_by_age": recomputed.delay_by_age,
}
MIDDLE_MS = dict.fromkeys(DEPARTURES, recomputed.milliseconds(MIDDLE)) | {
    "settlements": SHOP_MIDDLE_MS,
    "takings": SHOP_MIDDLE_MS,
}


def sale_records() -> Iterator[tuple[Sent, int | None]]:
    """Prices that change and sales, each with the price of its time."""
    prices: dict[bytes, int] = {}
    for number in range(600):
        at_ms, key = SHOP_OPENS_MS + number * PAUSE_MS // 600, b"item-%d" % (number % 7)
        if number % 5 == 0:
            prices[key] = number
            yield Sent(at_ms, "prices", key, b'{"cents": %d}' % number), None
        else:
            yield Sent(at_ms, "sales", key, b'{"number": %d}' % number), prices.get(key)


def halves() -> tuple[list[Sent], list[Sent]]:
    """What there is to read before the middle, and from there on."""
    found: tuple[list[Sent], list[Sent]] = ([], [])
    for topic in TABLES:
        for sent in table_records(topic, END):
            found[sent.time_ms >= MIDDLE_MS["turnarounds"]].append(sent)
    for sent in shop_records(SHOP_OPENS_MS):
        found[sent.time_ms >= SHOP_MIDDLE_MS].append(sent)
    for sent, _ in sale_records():
        found[sent.time_ms >= SHOP_MIDDLE_MS].append(sent)
    return found


@dataclass(frozen=True)
class World:
    """A broker, whoever's, a folder for state, and a shell for commands in this process."""

    address: str
    folder: Path
    shell: Shell

    async def create_topics(self) -> None:
        async with open_client(ClientConfig(brokers=(self.address,))) as client:
            topics = [NewTopic(topic, PARTITIONS, configs=KEPT) for topic in TOPICS]
            await Admin(client).create_topics(topics)

    async def send(self, part: Sequence[Sent]) -> None:
        async with open_client(ClientConfig(brokers=(self.address,))) as client:
            await send(client, part, PARTITIONS)

    def run(self, *options: str) -> None:
        """Runs all pipelines over what is there, in a process of their own."""
        file = self.folder / "every.py"
        file.write_text(FILE)
        state = ("--state", str(self.folder / "state"))
        streamlog("run", str(file), "--until", "end", "-q", *options, "-b", self.address, *state)

    def rewind(self, pipeline: str, to_ms: int) -> list[dict[str, Any]]:
        """Rewinds to a moment of the records."""
        to = ("--to", f"@{to_ms}", "--by", "event", "--execute", "--format", "json")
        found: list[dict[str, Any]] = json.loads(
            self.shell("rewind", pipeline, *to, "--state", str(self.folder / "state"))
        )
        return found

    def rows(self, pipeline: str) -> list[str]:
        """All state of a pipeline."""
        exported = self.shell("state", "export", pipeline, "--state", str(self.folder / "state"))
        return sorted(exported.splitlines())

    def newest(self, topic: str, identity: Callable[[dict[str, Any], Any], Any]) -> dict[Any, Any]:
        """The newest value by what tells results apart."""
        found = {}
        for line in self.shell("consume", topic, "-o", ":end", "-J").splitlines():
            record = json.loads(line)
            value = json.loads(record["payload"])
            found[identity(record, value)] = value
        return found


@pytest.fixture(
    params=[
        pytest.param("own", id="our-broker"),
        pytest.param(
            "apache",
            id="apache-kafka",
            marks=pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
        ),
    ]
)
def world(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[World]:
    with contextlib.ExitStack() as cleanup:
        if request.param == "own":
            address = cleanup.enter_context(own_broker(tmp_path / "broker"))
        else:
            address = request.getfixturevalue("kafka")
        yield World(address, tmp_path, Shell(address, capsys, lambda _: None))


def identity_of(record: dict[str, Any], value: Any) -> Any:  # noqa: ANN401
    """A result's key, and its window if it has one."""
    return (record["key"], value["start"]) if "start" in value else record["key"]


def assert_right(world: World) -> None:
    """The newest result of each key, or of each key and window, is the recomputed one."""
    for name, recompute in DEPARTURES.items():
        expected: dict[Any, Any] = recompute(END)
        assert len(expected) > 3
        found = world.newest(name.replace("_", "-"), identity_of)
        if name == "delay_by_wind":
            recomputed.check_medians(found, expected)
        assert found == expected, name
    takings = world.newest("takings", lambda _, value: value["number"])
    expected = {
        (number := json.loads(sent.value or b"")["number"]): {"number": number}
        | ({} if cents is None else {"cents": cents})
        for sent, cents in sale_records()
        if sent.topic == "sales"
    }
    assert takings == expected
    settled, dead = settlements(shop_records(SHOP_OPENS_MS))
    found = world.newest("settlements", lambda _, value: value["order"])
    assert {order: value["paid"] for order, value in found.items()} == settled
    letters = world.shell("consume", "settlements.dlq", "-o", ":end", "-J").splitlines()
    assert {int(json.loads(line)["key"]) for line in letters} == dead


def test_everything_comes_out_right_and_again_after_a_rewind(world: World) -> None:
    trio.run(world.create_topics)
    before, after = halves()
    trio.run(world.send, before)
    world.run()
    trio.run(world.send, after)
    world.run("--drain")
    assert_right(world)
    rows = {name: world.rows(name) for name in MIDDLE_MS}
    for name, middle_ms in MIDDLE_MS.items():
        tasks = world.rewind(name, middle_ms)
        assert any(task["reached"] == "yes" and task["read_again"] for task in tasks), (name, tasks)
    world.run("--drain")
    assert {name: world.rows(name) for name in MIDDLE_MS} == rows
    assert_right(world)
