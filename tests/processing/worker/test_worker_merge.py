"""The order of several sources: against sorting all records, and after silence against itself."""

from __future__ import annotations

from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.repartition.position import NO_TIME
from streamlog.processing.worker.merge import (
    BYTES_WAITING_MAX,
    RECORDS_WAITING_MAX,
    Merge,
    Opened,
    running,
)
from streamlog.records.columns import Columns

Logs: TypeAlias = list[list[int]]
"""Of each input: the event times of its records; offsets are their places times two."""
Place: TypeAlias = tuple[int, int]
"""An input and an offset in it."""

logs = st.lists(st.lists(st.integers(0, 20), max_size=12), min_size=2, max_size=3)


def opened(moments: list[int], begin: int, stop: int, value: bytes = b"") -> Opened:
    times = running(moments, NO_TIME)[begin:stop]
    offsets = [2 * n for n in range(begin, stop)]
    count = stop - begin
    columns = Columns(offsets, moments[begin:stop], [b"k"] * count, [value] * count)
    return Opened(columns, 2 * stop, [None] * count, moments[begin:stop], times, False)


def fresh(count: int) -> Merge:
    return Merge([(None, NO_TIME, False, 0)] * count, 0)


class Feeding:
    """Hands in chunks of random sizes, of random inputs."""

    def __init__(self, merge: Merge, logs: Logs, begins: list[int] | None = None) -> None:
        self.merge = merge
        self.logs = logs
        self.at = begins or [0] * len(logs)

    def feed(self, draw: st.DataObject) -> None:
        number = draw.draw(st.integers(0, len(self.logs) - 1))
        stop = draw.draw(st.integers(self.at[number], len(self.logs[number])))
        self.merge.offer(number, opened(self.logs[number], self.at[number], stop))
        self.at[number] = stop

    def feed_all(self) -> None:
        for number, moments in enumerate(self.logs):
            self.merge.offer(number, opened(moments, self.at[number], len(moments)))
            self.at[number] = len(moments)


def take_all(merge: Merge, stop: int = 2**40) -> list[Place]:
    taken: list[Place] = []
    while (columns := merge.take(stop)) is not None:
        assert columns.offsets == list(range(merge.count - len(columns), merge.count))
        taken += zip(columns.inputs, columns.places, strict=True)
    return taken


def reference(logs: Logs) -> list[Place]:
    """All records by the largest time of their input so far; ties by input."""
    keyed = [
        (max(moments[: place + 1]), number, place)
        for number, moments in enumerate(logs)
        for place in range(len(moments))
    ]
    return [(number, 2 * place) for _, number, place in sorted(keyed)]


@given(logs, st.data())
def test_the_order_is_that_of_time_however_records_come_in(logs: Logs, draw: st.DataObject) -> None:
    merge = fresh(len(logs))
    feeding = Feeding(merge, logs)
    taken: list[Place] = []
    for _ in range(draw.draw(st.integers(0, 12))):
        feeding.feed(draw)
        taken += take_all(merge, merge.count + draw.draw(st.integers(0, 5)))
    feeding.feed_all()
    taken += take_all(merge)
    wanted = reference(logs)
    assert taken == wanted[: len(taken)]
    # What is left waits for an input that may still have something older.
    if merge.has_waiting():
        assert any(merge.holds_up(number) for number in range(len(logs)))
    while merge.has_waiting():
        for number in range(len(logs)):
            if merge.holds_up(number):
                merge.fall_idle(number)
        taken += take_all(merge)
    assert taken == wanted


