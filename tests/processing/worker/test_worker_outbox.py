"""Outputs get their partition and their position."""

from __future__ import annotations

import pytest

from streamlog.processing.worker.outbox import Collector, Outbox, TooManyOutputsError
from streamlog.processing.worker.position import (
    DRAIN_INDEX,
    HEADER,
    MARKER,
    MARKER_HEADER,
    OFFSET_MAX,
    POSITION,
    TIME_MARKER,
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


def test_more_outputs_of_one_input_than_can_be_numbered_are_refused() -> None:
    outbox = Outbox("t", 1, 0, 0, 1)
    many = collected(*(((b"a", 0),) * DRAIN_INDEX))
    outbox.scatter(many, [0], [3], [0], [0], 0)
    with pytest.raises(TooManyOutputsError, match="more than 524,288 records"):
        outbox.scatter(collected((b"a", 0)), [0], [3], [0], [0], 0)
    with pytest.raises(TooManyOutputsError):
        outbox.scatter(collected((b"a", 0)), [0], [OFFSET_MAX], [0], [0], 0)
