"""What a rewind took back of a writer is left out, and nothing else."""

from __future__ import annotations

from streamlog.processing.repartition.position import (
    DRAIN_INDEX,
    DRAIN_MARKER,
    HEADER,
    INDEX_BITS,
    MARKER,
    MARKER_HEADER,
    POSITION,
    TIME_MARKER,
)
from streamlog.processing.repartition.withdrawn import without_withdrawn
from streamlog.processing.state.lineage import still_withdrawn
from streamlog.records.columns import Columns, Headers


def record(writer: int, epoch: int, sequence: int) -> Headers:
    return ((HEADER, POSITION.pack(writer, epoch, sequence, 0)),)


def marker(writer: int, epoch: int, sequence: int, kind: int) -> Headers:
    return ((MARKER_HEADER, MARKER.pack(writer, epoch, sequence, 0, kind)),)


def columns(*headers: Headers) -> Columns:
    count = len(headers)
    return Columns(
        list(range(count)), [0] * count, [None] * count, [b"%d" % n for n in range(count)],
        list(headers),
    )  # fmt: skip


def test_records_behind_the_cut_go_if_their_owner_was_before_the_rewind() -> None:
    chunk = columns(
        record(0, 3, 9), record(0, 3, 10), record(0, 5, 11), record(0, 6, 11), record(1, 3, 11)
    )
    left = without_withdrawn(chunk, {0: ((5, 10),)})
    assert left.offsets == [0, 3, 4]
    assert left.values == [b"0", b"3", b"4"]
    assert without_withdrawn(chunk, {2: ((5, 10),)}) is chunk


def test_each_of_several_rules_counts() -> None:
    chunk = columns(record(0, 3, 30), record(0, 3, 60), record(0, 7, 60), record(0, 7, 80))
    assert without_withdrawn(chunk, {0: ((4, 50), (8, 70))}).offsets == [0, 2]


def test_markers_go_with_what_they_stand_behind() -> None:
    last = 7 << INDEX_BITS
    chunk = columns(marker(0, 3, last, TIME_MARKER), marker(0, 3, last, DRAIN_MARKER))
    undrained, drained = last + DRAIN_INDEX, 8 << INDEX_BITS
    assert without_withdrawn(chunk, {0: ((5, undrained),)}).offsets == [0]
    assert without_withdrawn(chunk, {0: ((5, drained),)}).offsets == [0, 1]
    assert without_withdrawn(chunk, {0: ((5, last),)}).offsets == []


def test_what_is_none_of_ours_is_left_to_the_reader() -> None:
    foreign = columns((), (("trace", b"1"),), ((HEADER, b"short"),), record(0, 1, 20))
    assert without_withdrawn(foreign, {0: ((5, 10),)}).offsets == [0, 1, 2]
    bare = Columns([0], [0], [None], [b"x"])
    assert without_withdrawn(bare, {0: ((5, 10),)}) is bare


def test_a_rule_is_over_once_a_newer_epoch_was_seen() -> None:
    assert still_withdrawn([(4, 50), (8, 70)], 4) == ((4, 50), (8, 70))
    assert still_withdrawn([(4, 50), (8, 70)], 5) == ((8, 70),)
    assert still_withdrawn([(4, 50)], 9) == ()
