"""Outputs get their partition and their position."""

from __future__ import annotations

import pytest

from streamlog.processing.repartition.outbox import Collector, Outbox, TooManyOutputsError
from streamlog.processing.repartition.position import (
    BLOCK,
    DRAIN_INDEX,
    DRAIN_MARKER,
    HEADER,
    MARKER,
    MARKER_HEADER,
    OFFSET_MAX,
    POSITION,
    TIME_MARKER,
    TIMED_POSITION,
    writer_id,
)
from streamlog.records.murmur2 import partition_of


def collected(*records: tuple[bytes | None, int]) -> Collector:
    collector = Collector()
    for key, index in records:
        collector.keys.append(key)
        collector.values.append(b"value")
        collector.indices.append(index)
    return collector


def positions(outbox: Outbox) -> list[tuple[int, ...]]:
    return sorted(
        (POSITION if name == HEADER else MARKER).unpack(data or b"")[:4]
        for _, pile in outbox.take()
        for ((name, data),) in pile.headers
    )


def test_sequences_are_the_inputs_offset_and_the_number_of_the_output() -> None:
    outbox = Outbox("t", 1, 0, writer_id(1, 2), 7)
    outbox.scatter(
        collected((b"a", 0), (b"b", 0), (b"c", 1)), [0, 0], [10, 12], [100, 200], [100, 200], 0
    )
    outbox.scatter(collected((b"d", 1)), [0, 0], [10, 12], [100, 200], [100, 200], 0)
    writer = 1 << 16 | 2
    assert positions(outbox) == [
        (writer, 7, 10 << 20, 100),
        (writer, 7, 10 << 20 | 1, 100),
        (writer, 7, 12 << 20, 200),
        (writer, 7, 12 << 20 | 1, 200),
    ]
    assert outbox.count == 4
    assert outbox.take() == []


def test_outputs_of_a_drain_come_behind_all_of_the_last_input() -> None:
    outbox = Outbox("t", 1, 0, 0, 1)
    outbox.begin_decided(12, 0)
    outbox.scatter(collected((b"a", 0), (b"b", 1)), [0, 0], [12, 12], [5, 5], [5, 5], 0)
    assert [each[2] for each in positions(outbox)] == [
        12 << 20 | DRAIN_INDEX,
        12 << 20 | DRAIN_INDEX + 1,
    ]


def test_how_much_in_time_a_record_is_does_not_show() -> None:
    """Behind several writers the task's time goes by how they mix; only lateness is a fact."""
    outbox = Outbox("t", 1, 0, 0, 1)
    for time in (30, 39):
        outbox.scatter(collected((b"a", 0)), [40], [12], [time], [time], 2)
    outbox.scatter(collected((b"late", 0)), [40], [13], [39], [55], 2)
    (_, pile), *_ = outbox.take()
    found = [TIMED_POSITION.unpack(data or b"")[3:] for ((_, data),) in pile.headers]
    assert found == [(28, 40), (37, 40), (37, 53)]


def test_keys_go_where_kafkas_clients_send_them() -> None:
    outbox = Outbox("t", 5, 3, -1, 1)
    keys = [f"key-{n}".encode() for n in range(50)]
    outbox.scatter(collected(*((key, 0) for key in keys)), [9], [0], [0], [0], 0)
    for partition, pile in outbox.take():
        assert all(key is not None and partition_of(key, 5) == partition for key in pile.keys)
        assert not pile.headers


def test_without_a_key_results_stay_and_repartitioned_records_come_together() -> None:
    results = Outbox("t", 2, 3, -1, 1)
    results.scatter(collected((None, 0)), [0], [0], [0], [0], 0)
    assert [partition for partition, _ in results.take()] == [1]
    places: set[int] = set()
    for own in range(4):
        outbox = Outbox("t", 4, own, own, 1)
        outbox.scatter(collected((None, 0)), [0], [0], [0], [0], 0)
        places.update(partition for partition, _ in outbox.take())
    assert len(places) == 1


def test_a_marker_goes_to_every_partition_behind_what_it_covers() -> None:
    outbox = Outbox("t", 3, 0, 0, 1)
    outbox.scatter(collected((b"a", 0)), [4], [7], [4], [4], 0)
    outbox.mark(7, 4, TIME_MARKER)
    piles = dict(outbox.take())
    assert sorted(piles) == [0, 1, 2]
    for pile in piles.values():
        name, data = pile.headers[-1][0]
        assert (name, pile.keys[-1], pile.values[-1]) == (MARKER_HEADER, None, None)
        assert data is not None
        assert MARKER.unpack(data) == (0, 1, 7 << 20, 4, TIME_MARKER)


def sequences(outbox: Outbox) -> list[int]:
    return [each[2] for each in positions(outbox)]


def put(outbox: Outbox, offset: int, count: int) -> None:
    many = collected(*(((b"a", 0),) * count))
    outbox.scatter(many, [0], [offset], [0], [0], 0)


def test_an_input_that_causes_more_than_its_block_holds_shifts_those_behind_it() -> None:
    outbox = Outbox("t", 1, 0, 0, 1)
    put(outbox, 5, DRAIN_INDEX)
    put(outbox, 6, 1)
    assert sequences(outbox)[-2:] == [(5 << 20) + DRAIN_INDEX - 1, 6 << 20]
    assert outbox.shift == 0
    put(outbox, 7, DRAIN_INDEX + 1)
    outbox.begin_decided(7, 0)
    put(outbox, 7, 1)
    put(outbox, 8, 1)
    # What is decided behind an input has the second half of a block, whatever came before it.
    assert sequences(outbox)[-3:] == [
        (7 << 20) + DRAIN_INDEX,
        (8 << 20) + DRAIN_INDEX,
        9 << 20,
    ]
    assert outbox.shift == 1


def test_a_drain_of_more_than_a_block_holds_shifts_what_comes_behind_it() -> None:
    outbox = Outbox("t", 1, 0, 0, 1)
    outbox.begin_decided(12, 2 * BLOCK - 1)
    put(outbox, 12, 1)
    assert outbox.decided() == 2 * BLOCK
    outbox.mark(12, 0, DRAIN_MARKER)
    put(outbox, 13, 1)
    last = (14 << 20) + DRAIN_INDEX - 1
    # The marker stands for its whole block.
    assert sequences(outbox) == [14 << 20, last, 15 << 20]


def test_an_outbox_that_goes_on_from_a_checkpoint_counts_as_the_first_one_did() -> None:
    first = Outbox("t", 1, 0, 0, 1)
    first.begin_decided(1, 3 * BLOCK)
    first.settle()
    later = Outbox("t", 1, 0, 0, 2)
    later.shift = first.shift
    for outbox in (first, later):
        outbox.begin_decided(2, BLOCK)
        put(outbox, 2, 1)
        put(outbox, 3, 1)
    found = sequences(first)
    assert found == sequences(later) == [(5 << 20) + DRAIN_INDEX + BLOCK, 7 << 20]


def test_where_numbers_end_nothing_more_is_written() -> None:
    outbox = Outbox("t", 1, 0, 0, 1)
    put(outbox, OFFSET_MAX - 1, 1)
    with pytest.raises(TooManyOutputsError, match="no numbers left"):
        put(outbox, OFFSET_MAX, 1)
