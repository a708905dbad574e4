"""What each policy does, driven step by step: left out, tried again, set aside, kept in order."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from streamlog import (
    GlobalTable,
    Stream,
    Topic,
    dead_letter,
    pipeline,
    retry,
    skip,
    stop,
    tumbling,
)
from streamlog.processing.errors import FunctionFailure, PlanError
from streamlog.testing import drive

if TYPE_CHECKING:
    from streamlog import Pipeline
    from streamlog.processing.failures.policy import FailurePolicy
    from streamlog.testing import Driver


class Event(Struct):
    number: int


BROKEN: set[int] = set()
"""Numbers for which functions raise, for now."""


@pytest.fixture(autouse=True)
def nothing_is_broken() -> None:
    BROKEN.clear()


def check(event: Event) -> int:
    if event.number in BROKEN:
        raise ValueError(f"{event.number} is broken")
    return event.number


def passing_on(policy: FailurePolicy, name: str = "passing") -> Pipeline[..., None]:
    @pipeline(name=name, on_error=policy)
    def passing(events: Stream[Event]) -> None:
        events.map(check).to(f"{name}-out")

    return passing


def send(t: Driver, *numbers: int, key: str | None = "k") -> None:
    for number in numbers:
        t.send("events", {"number": number}, key=key)


def out(t: Driver, topic: str = "passing-out") -> list[object]:
    return [record.value for record in t.read(topic)]


# The policies.


def test_without_a_policy_the_first_failure_stops() -> None:
    for policy in (stop(), retry(attempts=2, backoff=timedelta(0))):
        BROKEN.add(2)
        with drive(passing_on(policy)) as t:
            send(t, 1, 2, 3)
            with pytest.raises(FunctionFailure, match="2 is broken"):
                t.run()
            BROKEN.clear()
            t.run()
            assert out(t)[-3:] == [1, 2, 3]


def test_a_failed_record_is_left_out() -> None:
    BROKEN.update((2, 4))
    with drive(passing_on(skip())) as t:
        send(t, 1, 2, 3, 4, 5)
        t.send("events", b"{")
        send(t, 6)
        t.run()
        assert out(t) == [1, 3, 5, 6]
        assert (t.skipped_records, t.dead_letters()) == (3, [])


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_a_record_that_works_at_last_keeps_its_place(seed: int | None) -> None:
    tries: list[int] = []

    def flaky(event: Event) -> int:
        if event.number == 3:
            tries.append(event.number)
            if len(tries) < 4:
                raise ConnectionError("nobody answers")
        return event.number

    @pipeline(on_error=retry(attempts=4))
    def patient(events: Stream[Event]) -> None:
        events.map(flaky).to("out")

    with drive(patient, seed=seed) as t:
        send(t, *range(8))
        t.run()
        assert (out(t, "out"), len(tries)) == (list(range(8)), 4)


def test_after_the_last_attempt_follows_what_the_policy_says() -> None:
    BROKEN.add(2)
    with drive(passing_on(retry(attempts=3, then=dead_letter()))) as t:
        send(t, 1, 2, 3)
        t.send("events", b"{")
        t.run()
        assert out(t) == [1, 3]
        failed, unreadable = t.dead_letters()
        assert (failed.attempts, failed.message) == (3, "2 is broken")
        # Bytes stay what they are: they are not tried again.
        assert (unreadable.attempts, unreadable.exception.split(".")[-1]) == (1, "SerdeError")


def test_an_input_may_have_a_policy_of_its_own() -> None:
    @pipeline(on_error=dead_letter())
    def mixed(
        events: Annotated[Stream[Event], Topic(on_error=skip())], others: Stream[Event]
    ) -> None:
        events.map(check).to("a")
        others.map(check).to("b")

    BROKEN.add(1)
    with drive(mixed) as t:
        t.send("events", {"number": 1})
        t.send("others", {"number": 1})
        t.run()
        assert t.skipped_records == 1
        assert [letter.topic for letter in t.dead_letters()] == ["others"]


def test_an_event_time_that_cannot_be_had_is_a_failure_too() -> None:
    def at(event: Event) -> int:
        return 2**60 if event.number == 2 else check(event)

    @pipeline(on_error=skip())
    def timed(events: Annotated[Stream[Event], Topic(event_time=at)]) -> None:
        events.map(lambda e: e.number).to("out")

    BROKEN.add(3)
    with drive(timed) as t:
        send(t, 1, 2, 3, 4)
        t.run()
        assert (out(t, "out"), t.skipped_records) == ([1, 4], 2)


def test_what_fails_as_time_passes_stops_whatever_the_policy() -> None:
    @pipeline(on_error=skip())
    def windowed(events: Stream[Event]) -> None:
        sums = events.window(tumbling(timedelta(seconds=1))).sum_(lambda e: e.number)
        sums.map(lambda w: 1 // (w.value - 5)).to("out")

    with drive(windowed) as t:
        send(t, 2, 3)
        t.run()
        with pytest.raises(FunctionFailure, match="ZeroDivisionError"):
            t.drain()


def test_a_global_table_leaves_a_row_as_it_was() -> None:
    @pipeline
    def joined(
        events: Stream[Event], names: Annotated[GlobalTable[Event], Topic(on_error=skip())]
    ) -> None:
        events.join(names, lambda e, name: e.number + name.number).to("out")

    with drive(joined) as t:
        t.send("names", {"number": 10}, key="k")
        t.send("names", b"{", key="k")
        send(t, 1)
        t.run()
        assert out(t, "out") == [11]


def test_a_global_table_cannot_set_aside() -> None:
    @pipeline
    def joined(
        events: Stream[Event], names: Annotated[GlobalTable[Event], Topic(on_error=dead_letter())]
    ) -> None:
        events.join(names, lambda e, name: e.number + name.number).to("out")

    with pytest.raises(PlanError, match="names is a global table"):
        joined.plan()


async def look_up(event: Event) -> int:
    await trio.lowlevel.checkpoint()
    return check(event)


@pytest.mark.parametrize("seed", [None, 1])
def test_an_async_function_and_what_is_in_front_of_it_fail_like_any_other(
    seed: int | None,
) -> None:
    def in_front(event: Event) -> Event:
        if event.number in (3, 7):
            raise ValueError("in front")
        return event

    @pipeline(on_error=retry(attempts=2, then=dead_letter()))
    def asking(events: Stream[Event]) -> None:
        events.map(in_front).map_async(look_up, concurrency=2).to("out")

    BROKEN.update((2, 5))
    with drive(asking, seed=seed) as t:
        send(t, *range(10))
        t.run()
        assert out(t, "out") == [0, 1, 4, 6, 8, 9]
        assert [(each.offset, each.attempts) for each in t.dead_letters()] == [
            (2, 2),
            (3, 2),
            (5, 2),
            (7, 2),
        ]


def test_a_function_behind_a_stateful_step_takes_back_what_that_has_done() -> None:
    def unless_broken(row: int) -> int:
        if row in (3, 7):
            raise ValueError("behind")
        return row

    @pipeline(on_error=skip())
    def reduced(events: Stream[Event]) -> None:
        totals = events.map(lambda e: e.number, to=int).reduce(lambda one, other: one + other)
        totals.stream().map(unless_broken).to("out")

    with drive(reduced, seed=5) as t:
        send(t, 1, 2, 3, 3, 4)
        t.run()
        # 1; 1 + 2 fails and is taken back; 1 + 3; 4 + 3 fails and is taken back; 4 + 4.
        assert out(t, "out")[-1] == 8
        assert set(map(int, map(str, out(t, "out")))) <= {1, 4, 8}
        assert t.skipped_records == 2


# Coming back.


def test_a_dead_letter_comes_back_and_counts_once() -> None:
    BROKEN.add(2)
    with drive(passing_on(dead_letter())) as t:
        send(t, 1, 2, 3)
        t.run()
        (letter,) = t.dead_letters()
        assert (letter.value, letter.offset, letter.step) == (b'{"number":2}', 1, "map-check")
        assert (letter.exception, letter.times_sent) == ("builtins.ValueError", 0)
        BROKEN.clear()
        assert t.send_back() == 1
        t.run()
        assert out(t) == [1, 3, 2]
        # As after a crash between sending and remembering: it is sent once more.
        t._letters._sent.clear()
        assert t.send_back() == 1
        t.run()
        assert out(t) == []
        assert t.send_back() == 0


def test_what_came_back_counts_once_after_a_rewind_too() -> None:
    BROKEN.add(2)

    @pipeline(on_error=dead_letter())
    def summed(events: Stream[Event]) -> None:
        window = events.window(tumbling(timedelta(days=1)))
        window.sum_(check).map(lambda w: w.value).to("out")

    with drive(summed) as t:
        send(t, 1, 2, 3)
        t.run()
        BROKEN.clear()
        t.send_back()
        t.run()
        t.rewind("start")
        # Now record 2 passes where it stands, and its copy is one too many.
        t.drain()
        assert out(t, "out") == [6]


def test_other_pipelines_leave_out_what_comes_back() -> None:
    BROKEN.add(2)
    with drive(passing_on(dead_letter())) as t, drive(passing_on(stop(), "other")) as other:
        send(t, 1, 2, 3)
        t.run()
        BROKEN.clear()
        t.send_back()
        for records in t.log.partition("events", 0).columns.rows():
            _, timestamp, key, value, headers = records
            other.log.partition("events", 0).append([key], [value], [timestamp], [headers])
        other.run()
        assert out(other, "other-out") == [1, 2, 3]


def test_a_record_behind_a_repartition_comes_back_there() -> None:
    @pipeline(on_error=dead_letter())
    def keyed(events: Stream[Event]) -> None:
        by_rest = events.key_by(lambda e: e.number % 2, name="by-rest")
        by_rest.window(tumbling(timedelta(days=1))).sum_(check).map(lambda w: w.value).to("out")

    BROKEN.update((4, 7))
    with drive(keyed, partitions=2, seed=3) as t:
        send(t, *range(10))
        t.run()
        assert {each.topic for each in t.dead_letters()} == {"keyed.by-rest.repartition"}
        BROKEN.discard(4)
        assert t.send_back() == 2
        t.run()
        assert [(each.times_sent, each.message) for each in t.dead_letters()] == [
            (0, "4 is broken"),
            (0, "7 is broken"),
            (1, "7 is broken"),
        ]
        BROKEN.clear()
        assert t.send_back() == 1
        t.drain()
        assert sorted(out(t, "out"), key=str) == [20, 25]
        assert t.late_records == 0


# Order.


def test_records_of_a_failed_key_follow_it_until_it_comes_back() -> None:
    BROKEN.add(2)
    with drive(passing_on(dead_letter(keep_order=True))) as t:
        send(t, 1, 2, 3, key="a")
        send(t, 10, key="b")
        send(t, 11, key=None)
        t.send("events", b"{", key="a")
        t.run()
        assert out(t) == [1, 10, 11]
        assert [(each.offset, each.behind) for each in t.dead_letters()] == [
            (1, None),
            (2, 1),
            (5, 1),
        ]
        # It fails again: what follows it has to wait again.
        t.send_back()
        send(t, 4, key="a")
        t.run()
        assert out(t) == []
        assert [each.times_sent for each in t.dead_letters()[3:]] == [1, 1, 1, 0]
        BROKEN.clear()
        assert t.send_back() == 4
        t.run()
        # The bytes that are no event hold the key in their turn.
        assert out(t) == [2, 3]
        send(t, 12, key="b")
        t.run()
        assert out(t) == [12]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_order_of_each_key_is_kept(seed: int) -> None:
    rng = random.Random(seed)
    BROKEN.clear()
    expected: dict[str, list[int]] = {key: [] for key in "abc"}
    found: dict[str, list[int]] = {key: [] for key in "abc"}
    with drive(passing_on(dead_letter(keep_order=True)), partitions=2, seed=seed) as t:

        def settle() -> None:
            t.run()
            for record in t.read("passing-out"):
                assert isinstance(record.key, str)
                found[record.key].append(record.value)

        number = 0
        for _ in range(rng.randint(1, 5)):
            for _ in range(rng.randint(0, 15)):
                key = rng.choice("abc")
                expected[key].append(number)
                if rng.random() < 0.2:
                    BROKEN.add(number)
                send(t, number, key=key)
                number += 1
            settle()
            BROKEN.difference_update([each for each in sorted(BROKEN) if rng.random() < 0.5])
            if rng.random() < 0.7:
                t.send_back()
            if rng.random() < 0.3:
                t.crash()
        BROKEN.clear()
        for _ in range(20):
            settle()
            if not t.send_back():
                break
    assert found == expected
