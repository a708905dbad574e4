"""`in_order` and `dedup`, against sorting all records and looking at each pair of them."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

from hypothesis import example, given
from hypothesis import strategies as st
from operator_harness import Event
from operator_runs import Stop, mixed, run, stops

from streamlog.processing.operators.dedup import DedupStep
from streamlog.processing.operators.in_order import InOrderStep
from streamlog.processing.operators.operator import Operator, OperatorContext, Side
from streamlog.serde.msgpack import MsgpackSerde

WRITERS = 3
END = 1_000

SERDE = MsgpackSerde(int)
keys = st.sampled_from([b"a", b"b", None, b"long" * 200])
events = st.lists(
    st.builds(
        Event, keys, st.integers(0, 2), st.integers(0, 40), st.just(0), st.integers(0, WRITERS - 1)
    ),
    max_size=25,
)
graces = st.sampled_from([0, 3, 10])
ticks = st.sampled_from([1, 7])


class Seen(NamedTuple):
    """A record with all that decides about its place."""

    time: int
    event: Event
    number: int


def seen(events: list[Event]) -> list[Seen]:
    times = [-(10**9)] * WRITERS
    result = []
    for number, event in enumerate(events):
        times[event.writer] = max(times[event.writer], event.timestamp)
        result.append(Seen(times[event.writer], event, number))
    return result


def place(event: Event) -> tuple[int, bool, bytes, int]:
    return event.timestamp, event.key is not None, event.key or b"", event.writer


def in_order(grace_ms: int) -> InOrderStep:
    return InOrderStep(grace_ms=grace_ms, encode=SERDE.encode, decode=SERDE.decode)


@given(events, graces, ticks, stops, st.integers(0, 2**32), st.booleans())
def test_what_is_not_late_leaves_by_event_time(
    events: list[Event], grace: int, tick: int, stops: list[Stop], seed: int, drained: bool
) -> None:
    arrived = mixed(events, seed)
    results, harness = run(in_order(grace).make, arrived, stops, tick, WRITERS)
    results += harness.drain() if drained else harness.move_time(END)
    harness.checkpoint()
    late = {each.number for each in seen(arrived) if each.event.timestamp + grace < each.time}
    kept = [event for number, event in enumerate(arrived) if number not in late]
    expected = [(event.key, event.value, event.timestamp) for event in sorted(kept, key=place)]
    assert [result for result in results if not isinstance(result[1], Side)] == expected
    sides = [(key, value.value, at) for key, value, at in results if isinstance(value, Side)]
    assert sides == [
        (event.key, event.value, event.timestamp)
        for number, event in enumerate(arrived)
        if number in late
    ]
    assert harness.late == len(late)
    assert len(harness.rows.rows) == (1 if drained and expected else 0)


@given(events, st.integers(0, 2**32))
def test_after_a_drain_nothing_older_follows(events: list[Event], cut: int) -> None:
    position = cut % (len(events) + 1)
    results, harness = run(in_order(3).make, events[:position], writers=WRITERS)
    results += harness.drain()
    harness.checkpoint()
    harness.restart()
    results += harness.send_all(events[position:])
    results += harness.drain()
    moments = [at for _, value, at in results if not isinstance(value, Side)]
    assert all(one <= other for one, other in pairwise(moments))


def dedup(within_ms: int, grace_ms: int) -> DedupStep:
    return DedupStep(
        within_ms=within_ms,
        grace_ms=grace_ms,
        by=lambda value: value // 2,
        encode=SERDE.encode,
        decode=SERDE.decode,
    )


def first_of_their_likes(
    arrived: list[Event], within: int, grace: int
) -> list[tuple[bytes | None, int, int]]:
    turns = sorted(
        (max(each.event.timestamp + grace, each.time), *place(each.event), each.number)
        for each in seen(arrived)
    )
    passed: dict[tuple[bytes | None, int], list[tuple[int, int]]] = defaultdict(list)
    expected = []
    for turn, *_, number in turns:
        event = arrived[number]
        likes = passed[event.key, event.value // 2]
        if any(
            turn <= before + within and abs(event.timestamp - timestamp) <= within
            for before, timestamp in likes
        ):
            continue
        likes.append((turn, event.timestamp))
        expected.append((event.key, event.value, event.timestamp))
    return expected


@given(events, graces, ticks, stops, st.integers(0, 2**32), st.sampled_from([1, 5, 20]))
@example([Event(b"a", 0, 20), Event(b"a", 0, 0)], 0, 1, [], 0, 20)
def test_the_first_of_equal_records_goes_on(
    events: list[Event], grace: int, tick: int, stops: list[Stop], seed: int, within: int
) -> None:
    arrived = mixed(events, seed)
    results, harness = run(dedup(within, grace).make, arrived, stops, tick, WRITERS)
    results += harness.move_time(END)
    harness.checkpoint()
    assert results == first_of_their_likes(arrived, within, grace)
    assert not harness.rows.rows, "everything is forgotten in the end"
    # The mix does not show.
    assert first_of_their_likes(events, within, grace) == results


@given(events, stops, st.integers(0, 2**32))
def test_a_drain_decides_about_everything(
    events: list[Event], stops: list[Stop], seed: int
) -> None:
    arrived = mixed(events, seed)
    results, harness = run(dedup(5, 3).make, arrived, stops, 1, WRITERS)
    assert results + harness.drain() == first_of_their_likes(arrived, 5, 3)


def test_without_an_identity_equal_keys_are_equal() -> None:
    step = DedupStep(within_ms=5, grace_ms=0, by=None, encode=SERDE.encode, decode=SERDE.decode)

    def make(context: OperatorContext) -> Operator:
        return step.make(context)

    results, harness = run(make, [Event(b"a", 1, 0), Event(b"a", 2, 5), Event(b"a", 3, 6)])
    results += harness.move_time(END)
    assert [value for _, value, _ in results] == [1, 3]
