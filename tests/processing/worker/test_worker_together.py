"""Tasks that read several sources together, in whole pipelines: order, silence, failures."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pipeline_schedules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct
from pipeline_schedules import Inputs, run_wildly

from streamlog import (
    Stream,
    Table,
    Topic,
    dead_letter,
    pipeline,
    retry,
    skip,
    tumbling,
)
from streamlog.processing.errors import FunctionFailure, PlanError
from streamlog.processing.worker import together
from streamlog.testing import drive
from streamlog.testing.memory_worker import MemoryWorker

if TYPE_CHECKING:
    from streamlog import Pipeline
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.testing import Driver

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
STEPS = ("outputs", "changelog", "state", "commit")
SECOND = timedelta(seconds=1)
KEYS = ("tea", "rum")
BROKEN: set[int] = set()


@pytest.fixture(autouse=True)
def nothing_is_broken() -> None:
    BROKEN.clear()


class Sale(Struct):
    number: int


class Price(Struct):
    cents: int


def result(sale: Sale, price: Price | None) -> list[int | None]:
    if sale.number in BROKEN:
        raise ValueError(f"{sale.number} is broken")
    return [sale.number, None if price is None else price.cents]


@pipeline(idle=2 * SECOND)
def priced(sales: Stream[Sale], prices: Table[Price]) -> None:
    joined = sales.join(prices, result, how="left")
    joined.to("out")
    joined.key_by(lambda each: (each[0] or 0) % 2, name="parity").window(
        tumbling(SECOND)
    ).count().to("n")


@pipeline(idle=timedelta(milliseconds=1))
def hasty(sales: Stream[Sale], prices: Table[Price]) -> None:
    joined = sales.join(prices, result, how="left")
    joined.to("out")
    joined.key_by(lambda each: (each[0] or 0) % 2, name="parity").window(
        tumbling(SECOND)
    ).count().to("n")


def sell(t: Driver | Recorder, number: int, at: int, key: str = "tea") -> None:
    t.send("sales", Sale(number), key=key, timestamp=at)


def price(t: Driver | Recorder, cents: int | None, at: int, key: str = "tea") -> None:
    t.send("prices", None if cents is None else Price(cents), key=key, timestamp=at)


def out(t: Driver) -> list[Any]:
    return [record.value for record in t.read("out")]


# Order.


def test_one_task_reads_both_and_no_topic_lies_between() -> None:
    @pipeline
    def plain(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.join(prices, result, how="left").to("out")

    (sub,) = plain.plan().sub_topologies
    assert sub.input_topics == ("prices", "sales"), "rows come before what looks them up"
    assert not sub.repartition_topics
    assert plain.plan().source_topics == ("prices", "sales")


def test_a_record_waits_until_the_table_is_as_far_and_then_for_nothing() -> None:
    with drive(priced) as t:
        sell(t, 1, 10)
        t.run()
        assert out(t) == []
        price(t, 5, 7)
        t.run()
        assert out(t) == [], "a price of the time 9 may come"
        price(t, 6, 10)
        price(t, 9, 20)
        t.run()
        assert out(t) == [[1, 6]]
        sell(t, 2, 12)
        sell(t, 3, 21)
        t.run()
        assert out(t) == [[2, 6]], "at once: the table is known up to 20"


def test_a_silent_table_is_not_waited_for_and_heard_again() -> None:
    with drive(priced) as t:
        price(t, 5, 7)
        sell(t, 1, 10)
        t.wait(SECOND)
        assert out(t) == []
        t.wait(2 * SECOND)
        assert out(t) == [[1, 5]]
        sell(t, 2, 30)
        t.run()
        assert out(t) == [[2, 5]], "nobody waits any more"
        price(t, 6, 20)
        sell(t, 3, 40)
        t.run()
        assert out(t) == [[3, 5]], "that it is heard again takes effect with a decision"
        t.wait(SECOND)
        sell(t, 4, 50)
        t.run()
        assert out(t) == []
        t.wait(3 * SECOND)
        assert out(t) == [[4, 6]]


def send_random(t: Driver, rng: random.Random, number: int, now: int) -> None:
    key = rng.choice(KEYS)
    at = now - rng.choice((0, 0, 0, 3, 700))
    if rng.random() < 0.3:
        price(t, rng.choice((None, number)), at, key)
    else:
        sell(t, number, at, key)


def disturb(t: Driver, rng: random.Random, *, rewinds: bool = True) -> None:
    match rng.randrange(11):
        case 9 | 10:
            # Much was put out of which no checkpoint tells.
            t._process_all()
            t.crash("outputs")
        case 0 | 1 | 2:
            t.run()
        case 3:
            t.crash(rng.choice(STEPS))  # type: ignore[arg-type]
        case 4:
            t.delete_state()
        case 5 if rewinds:
            t.rewind(rng.choice((-1, -3)), rebuild=True)
        case _:
            pass


def reference(sent: list[tuple[str, str, int, int | None]]) -> dict[int, int | None]:
    """What held at each sale, if nothing was late for the table's history."""
    found: dict[int, int | None] = {}
    for topic, key, at, value in sent:
        if topic == "sales":
            rows = [
                (row_at, place, cents)
                for place, (other, row_key, row_at, cents) in enumerate(sent)
                if other == "prices" and row_key == key and row_at <= at
            ]
            assert value is not None
            found[value] = max(rows, default=(0, 0, None))[2]
    return found