@given(logs, st.data())
def test_after_silence_the_order_is_what_was_decided(logs: Logs, draw: st.DataObject) -> None:
    """Whoever comes upon the same decisions takes the same order, however it is fed."""
    merge = fresh(len(logs))
    feeding = Feeding(merge, logs)
    taken: list[Place] = []
    decided: list[tuple[int, str, int]] = []
    for _ in range(draw.draw(st.integers(0, 20))):
        feeding.feed(draw)
        taken += take_all(merge)
        number = draw.draw(st.integers(0, len(logs) - 1))
        if merge.holds_up(number):
            merge.fall_idle(number)
            decided.append((merge.count, "idle", number))
        elif merge.inputs[number].idle and merge.inputs[number].chunks:
            merge.wake(number)
            decided.append((merge.count, "awake", number))
    again = fresh(len(logs))
    other = Feeding(again, logs)
    repeated: list[Place] = []
    while again.count < merge.count or decided:
        while decided and decided[0][0] == again.count:
            _, what, number = decided.pop(0)
            again.fall_idle(number) if what == "idle" else again.wake(number)
        stop = min([merge.count, *(at for at, _, _ in decided)])
        repeated += take_all(again, stop)
        if again.count < stop:
            other.feed_all() if draw.draw(st.booleans()) else other.feed(draw)
    assert repeated == taken
    assert [(each.time, each.idle) for each in again.inputs] == [
        (each.time, each.idle) for each in merge.inputs
    ]


@given(logs, st.data())
def test_it_goes_on_from_a_checkpoint(logs: Logs, draw: st.DataObject) -> None:
    merge = fresh(len(logs))
    feeding = Feeding(merge, logs)
    feeding.feed_all()
    taken = take_all(merge, draw.draw(st.integers(0, 40)))
    again = Merge(merge.state(), merge.count)
    begins = [((each.next_offset or 0) + 1) // 2 for each in again.inputs]
    rest = Feeding(again, logs, begins)
    rest.feed_all()
    assert taken + take_all(again) == taken + take_all(merge)


@given(logs, st.data())
def test_what_is_given_back_comes_again(logs: Logs, draw: st.DataObject) -> None:
    merge = fresh(len(logs))
    Feeding(merge, logs).feed_all()
    begin = take_all(merge, draw.draw(st.integers(0, 10)))
    columns = merge.take(2**40)
    if columns is None:
        return
    kept = draw.draw(st.integers(0, len(columns)))
    places = list(zip(columns.inputs, columns.places, strict=True))
    merge.give_back(columns, kept)
    assert merge.count == len(begin) + kept
    assert not merge.has_waiting()
    begins = [((each.next_offset or 0) + 1) // 2 for each in merge.inputs]
    Feeding(merge, logs, begins).feed_all()
    assert begin + places[:kept] + take_all(merge) == begin + places


def test_sources_that_fell_silent_together_are_all_waited_for_again() -> None:
    merge = Merge([(4, 10, True, 0), (2, 10, True, 0)], 3)
    merge.wake(1)
    assert [each.idle for each in merge.inputs] == [False, False]
    merge = Merge([(4, 10, True, 0), (2, 10, True, 0), (0, 10, False, 0)], 3)
    merge.wake(1)
    assert [each.idle for each in merge.inputs] == [True, False, False]


def test_positions_go_on_where_there_are_no_records() -> None:
    merge = fresh(2)
    merge.offer(0, Opened(Columns.empty(), 7, [], [], [], False))
    assert merge.inputs[0].next_offset == 7
    merge.offer(0, opened([1, 2], 0, 2))
    merge.offer(0, Opened(Columns.empty(), 9, [], [], [], False))
    merge.fall_idle(1)
    assert take_all(merge) == [(0, 0), (0, 2)]
    assert merge.inputs[0].next_offset == 9


def test_no_more_is_fetched_of_an_input_of_which_much_waits() -> None:
    merge = fresh(2)
    merge.offer(0, opened([0] * RECORDS_WAITING_MAX, 0, RECORDS_WAITING_MAX))
    assert not merge.is_full(0)
    merge.offer(
        0, opened([0] * (RECORDS_WAITING_MAX + 1), RECORDS_WAITING_MAX, RECORDS_WAITING_MAX + 1)
    )
    assert merge.is_full(0)
    merge = fresh(2)
    merge.offer(0, opened([0] * 3, 0, 2, bytes(BYTES_WAITING_MAX // 2)))
    assert not merge.is_full(0)
    merge.offer(0, opened([0] * 3, 2, 3, b"x"))
    assert merge.is_full(0)
    merge.drop()
    assert not merge.is_full(0)
