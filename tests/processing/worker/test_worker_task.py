"""A task by itself: its position, its checkpoints, the end of its input, its past."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from msgspec import Struct

from streamlog import Stream, count, pipeline, sum_, tumbling
from streamlog.processing.errors import FunctionFailure
from streamlog.processing.repartition.position import DRAIN_INDEX, HEADER, MARKER, POSITION
from streamlog.processing.state.store import open_task_store
from streamlog.processing.worker.note import parse_note
from streamlog.processing.worker.placement import TaskName
from streamlog.processing.worker.task import Task
from streamlog.records.columns import Columns

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.processing.worker.task_values import OutputBatch


class Sum(Struct):
    count: int
    total: int


@pipeline
def summing(numbers: Stream[int]) -> None:
    sums = numbers.window(tumbling(timedelta(milliseconds=10)), grace=timedelta(milliseconds=5))
    results = sums.aggregate(Sum, count=count(), total=sum_(lambda n: n))
    results.to("sums")
    by_count = results.key_by(lambda w: w.value.count, name="by-count")
    by_count.window(tumbling(timedelta(milliseconds=100))).count().to("counts")


SUB = summing.plan().sub_topologies[0]
COUNTS = {"numbers": 1, "sums": 1, "counts": 1, "summing.by-count.repartition": 2}
REPARTITION = "summing.by-count.repartition"
INPUT = ("numbers", 0)


def open_task(folder: Path, epoch: int = 1) -> Task:
    store = open_task_store(folder, SUB.name, 0)
    return Task(SUB, 0, store, {}, epoch=epoch, partition_counts=COUNTS)


def columns(*timestamps: int, first: int = 0) -> Columns:
    offsets = list(range(first, first + len(timestamps)))
    values: list[bytes | None] = [b"%d" % offset for offset in offsets]
    return Columns(offsets, list(timestamps), [b"k"] * len(offsets), values)


def process(task: Task, chunk: Columns) -> None:
    task.process("numbers", 0, chunk, chunk.offsets[-1] + 1)


def checkpoint(task: Task) -> bool:
    prepared = task.prepare_checkpoint()
    if prepared is not None:
        task.commit_checkpoint(prepared, len(prepared.changelog_keys))
    return prepared is not None


def results(batches: list[OutputBatch]) -> list[tuple[int, bytes | None]]:
    return [
        (timestamp, value)
        for batch in batches
        if batch.topic == "sums"
        for timestamp, value in zip(batch.timestamps, batch.values, strict=True)
    ]


def test_a_new_task_begins_at_the_logs_start(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    assert task.id == TaskName("numbers", 0)
    assert task.positions() == {INPUT: None}
    assert task.prepare_checkpoint() is None
    assert task.take_outputs() == []
    task.emit_markers()
    assert task.take_outputs() == []
    task.close()


def test_records_below_the_position_do_not_count_again(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(1, 2, 3))
    process(task, columns(1, 2, 3, 4))
    process(task, columns(1, 2))
    assert task.positions() == {INPUT: 4}
    process(task, columns(30, first=4))
    ((_, value),) = results(task.take_outputs())
    assert value is not None
    assert b'"count":4,"total":6' in value
    task.close()


def test_the_position_passes_gaps_that_hold_no_record(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    task.process("numbers", 0, Columns.empty(), 17)
    assert task.positions() == {INPUT: 17}
    assert checkpoint(task)
    task.close()


def test_a_checkpoint_tells_the_group_its_number_and_its_position(tmp_path: Path) -> None:
    task = open_task(tmp_path, epoch=6)
    process(task, columns(1, 2, 3))
    prepared = task.prepare_checkpoint()
    assert prepared is not None
    assert (prepared.sequence, prepared.positions) == (1, {INPUT: 3})
    note = parse_note(prepared.metadata)
    assert note is not None
    assert (note.sequence, note.drained) == (1, False)
    assert len(prepared.changelog_keys) == 2
    task.commit_checkpoint(prepared, 2)
    assert task.prepare_checkpoint() is None
    task.close()
    task = open_task(tmp_path)
    assert task.positions() == {INPUT: 3}
    assert task.statistics().open_windows == 1
    assert task.statistics().stream_time_ms == 3
    task.close()


def test_the_task_rests_between_the_two_halves_of_a_checkpoint(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(1))
    assert task.prepare_checkpoint() is not None
    with pytest.raises(AssertionError, match="rests"):
        process(task, columns(2, first=1))
    task.close()


def test_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(1))
    checkpoint(task)
    process(task, columns(2, 3, first=1))
    assert task.prepare_checkpoint() is not None
    task.close()
    task = open_task(tmp_path)
    assert task.positions() == {INPUT: 1}
    task.close()


def test_a_failed_task_is_of_no_use(tmp_path: Path) -> None:
    @pipeline
    def failing(numbers: Stream[int]) -> None:
        numbers.map(lambda n: 1 // n).to("out")

    sub = failing.plan().sub_topologies[0]
    store = open_task_store(tmp_path, sub.name, 0)
    counts = {"numbers": 1, "out": 1}
    task = Task(sub, 0, store, {}, epoch=1, partition_counts=counts)
    with pytest.raises(FunctionFailure):
        process(task, columns(1))
    with pytest.raises(AssertionError, match="must be dropped"):
        task.prepare_checkpoint()
    task.close()


def test_time_markers_go_out_only_when_time_has_moved(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(7))
    task.emit_markers()
    markers = [b for b in task.take_outputs() if b.topic == REPARTITION]
    assert [batch.partition for batch in markers] == [0, 1]
    assert markers[0].headers is not None
    data = markers[0].headers[0][0][1]
    assert data is not None
    # What comes out of the window lags by its grace.
    assert MARKER.unpack(data)[2:] == (0, 7 - 5, 0)
    task.emit_markers()
    process(task, columns(3, first=1))
    task.emit_markers()
    assert task.take_outputs() == []
    process(task, columns(8, first=2))
    task.emit_markers()
    assert len(task.take_outputs()) == 2
    task.close()


def test_a_drain_closes_everything_once_and_is_remembered(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(1, 12))
    task.drain()
    assert is_drained(task)
    assert len(results(task.take_outputs())) == 2
    task.drain()
    assert task.take_outputs() == []
    prepared = task.prepare_checkpoint()
    assert prepared is not None
    note = parse_note(prepared.metadata)
    assert note is not None
    assert note.drained
    task.commit_checkpoint(prepared, 1)
    task.close()
    task = open_task(tmp_path)
    assert is_drained(task)
    task.drain()
    assert task.prepare_checkpoint() is None
    # More came after all: what belongs to a closed window is late, the rest goes on.
    process(task, columns(13, 25, first=2))
    assert not is_drained(task)
    assert task.statistics().late_records == 1
    task.drain()
    assert [timestamp for timestamp, _ in results(task.take_outputs())] == [29]
    task.close()


def test_an_empty_source_can_be_drained(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    task.drain()
    prepared = task.prepare_checkpoint()
    assert prepared is not None
    assert prepared.positions == {INPUT: 0}
    assert {batch.topic for batch in task.take_outputs()} == {REPARTITION}
    assert task.positions() == {INPUT: None}
    task.close()


def test_what_a_drain_puts_out_is_numbered_behind_the_last_input(tmp_path: Path) -> None:
    task = open_task(tmp_path)
    process(task, columns(1, 12, 23, 34))
    checkpoint(task)
    before = sequences(task.take_outputs())
    task.close()
    task = open_task(tmp_path, epoch=2)
    task.drain()
    after = sequences(task.take_outputs())
    assert len(before) == 2
    assert len(after) == 2
    assert min(after) == 3 << 20 | DRAIN_INDEX > max(before)
    task.close()


def is_drained(task: Task) -> bool:
    return task.drained


def sequences(batches: list[OutputBatch]) -> list[int]:
    return [
        POSITION.unpack(data)[2]
        for batch in batches
        for ((name, data),) in batch.headers or []
        if name == HEADER and data is not None
    ]


@pytest.mark.parametrize("back_to", [0, 1, 2, 3])
def test_after_going_back_and_on_the_state_is_as_if_nothing_had_happened(
    tmp_path: Path, back_to: int
) -> None:
    chunks = [
        columns(*times, first=n * 3)
        for n, times in enumerate([(1, 2, 11), (5, 13, 22), (26, 46, 38), (41, 42, 60)])
    ]
    fresh = open_task(tmp_path / "fresh")
    task = open_task(tmp_path / "rewound")
    for chunk in chunks:
        for each in (fresh, task):
            process(each, chunk)
            checkpoint(each)
    straight = results(fresh.take_outputs())
    task.close()
    store = open_task_store(tmp_path / "rewound", SUB.name, 0)
    store.undo(back_to)
    task = Task(SUB, 0, store, {}, epoch=2, partition_counts=COUNTS)
    repeated = []
    for chunk in chunks[back_to:]:
        process(task, chunk)
        repeated += results(task.take_outputs())
        checkpoint(task)
    assert task._store.rows() == fresh._store.rows()
    assert repeated == straight[len(straight) - len(repeated) :]
    assert task.statistics().late_records == fresh.statistics().late_records == 1
    assert task.statistics().open_windows == fresh.statistics().open_windows
    assert not task._store.rewrites
    fresh.close()
    task.close()


def test_how_the_input_is_cut_into_chunks_does_not_show(tmp_path: Path) -> None:
    times = [1, 15, 3, 14, 30, 26, 31, 50, 44, 45, 46, 80]
    seen = set()
    for size in (1, 2, 5, 12):
        task = open_task(tmp_path / str(size))
        out: list[tuple[object, ...]] = []
        for begin in range(0, len(times), size):
            process(task, columns(*times[begin : begin + size], first=begin))
            out += [
                (b.topic, b.partition, key, value, timestamp, header)
                for b in task.take_outputs()
                for key, value, timestamp, header in zip(
                    b.keys, b.values, b.timestamps, b.headers or [()] * len(b.keys), strict=True
                )
            ]
        seen.add(tuple(sorted(out, key=repr)))
        task.close()
    assert len(seen) == 1