class Recorder:
    """Sends what it is told to, and remembers it."""

    def __init__(self, t: Driver) -> None:
        self.t = t
        self.sent: list[tuple[str, str, int, int | None]] = []

    def send(self, topic: str, value: Sale | Price | None, *, key: str, timestamp: int) -> None:
        number = (
            None if value is None else value.cents if isinstance(value, Price) else value.number
        )
        self.sent.append((topic, key, timestamp, number))
        self.t.send(topic, value, key=key, timestamp=timestamp)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32))
def test_what_held_is_found_in_any_order_with_crashes_and_rewinds(seed: int) -> None:
    """Each sale meets the row of its time, of those that came before by the sources' own times."""
    rng = random.Random(seed)
    with drive(priced, partitions=2, seed=seed) as t:
        recorder = Recorder(t)
        now = 1_000
        for number in range(1, 40):
            now += rng.randrange(0, 5)
            key = rng.choice(KEYS)
            if rng.random() < 0.3:
                price(recorder, rng.choice((None, number)), now, key)
            else:
                sell(recorder, number, now - rng.choice((0, 0, 3, 700)), key)
            disturb(t, rng)
        t.drain()
        results: dict[int, Any] = {}
        for number, cents in out(t):
            assert results.setdefault(number, cents) == cents, "repeated otherwise"
        assert results == reference(recorder.sent)
        counted = {(r.key, r.timestamp): r.value["value"] for r in t.read("n")}
        assert sum(counted.values()) + t.late_records == len(results)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 4, 10_000]))
def test_what_was_found_behind_a_silent_table_stays_found(seed: int, passed: int) -> None:
    """Silence is decided once: crashes, lost state and rewinds come to the same results."""
    rng = random.Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(together, "PASSED_MIN", passed)
        patch.setattr(together, "PASSED_FACTOR", 0)
        _silent_at_times(rng, seed)


def _silent_at_times(rng: random.Random, seed: int) -> None:
    with drive(priced, partitions=2, seed=seed) as t:
        now = 1_000
        for number in range(1, 50):
            now += rng.randrange(0, 5)
            send_random(t, rng, number, now)
            if rng.random() < 0.3:
                t.wait(SECOND * rng.choice((1, 3)))
            disturb(t, rng, rewinds=False)
        t.drain()
        results: dict[int, Any] = {}
        for record in t.read("out"):
            number, cents = record.value
            assert results.setdefault(number, cents) == cents, "repeated otherwise"
        counted: dict[Any, Any] = {}
        for record in t.read("n"):
            place = (record.key, record.timestamp)
            assert counted.setdefault(place, record.value) == record.value, "repeated otherwise"
        assert sum(each["value"] for each in counted.values()) + t.late_records == len(results)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 4, 10_000]))
