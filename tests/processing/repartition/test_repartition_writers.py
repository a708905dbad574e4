"""What a reader of a repartition topic admits, and when time passes for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.processing.repartition.position import (
    DRAIN_MARKER,
    HEADER,
    IDLE_MARKER,
    MARKER,
    MARKER_HEADER,
    NO_TIME,
    POSITION,
    TIME_MARKER,
)
from streamlog.processing.repartition.writers import (
    LATE,
    WAKING_MARKERS,
    Admitted,
    Break,
    ForeignRecordError,
    StepClock,
    Writer,
    Writers,
    advance,
    assign,
    boundary,
    next_break,
)

if TYPE_CHECKING:
    from streamlog.records.columns import Headers

CLOCKS: list[StepClock] = [(5, 10)]
"""One step: windows of 10 ms, grace 5 ms."""


def record(writer: int, sequence: int, time: int, epoch: int = 1) -> Headers:
    return ((HEADER, POSITION.pack(writer, epoch, sequence, time)),)


def marker(writer: int, time: int, epoch: int = 1, kind: int = TIME_MARKER) -> Headers:
    return ((MARKER_HEADER, MARKER.pack(writer, epoch, 0, time, kind)),)


def admit(writers: Writers, *headers: Headers) -> Admitted:
    return writers.admit(list(headers), [100 + n for n in range(len(headers))], 0, CLOCKS)


def breaks_of(admitted: Admitted) -> list[tuple[int, int, int, bool]]:
    def fields(each: Break) -> tuple[int, int, int, bool]:
        return (each.position, each.cause, each.time, each.drained)

    return [fields(each) for each in admitted.breaks]


def test_what_was_seen_of_a_writer_does_not_count_again() -> None:
    writers = Writers([0, 1])
    first = admit(writers, record(0, 1, 10), record(0, 2, 10), record(1, 1, 10))
    again = admit(writers, record(0, 1, 10), record(0, 2, 10), record(0, 3, 10), record(1, 1, 10))
    assert first.kept == [0, 1, 2]
    assert again.kept == [2]


def test_once_a_newer_epoch_was_seen_an_older_one_is_refused() -> None:
    writers = Writers([0])
    assert admit(writers, record(0, 1, 10, epoch=5)).kept == [0]
    assert admit(writers, record(0, 2, 20, epoch=4), record(0, 2, 20, epoch=5)).kept == [1]


def test_a_repeated_record_and_a_marker_announce_a_newer_epoch_too() -> None:
    writers = Writers([0, 1])
    admit(writers, record(0, 1, 10, epoch=5), record(1, 1, 10, epoch=5))
    assert admit(writers, record(0, 1, 10, epoch=6), record(0, 2, 10, epoch=5)).kept == []
    assert admit(writers, marker(1, 10, epoch=7), record(1, 2, 10, epoch=6)).kept == []


def test_a_marker_of_an_older_epoch_moves_no_time() -> None:
    writers = Writers([0])
    admit(writers, record(0, 1, 10, epoch=5), marker(0, 99, epoch=4))
    assert writers.time == 10


def test_time_is_the_slowest_writers_and_none_before_all_were_heard_of() -> None:
    writers = Writers([0, 1])
    admit(writers, record(0, 1, 50))
    assert writers.time == NO_TIME
    admit(writers, record(1, 1, 20))
    assert writers.time == 20
    admit(writers, marker(1, 90))
    assert writers.time == 50


def test_time_does_not_go_back() -> None:
    writers = Writers([0])
    admit(writers, record(0, 1, 50), marker(0, 40))
    assert writers.time == 50


def test_a_break_stands_where_time_passes_a_windows_end_and_grace() -> None:
    writers = Writers([0])
    found = admit(
        writers,
        record(0, 1, 3),
        record(0, 2, 14),
        record(0, 3, 15),
        record(0, 4, 24),
        marker(0, 26),
        record(0, 5, 26),
    )
    # Windows end at 0, 10 and 20, and close 5 ms later: time passes these at 14, 15 and 26.
    assert breaks_of(found) == [
        (0, 100, 3, False),
        (1, 101, 14, False),
        (2, 102, 15, False),
        (4, 104, 26, False),
    ]
    assert found.kept == [0, 1, 2, 3, 5]


def test_all_drained_is_a_break_and_data_takes_it_back() -> None:
    writers = Writers([0, 1])
    found = admit(writers, marker(0, 7, kind=DRAIN_MARKER), marker(1, NO_TIME, kind=DRAIN_MARKER))
    assert breaks_of(found) == [(0, 101, NO_TIME, True)]
    assert writers.drained()
    admit(writers, marker(0, 7, kind=IDLE_MARKER))
    assert writers.drained()
    # One who tells time reads on, also if nothing has come of it yet.
    admit(writers, marker(0, 8))
    assert not writers.drained()
    admit(writers, marker(0, 8, kind=DRAIN_MARKER))
    assert writers.drained()
    admit(writers, record(0, 9, 9))
    assert not writers.drained()


def test_a_checkpoint_restores_everything() -> None:
    writers = Writers([0, 1])
    writers.restore({0: Writer(3, 7, 20, False), 1: Writer(2, 9, 30, True)}, NO_TIME)
    assert writers.time == 20
    assert admit(writers, record(0, 7, 20, epoch=3), record(1, 10, 30, epoch=1)).kept == []


def test_a_new_partition_of_the_source_holds_time_until_it_is_heard_of() -> None:
    writers = Writers([0])
    admit(writers, record(0, 1, 50))
    admit(writers, record(1, 1, 40))
    assert writers.time == 40


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("other", b""),),
        ((HEADER, b"short"),),
        ((HEADER, None),),
        ((MARKER_HEADER, bytes(24)),),
        ((HEADER, bytes(24)), ("more", b"")),
    ],
)
def test_what_bears_no_position_is_foreign(headers: Headers) -> None:
    with pytest.raises(ForeignRecordError) as caught:
        admit(Writers([0]), record(0, 1, 1), headers)
    assert caught.value.args == (1,)


def test_a_sources_time_is_the_largest_so_far() -> None:
    times, breaks = advance([3, 1, 20, 14, 40], [7, 8, 9, 10, 11], NO_TIME, CLOCKS)
    assert times == [3, 3, 20, 20, 40]
    assert [(b.position, b.cause, b.time) for b in breaks] == [(0, 7, 3), (2, 9, 20), (4, 11, 40)]


def test_boundaries_before_1970() -> None:
    assert boundary(-1, 0, 10) == -10
    assert next_break(-1, [(0, 10)]) == 0
    ends: list[int] = []
    assign(ends, [-1, -10, -11, 0], [0, 0, 0, 0], 4, 10, 5, NO_TIME)
    assert ends == [LATE if end + 5 <= 0 else end for end in (0, 0, -10, 10)]


def test_a_record_is_late_by_its_writers_time_or_by_what_was_closed() -> None:
    ends: list[int] = []
    assign(ends, [9, 9, 9, 19], [14, 15, 9, 19], 4, 10, 5, NO_TIME)
    assert ends == [10, LATE, 10, 20]
    ends = []
    assign(ends, [9, 19], [9, 19], 2, 10, 5, 10)
    assert ends == [LATE, 20]


def test_nobody_waits_for_an_idle_writer_until_it_writes_again() -> None:
    writers = Writers([0, 1])
    admit(writers, record(0, 1, 50), record(1, 1, 10))
    assert writers.time == 10
    admit(writers, marker(1, 10, kind=IDLE_MARKER))
    assert writers.time == 50
    admit(writers, record(1, 2, 20), record(0, 2, 60))
    assert writers.time == 50, "it is waited for again, and time does not go back"
    admit(writers, record(1, 3, 55))
    assert writers.time == 55


def test_writers_that_wake_up_together_wait_for_each_other() -> None:
    writers = Writers([0, 1])
    idle = [marker(each, time, kind=IDLE_MARKER) for each, time in ((0, 50), (1, 40))]
    admit(writers, record(0, 1, 50), record(1, 1, 40), *idle)
    assert writers.time == 50, "all are idle: time is that of the foremost"
    admit(writers, record(0, 2, 900), marker(0, 900))
    assert writers.time == 50, "the other one gets some time to wake up too"
    admit(writers, record(1, 2, 870))
    assert writers.time == 870


def test_whoever_stays_silent_is_waited_for_no_longer_than_some_markers() -> None:
    writers = Writers([0, 1])
    idle = [marker(each, 50, kind=IDLE_MARKER) for each in (0, 1)]
    admit(writers, record(0, 1, 50), record(1, 1, 50), *idle, record(0, 2, 900))
    for number in range(WAKING_MARKERS):
        assert writers.time == 50
        admit(writers, marker(0, 900 + number))
    assert writers.time == 900 + WAKING_MARKERS - 1