def test_whoever_goes_on_takes_the_same_order(seed: int, passed: int) -> None:
    """Silence is seen at once here, records come at any time, and what was put out stays true."""
    rng = random.Random(seed)
    inputs: Inputs = {
        (topic, partition): [
            (
                rng.choice((b"tea", b"rum")),
                b'{"number": %d}' % n if topic == "sales" else b'{"cents": %d}' % n,
                1_000 + 10 * n + partition - rng.choice((0, 0, 700)),
            )
            for n in range(rng.randrange(30))
        ]
        for topic in ("sales", "prices")
        for partition in range(2)
    }
    plan = hasty.plan()
    with (
        tempfile.TemporaryDirectory(dir=FAST) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(together, "PASSED_MIN", passed)
        patch.setattr(together, "PASSED_FACTOR", 0)
        looks = itertools.count()
        clock = property(lambda _: 5 * next(looks), lambda _, at: None)
        patch.setattr(MemoryWorker, "_now_ms", clock, raising=False)
        # The real worker writes nothing while it does not know whether it is a zombie.
        patch.setattr(pipeline_schedules._Wild, "haunt", lambda _: None)
        outcome = run_wildly(plan, inputs, Path(folder), rng, 150)
    results = {place: value for place, value in outcome.final.items() if place[0] == "out"}
    assert len(results) == sum(len(inputs["sales", partition]) for partition in range(2))
    counted = [json.loads(v or b"")["value"] for p, v in outcome.final.items() if p[0] == "n"]
    assert sum(counted) + sum(outcome.late.values()) == len(results)


def test_two_joins_one_behind_the_other_are_one_task() -> None:
    @pipeline
    def twice(sales: Stream[Sale], prices: Table[Price], names: Table[Price]) -> None:
        joined = sales.join(prices, result, how="left")
        joined.join(names, lambda one, name: [*one, name and name.cents], how="left").to("out")

    (sub,) = twice.plan().sub_topologies
    assert sub.input_topics == ("names", "prices", "sales")
    assert len(sub.sure) == 2
    with drive(twice) as t:
        price(t, 5, 0)
        t.send("names", Price(7), key="tea", timestamp=3)
        sell(t, 1, 2)
        sell(t, 2, 3)
        t.drain()
        assert out(t) == [[1, 5, None], [2, 5, 7]]


def test_with_another_time_or_a_grace_a_record_waits() -> None:
    @pipeline
    def later(sales: Stream[Sale], prices: Table[Price]) -> None:
        moved = sales.with_timestamp(lambda sale: sale.number)
        moved.join(prices, result, how="left", name="moved").to("out")
        sales.join(prices, result, how="left", grace=SECOND, name="patient").to("patient")

    (sub,) = later.plan().sub_topologies
    assert not sub.sure
    with drive(later) as t:
        sell(t, 9_000, 10)
        price(t, 5, 20)
        price(t, 6, 8_000)
        price(t, 7, 9_500)
        t.drain()
        assert out(t) == [[9_000, 6]]
        assert [record.value for record in t.read("patient")] == [[9_000, None]]


# What is refused.


def test_topics_that_are_not_partitioned_alike_are_refused() -> None:
    with pytest.raises(PlanError, match=r"prices has 3, sales has 2 partitions") as caught:
        drive(priced, partitions={"sales": 2, "prices": 3}).__enter__()
    assert "test_worker_together.py" in caught.value.message
    assert "repartition()" in (caught.value.hint or "")

    @pipeline
    def through_a_topic(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.repartition(name="again").join(prices, result, how="left").to("out")

    with drive(through_a_topic, partitions={"sales": 2, "prices": 3}) as t:
        for number, key in enumerate(KEYS, 1):
            price(t, number, 0, key)
            sell(t, number, 1, key)
        t.drain()
        assert sorted(out(t)) == [[1, 1], [2, 2]]


def test_failures_are_treated_alike() -> None:
    @pipeline
    def mixed(sales: Annotated[Stream[Sale], Topic(on_error=skip())], prices: Table[Price]) -> None:
        sales.join(prices, result).to("out")

    with pytest.raises(PlanError, match="prices and sales are read together"):
        mixed.plan()


# Failures.


def declared(policy: FailurePolicy) -> Pipeline[..., object]:
    @pipeline(on_error=policy)
    def failing(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.join(prices, result, how="left").to("out")

    return failing


def test_a_failure_names_the_record_in_its_own_topic() -> None:
    BROKEN.add(2)
    with drive(declared(skip())) as t:
        price(t, 5, 0)
        price(t, 6, 1)
        sell(t, 1, 10)
        sell(t, 2, 11)
        price(t, 9, 99)
        t.run()
        assert (out(t), t.skipped_records) == ([[1, 6]], 1)

    @pipeline
    def strict(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.join(prices, result, how="left").to("out")

    with drive(strict) as t:
        sell(t, 1, 10)
        sell(t, 2, 11)
        price(t, 9, 99)
        with pytest.raises(FunctionFailure, match="2 is broken") as caught:
            t.run()
        assert (caught.value.topic, caught.value.offset) == ("sales", 1)


def test_records_that_cannot_be_read_are_set_aside_in_their_turn() -> None:
    with drive(declared(dead_letter())) as t:
        t.send("prices", "no price", key="tea", timestamp=1)
        price(t, 5, 2)
        sell(t, 1, 3)
        t.send("sales", "no sale", key="tea", timestamp=4)
        sell(t, 2, 5)
        price(t, 9, 99)
        t.drain()
        assert out(t) == [[1, 5], [2, 5]]
        found = [(each.topic, each.offset) for each in t.dead_letters()]
        assert found == [("prices", 0), ("sales", 1)]


@pytest.mark.parametrize("keep_order", [False, True])
def test_dead_letters_come_back_to_their_topic_once(keep_order: bool) -> None:
    BROKEN.update((1, 2))
    with drive(declared(dead_letter(keep_order=keep_order)), seed=3) as t:
        price(t, 5, 0)
        for number in (1, 2, 3):
            sell(t, number, 10 + number)
        sell(t, 4, 20, "rum")
        price(t, 9, 99)
        t.run()
        done = [[4, None]] if keep_order else [[3, 5], [4, None]]
        assert sorted(out(t)) == done
        assert {each.topic for each in t.dead_letters()} == {"sales"}
        assert [each.offset for each in t.dead_letters()] == ([0, 1, 2] if keep_order else [0, 1])
        BROKEN.clear()
        t.send_back()
        t.drain()
        assert out(t) == ([[1, 5], [2, 5], [3, 5]] if keep_order else [[1, 5], [2, 5]])
        t.send_back()
        t.drain()
        assert out(t) == []


def test_a_record_that_is_tried_again_is_tried_where_it_stood() -> None:
    tried: list[int] = []

    def sometimes(sale: Sale) -> Sale:
        tried.append(sale.number)
        if sale.number == 2 and tried.count(2) < 3:
            raise ValueError("not yet")
        return sale

    @pipeline(on_error=retry(attempts=5, backoff=timedelta(0)))
    def trying(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.map(sometimes).join(prices, result, how="left").to("out")

    with drive(trying) as t:
        price(t, 5, 0)
        for number in (1, 2, 3):
            sell(t, number, 10 + number)
        price(t, 6, 12)
        price(t, 9, 99)
        t.run()
        assert out(t) == [[1, 5], [2, 6], [3, 6]]
        assert tried == [1, 2, 2, 2, 3]


def test_a_message_tells_where_its_record_stands() -> None:
    @pipeline
    def placed(sales: Stream[Sale], prices: Table[Price]) -> None:
        sales.join(prices, result, how="left").to("out")
        sales.with_context().map(lambda m: [m.value.number, m.offset]).to("places")

    with drive(placed) as t:
        price(t, 5, 0)
        for number in (1, 2, 3):
            sell(t, number, 10 + number)
            price(t, number, 10 + number)
        t.drain()
        assert [record.value for record in t.read("places")] == [[1, 0], [2, 1], [3, 2]]
